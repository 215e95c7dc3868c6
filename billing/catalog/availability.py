"""Models on and off: by whom, why, and until when. Saving a model raises the catalog's version, which every process
reads with its next use: a switch is effective at once."""

from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from billing.catalog.file.versions import record as record_version
from billing.catalog.models import AIModel, last_warned_day
from tenants import audit
from waule.core.db.transactions import durable
from waule.core.db.versions import check_version
from waule.core.errors import InvalidRequest, NotFound

MAX_REASON_LENGTH = 500
PROVIDER = "provider"  # who switched a model off that it does not know
PAUSE_HOURS = 1


def pause_model(model: AIModel, *, reason: str) -> None:
    """Switch a model off for PAUSE_HOURS because its provider does not know it. One that is off already stays as it is."""
    row = AIModel.objects.filter(pk=model.pk, is_active=True).first()
    if row is not None:
        until = timezone.now() + timedelta(hours=PAUSE_HOURS)
        switch_model(model=row, is_active=False, reason=reason, until=until, actor=PROVIDER)


def gone_models(now: datetime) -> QuerySet[AIModel]:
    """Return the models that are paused because their provider does not know them."""
    return AIModel.objects.filter(is_active=False, disabled_by=PROVIDER, disabled_until__gt=now)


def ending_models(now: datetime) -> QuerySet[AIModel]:
    """Return the models that are switched on and end within MODEL_ENDS_DAYS, or have ended; the next one first."""
    return AIModel.objects.filter(is_active=True, retires_at__lte=last_warned_day(now)).order_by("retires_at", "model_id")


SWITCH_FIELDS = ("is_active", "disabled_reason", "disabled_until")


@durable
def switch_model(
    *,
    model: AIModel,
    is_active: bool,
    reason: str = "",
    until: datetime | None = None,
    actor: str,
    request: Any = None,
    expected_version: str | None = None,
) -> AIModel:
    """Switch a model on, or off with a reason that refused callers are told, where `until` is given only until then.

    Raises:
        Conflict: the switch was moved since the caller read `expected_version`.
        InvalidRequest: `until` has passed, or does not belong to switching on.
        NotFound: the model was deleted meanwhile.
    """
    if until is not None and (is_active or until <= timezone.now()):
        raise InvalidRequest.of_field("until", _("An end belongs to switching off, and lies in the future."))
    row = AIModel.objects.select_for_update().filter(pk=model.pk).first()
    if row is None:
        raise NotFound
    check_version(expected_version, row, SWITCH_FIELDS)
    before = facts(row)
    row.is_active = is_active
    row.disabled_reason = "" if is_active else reason[:MAX_REASON_LENGTH]
    row.disabled_by = "" if is_active else actor[:200]
    row.disabled_until = until
    row.save(update_fields=["is_active", "disabled_reason", "disabled_by", "disabled_until"])
    record_version(author=actor, note=f"model {row} {'on' if is_active else 'off'}")
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
