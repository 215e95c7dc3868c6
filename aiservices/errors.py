"""What can go wrong around models, credentials and generations."""

from django.utils.translation import gettext_lazy as _

from waule.core.errors import InvalidState, RateLimited, Unavailable


class CredentialsExhausted(RateLimited):
    """429: every upstream credential is busy, cooling down or switched off."""

    code = "credentials_exhausted"
    message = _("No upstream credential is ready. Try again later.")


class TaskOver(InvalidState):
    message = _("The task is already over.")


class TaskNotOver(InvalidState):
    message = _("Only a task that has ended can be deleted.")


class Interrupted(Unavailable):
    """503: the server that worked on it went away, and certainly nothing was made."""

    message = _("The server was interrupted while it worked on this. Nothing was charged: try again.")


class LeaseLost(Exception):
    """Somebody else works on this generation now, or it was canceled: whoever sees this stops and changes nothing."""
