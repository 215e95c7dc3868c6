"""Codes of the ledger in the reader's language."""

from django.utils.text import format_lazy
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.ledger.models import Charge
from billing.monitoring.models import Alert
from billing.monitoring.rejections import REASONS
from tenants.admin.words import CODES, EVENTS

OPERATIONS = {
    "image": gettext_lazy("Image generation"),
    "image_generation": gettext_lazy("Image generation"),
    "video": gettext_lazy("Video generation"),
    "video_generation": gettext_lazy("Video generation"),
}
EVENTS.update({f"alert.{kind}": format_lazy(gettext_lazy("Alert: {kind}"), kind=kind.label) for kind in Alert.Kind})
# What a ledger entry, a refund or a hold says for itself where no person gave the reason.
DESCRIPTIONS = OPERATIONS | {
    "create_tenant": gettext_lazy("First credits of a tenant"),
    "create_user": gettext_lazy("First credits of a user"),
    "interrupted": gettext_lazy("Interrupted"),
    "starting credits of the test account": gettext_lazy("Starting credits of the test account"),
}
ERRORS = REASONS | {
    "canceled": gettext_lazy("Canceled"),
    "credential_refused": gettext_lazy("The provider refused the credential"),
    "invalid_request": gettext_lazy("Invalid request"),
    "invalid_state": gettext_lazy("Not possible in this state"),
    "not_reached": gettext_lazy("The provider could not be reached"),
    "outcome_unknown": gettext_lazy("Unknown outcome"),
    "rate_limited": gettext_lazy("Rate limited"),
    "storage_unavailable": gettext_lazy("Storage unavailable"),
    "too_large": gettext_lazy("Too large"),
    "unavailable": gettext_lazy("Interrupted"),
    "upstream_error": gettext_lazy("The provider failed"),
    "upstream_refused": gettext_lazy("The provider refused the request"),
    "upstream_timeout": gettext_lazy("The provider did not answer in time"),
}
CODES.update(DESCRIPTIONS | ERRORS)


def operation_in_words(operation: str) -> str:
    return str(OPERATIONS.get(operation, operation)) or "–"


def charge_in_words(charge: Charge | None) -> str:
    if charge is None:
        return ""
    return f"{operation_in_words(charge.operation) if charge.operation else _('Charge')} {charge.credits:,}"


def description_in_words(description: str) -> str:
    """Return the description of an entry; what a person wrote stays as it is."""
    return str(DESCRIPTIONS.get(description) or ERRORS.get(description) or description) or "–"


def error_in_words(code: str) -> str:
    """Return an error code such as `upstream_error` or `status_503`; an unknown code stays as it is."""
    if code.startswith("status_"):
        return _("The provider answered with status %(status)s") % {"status": code.removeprefix("status_")}
    return str(ERRORS.get(code, code))
