"""When a hold no longer reserves its credits: one rule, as a queryset and as SQL.

A hold is due once its time is over, whether or not anybody has ended it yet; those of running or unknown generations are
never due. Whoever changes the rule changes `due_holds` and `due_sql` together: a test compares them, hold by hold.
"""

from datetime import datetime

from django.db.models import Q, QuerySet

from billing.ledger.models import Hold


def due_holds(now: datetime) -> QuerySet[Hold]:
    """Hold that say `held` and reserve nothing at `now`."""
    return Hold.objects.filter(_is_past(now), state=Hold.State.HELD)


def open_holds(now: datetime) -> QuerySet[Hold]:
    """Hold that reserve their credits at `now`."""
    return Hold.objects.filter(~_is_past(now), state=Hold.State.HELD)


def _is_past(now: datetime) -> Q:
    return Q(is_pinned=False, is_unknown=False, expires_at__lte=now)


def due_sql(hold: str, now: str) -> str:
    """Return the condition of `due_holds` for the table alias `hold`, at the SQL expression `now`."""
    return f"{hold}.state = 'held' AND NOT {hold}.is_pinned AND NOT {hold}.is_unknown AND {hold}.expires_at <= {now}"


def due_of_account_sql(select: str, now: str) -> str:
    """Return a subquery for `select` over the due holds `h` of the account `a`."""
    return f"(SELECT {select} FROM billing_hold AS h WHERE h.account_id = a.id AND {due_sql('h', now)})"  # noqa: S608
