"""What the pages that move credits say and do where an amount takes a second person's approval."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import formats, timezone
from django.utils.translation import gettext as _

from billing.approvals import services
from billing.approvals.models import ApprovalRequest
from billing.approvals.services import is_needed
from waule.core.admin import spaced_number

__all__ = ["ask", "decided_before", "is_needed", "limit_notice", "needed_notice", "verb_of"]


def limit_notice() -> str:
    """Return what such a page says before anything is typed; nothing where nobody has to be asked."""
    limit = settings.APPROVAL_ABOVE_CREDITS
    if not limit:
        return ""
    told = _("Above %(limit)s credits a second person has to approve it within %(hours)s hours; until then nothing moves.")
    return told % {"limit": spaced_number(limit), "hours": _hours()}


def needed_notice() -> str:
    """Return what it says where the amount is known to be above the limit."""
    told = _(
        "This is above %(limit)s credits: a second person with the same right has to approve it within %(hours)s hours. "
        "Until then nothing moves."
    )
    return told % {"limit": spaced_number(settings.APPROVAL_ABOVE_CREDITS), "hours": _hours()}


def _hours() -> int:
    return int(services.EXPIRES_AFTER.total_seconds() // 3600)


def ask(request: HttpRequest, **asked: Any) -> HttpResponse:
    """Keep the request and lead to its page.

    Raises:
        WauleError: it cannot be asked for.
    """
    row = services.ask(asker=request.user, **asked)  # type: ignore[arg-type]
    if row.state == row.State.PENDING:
        expires = formats.date_format(timezone.localtime(row.expires_at), "SHORT_DATETIME_FORMAT")
        told = _("Asked for. Nothing has moved yet: somebody else has to approve it until %(at)s.")
        messages.success(request, told % {"at": expires})
    else:
        messages.warning(request, decided_before(row.state))
    return redirect(reverse("admin:billing_approvalrequest_change", args=[row.pk]))


def decided_before(state: str) -> str:
    return _("It was decided before: %(state)s. You have changed nothing.") % {"state": ApprovalRequest.State(state).label}


def verb_of(verb: str, *, credits: int) -> str:
    """Return what the button says."""
    return _("Ask for approval") if is_needed(credits) else verb
