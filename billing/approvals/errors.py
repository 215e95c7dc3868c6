"""Why a request is not decided."""

from django.utils.translation import gettext_lazy as _

from waule.core.errors import Forbidden, InvalidState


class ApprovalOver(InvalidState):
    """`details.state`: what the request has become."""

    message = _("This request is not pending any more.")


class OwnRequest(Forbidden):
    message = _("Whoever asked cannot decide: another person has to.")


class ApproverLacksPermission(Forbidden):
    message = _("You are not allowed to do what is asked for, so you cannot decide on it.")


class AskerLacksPermission(Forbidden):
    message = _("Whoever asked is not allowed to do this any more. Reject the request.")
