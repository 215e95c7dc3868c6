"""Alerts on crossing: raised once when something becomes so, silent while it stays so, armed again when it is over.

Each thing that is watched is one row, changed by compare-and-set: of two workers that see the same crossing one raises
it. The messages to the webhooks are written in the same transaction.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, IntegerField, Q, Value
from django.db.models.functions import Coalesce

from billing.budgets import standing_of
from billing.ledger import database_now, due_holds
from billing.models import Account, Alert, Budget, Hold, ReconcileRun
from billing.selectors import balance_of
from tenants import outbox
from tenants.models import Mode
from waule.transactions import retried

BUDGET_PERCENTS = (80, 100)
RECONCILE_KEY = "reconcile"
HOLD_KEY = "holds:oldest"


@dataclass(frozen=True)
class Crossing:
    """Something that is so now."""

    key: str
    kind: Alert.Kind
    details: dict[str, Any] = field(default_factory=dict)
    tenant_id: UUID | None = None


def check() -> int:
    """Looks at everything that is watched. Returns how many alerts were raised."""
    now = database_now()
    found = [*_low_balances(), *_budgets(now), *_oldest_hold(now), *_failed_proof()]
    recover_all_but({crossing.key for crossing in found})
    return sum(raise_alert(crossing) for crossing in found)


def raise_alert(crossing: Crossing) -> bool:
    """Raises it, unless it stands already; whether this call did."""
    return _raise(crossing)


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
            is_raised=True, raised_at=now, times=F("times") + 1, details=crossing.details
        )
        if raised:
            payload = {"key": crossing.key, "raisedAt": now.isoformat(), **crossing.details}
            outbox.post(kind=f"alert.{crossing.kind}", payload=payload, tenant_id=crossing.tenant_id)
    return bool(raised)


@retried
def recover_all_but(standing: set[str]) -> int:
    """Arms again what stood and is over. Returns how many."""
    over = [key for key in Alert.objects.filter(is_raised=True).values_list("key", flat=True) if key not in standing]
    if not over:
        return 0
    return Alert.objects.filter(key__in=over, is_raised=True).update(is_raised=False, recovered_at=database_now())


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
        for percent in BUDGET_PERCENTS:
            if standing.percent >= percent:
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
                )


def _oldest_hold(now: datetime) -> Iterator[Crossing]:
    rows = Hold.objects.filter(state=Hold.State.HELD).exclude(id__in=due_holds(now).values("id"))
    oldest = rows.select_related("account").order_by("created_at").first()
    if oldest is None:
        return
    age_seconds = int((now - oldest.created_at).total_seconds())
    if age_seconds >= settings.ALERT_HOLD_AGE_SECONDS:
        details = {"hold": str(oldest.id), "account": oldest.account.reference, "ageSeconds": age_seconds}
        yield Crossing(HOLD_KEY, Alert.Kind.OLD_HOLD, details)


def _failed_proof() -> Iterator[Crossing]:
    last = ReconcileRun.objects.order_by("-id").first()
    if last is not None and not last.ok:
        yield failed_proof(last)


def failed_proof(run: ReconcileRun) -> Crossing:
    details = {"run": str(run.id), "differences": run.problem_count, "first": run.problems[:5]}
    return Crossing(RECONCILE_KEY, Alert.Kind.RECONCILE, details)
