"""Alerts on crossing: raised once when something becomes so, silent while it stays so, armed again when it is over.

Each thing that is watched is one row, changed by compare-and-set: of two workers that see the same crossing one raises
it. The messages to the webhooks, and the mails to a tenant's people, are written in the same transaction.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, IntegerField, Q, Value
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _

from billing.budgets.limits import standing_of
from billing.budgets.models import Budget
from billing.catalog.availability import ending_models, gone_models
from billing.ledger.balances import balance_of
from billing.ledger.expiry import open_holds
from billing.ledger.models import Account
from billing.ledger.posting import database_now
from billing.monitoring.alert_mails import mail_of
from billing.monitoring.models import Alert, ReconcileRun
from tenants import audit
from tenants.models import Mode
from tenants.webhooks import outbox
from waule.core.db.transactions import durable, retried
from waule.core.errors import InvalidRequest, InvalidState

BUDGET_PERCENTS = (80, 100)
# What has happened, and is not something that ends: it stands for a day.
EVENTS = (Alert.Kind.DOUBLE_CHARGE, Alert.Kind.NOT_CHARGED, Alert.Kind.UNKNOWN_RELEASED)
EVENT_HOURS = 24
RECONCILE_KEY = "reconcile"
HOLD_KEY = "holds:oldest"


@dataclass(frozen=True)
class Crossing:
    """Something that is so now. One that `is_implied` by a worse one is not raised; raised before, it stands."""

    key: str
    kind: Alert.Kind
    details: dict[str, Any] = field(default_factory=dict)
    tenant_id: UUID | None = None
    is_implied: bool = False


Source = Callable[[], Iterable[Crossing]]
_sources: list[Source] = []


def also_watch(source: Source) -> None:
    """Register what a higher layer watches."""
    _sources.append(source)


def check() -> int:
    """Look at everything that is watched. Return how many alerts were raised."""
    now = database_now()
    found = [*_low_balances(), *_budgets(now), *_oldest_hold(now), *_failed_proof(), *_ending_models(now)]
    for source in _sources:
        found += source()
    events = Alert.objects.filter(kind__in=EVENTS, raised_at__gte=now - timedelta(hours=EVENT_HOURS))
    recover_all_but({crossing.key for crossing in found} | set(events.values_list("key", flat=True)))
    return sum(raise_alert(crossing) for crossing in found if not crossing.is_implied)


def raise_alert(crossing: Crossing) -> bool:
    """Raise it, unless it stands already; whether this call did."""
    return _raise(crossing)


def raise_once(crossing: Crossing) -> bool:
    """Raise it, unless it ever was; whether this call did."""
    return not Alert.objects.filter(key=crossing.key, times__gte=1).exists() and _raise(crossing)


@retried
def _raise(crossing: Crossing) -> bool:
    if Alert.objects.filter(key=crossing.key, is_raised=True).exists():
        return False
    with transaction.atomic():
        now = database_now()
        Alert.objects.bulk_create(
            [Alert(key=crossing.key, kind=crossing.kind, tenant_id=crossing.tenant_id)], ignore_conflicts=True
        )
        raised = Alert.objects.filter(key=crossing.key, is_raised=False).update(
            is_raised=True,
            raised_at=now,
            times=F("times") + 1,
            details=crossing.details,
            acknowledged_at=None,
            acknowledged_by="",
        )
        if raised and not Alert.objects.filter(key=crossing.key, silenced_until__gt=now).exists():
            payload = {"key": crossing.key, "raisedAt": now.isoformat(), **crossing.details}
            outbox.post(kind=f"alert.{crossing.kind}", payload=payload, tenant_id=crossing.tenant_id)
            if crossing.tenant_id is not None and (mail := mail_of(crossing.kind, crossing.details)) is not None:
                outbox.post_mails(kind=f"alert.{crossing.kind}", subject=mail[0], text=mail[1], tenant_id=crossing.tenant_id)
    return bool(raised)


@retried
def recover_all_but(standing: set[str]) -> int:
    """Arm again what stood and is over. Return how many."""
    over = [key for key in Alert.objects.filter(is_raised=True).values_list("key", flat=True) if key not in standing]
    if not over:
        return 0
    return Alert.objects.filter(key__in=over, is_raised=True).update(is_raised=False, recovered_at=database_now())


# --- what staff do with them ---------------------------------------------------------------------------------------


@durable
def acknowledge(*, alert_id: int, silent_seconds: int, reason: str, actor: str) -> Alert:
    """Note that somebody has seen the alert, and keep it silent for so long; 0: its next crossing is told again.

    Raises:
        InvalidRequest: no reason. InvalidState: it is not open, and nothing was to be silenced either.
    """
    if not reason.strip():
        raise InvalidRequest.of_field("reason", _("Say why."))
    alert = Alert.objects.select_for_update(no_key=True).get(id=alert_id)
    if not alert.is_raised and not silent_seconds and alert.silenced_until is None:
        raise InvalidState(_("This alert is not open any more."), state="recovered")
    before = _facts(alert)
    now = database_now()
    if alert.is_raised:
        alert.acknowledged_at, alert.acknowledged_by = now, actor[:200]
    alert.silenced_until = now + timedelta(seconds=silent_seconds) if silent_seconds else None
    alert.save(update_fields=["acknowledged_at", "acknowledged_by", "silenced_until"])
    audit.record(actor=actor, action="alert.acknowledge", target=alert, reason=reason, before=before, after=_facts(alert))
    return alert


def _facts(alert: Alert) -> dict[str, Any]:
    until = alert.silenced_until
    return {"acknowledgedBy": alert.acknowledged_by, "silencedUntil": until.isoformat() if until else None}


# --- what is watched -----------------------------------------------------------------------------------------------


def _low_balances() -> Iterator[Crossing]:
    """Live accounts of active tenants that once had credits, and every account with a threshold of its own."""
    default = Value(int(settings.ALERT_LOW_BALANCE), output_field=IntegerField())
    rows = Account.objects.filter(
        Q(tenant__is_active=True, mode=Mode.LIVE) | Q(alert_threshold__isnull=False), last_seq__gt=0
    ).annotate(threshold=Coalesce("alert_threshold__low_balance", default))
    low = rows.filter(threshold__gt=0, balance__lt=F("threshold") + F("held")).select_related("tenant", "user")
    for account in low.iterator():
        spendable = balance_of(account.id).spendable if account.held else account.balance
        if spendable < account.threshold:
            yield Crossing(
                f"balance:{account.id}",
                Alert.Kind.LOW_BALANCE,
                {"account": account.reference, "name": str(account), "balance": spendable, "threshold": account.threshold},
                account.tenant_id,
            )


def _budgets(now: datetime) -> Iterator[Crossing]:
    rows = Budget.objects.filter(is_active=True).select_related("tenant", "checkpoint", "api_key")
    for budget in rows.iterator():
        mode = budget.api_key.mode if budget.api_key else Mode.LIVE
        account = Account.objects.get(tenant_id=budget.tenant_id, mode=mode)
        held = balance_of(account.id).held if account.held else 0
        standing = standing_of(budget, account.id, now=now, held=held)
        reached = [percent for percent in BUDGET_PERCENTS if standing.percent >= percent]
        for percent in reached:
            yield Crossing(
                # Another period is another crossing, even if the last one was never seen to be over.
                f"budget:{budget.id}:{percent}:{int(standing.starts_at.timestamp())}",
                Alert.Kind.BUDGET,
                {
                    "tenant": f"tenant:{budget.tenant_id}",
                    "name": str(budget),
                    "budget": str(budget.id),
                    "apiKey": str(budget.api_key_id) if budget.api_key_id else None,
                    "percent": percent,
                    "used": standing.used,
                    "limit": budget.limit_credits,
                    "opensAt": standing.opens_at.isoformat(),
                },
                budget.tenant_id,
                is_implied=percent != reached[-1],  # of several that are crossed at once the worst is told
            )


def _oldest_hold(now: datetime) -> Iterator[Crossing]:
    oldest = open_holds(now).select_related("account").order_by("created_at").first()
    if oldest is None:
        return
    age_seconds = int((now - oldest.created_at).total_seconds())
    if age_seconds >= settings.ALERT_HOLD_AGE_SECONDS:
        details = {"hold": str(oldest.id), "account": oldest.account.reference, "ageSeconds": age_seconds}
        yield Crossing(HOLD_KEY, Alert.Kind.OLD_HOLD, details)


def _ending_models(now: datetime) -> Iterator[Crossing]:
    """Models that their provider ends within MODEL_ENDS_DAYS, that have ended and are still on, or that it does not know."""
    for model in gone_models(now):
        details = {"model": model.model_id, "name": model.name, "provider": model.provider, "reason": model.disabled_reason}
        yield Crossing(f"model:{model.id}:gone", Alert.Kind.MODEL_ENDS, details)
    for model in ending_models(now):
        assert model.retires_at is not None
        details = {"model": model.model_id, "name": model.name, "provider": model.provider}
        details |= {"retiresAt": model.retires_at.isoformat(), "replacedBy": model.replaced_by}
        yield Crossing(f"model:{model.id}:{model.retires_at}", Alert.Kind.MODEL_ENDS, details)


def _failed_proof() -> Iterator[Crossing]:
    last = ReconcileRun.objects.order_by("-id").first()
    if last is not None and not last.ok:
        yield failed_proof(last)


def failed_proof(run: ReconcileRun) -> Crossing:
    details = {"run": str(run.id), "differences": run.problem_count, "first": run.problems[:5]}
    return Crossing(RECONCILE_KEY, Alert.Kind.RECONCILE, details)
