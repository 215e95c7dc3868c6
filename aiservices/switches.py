"""Models on and off: by whom, why, and until when. Saving a model raises the catalog's version, which every process
reads with its next use: a switch is effective at once."""

from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from aiservices.models import AIModel
from billing.versions import catalog_edited
from tenants import audit
from waule.errors import InvalidRequest, NotFound
from waule.transactions import durable

MAX_REASON_LENGTH = 500


@durable
def switch_model(
    *,
    model: AIModel,
    is_active: bool,
    reason: str = "",
    until: datetime | None = None,
    actor: str,
    request: Any = None,
) -> AIModel:
    """Switches a model on, or off with a reason that refused callers are told, where `until` is given only until then.

    Raises:
        InvalidRequest: `until` has passed, or does not belong to switching on.
        NotFound: the model was deleted meanwhile.
    """
    if until is not None and (is_active or until <= timezone.now()):
        raise InvalidRequest.of_field("until", _("An end belongs to switching off, and lies in the future."))
    row = AIModel.objects.select_for_update().filter(pk=model.pk).first()
    if row is None:
        raise NotFound
    before = facts(row)
    row.is_active = is_active
    row.disabled_reason = "" if is_active else reason[:MAX_REASON_LENGTH]
    row.disabled_by = "" if is_active else actor[:200]
    row.disabled_until = until
    row.save(update_fields=["is_active", "disabled_reason", "disabled_by", "disabled_until"])
    catalog_edited.send(sender=None, author=actor, note=f"model {row} {'on' if is_active else 'off'}")
    audit.record(
        actor=actor,
        action="model.enable" if is_active else "model.disable",
        target=row,
        reason=reason,
        before=before,
        after=facts(row),
        request=request,
    )
    return row


def facts(model: AIModel) -> dict[str, Any]:
    until = model.disabled_until
    return {
        "is_active": model.is_active,
        "disabled_reason": model.disabled_reason,
        "disabled_by": model.disabled_by,
        "disabled_until": until.isoformat() if until else None,
    }


def end_due(*, actor: str = "clock") -> int:
    """For the worker: writes down that models are on again whose time off is over (they are on already), and how many."""
    over = list(AIModel.objects.filter(is_active=False, disabled_until__lte=timezone.now()))
    for model in over:
        switch_model(model=model, is_active=True, reason=str(_("the time is over")), actor=actor)
    return len(over)
