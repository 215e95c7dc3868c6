"""What workers do now and then for generations that nobody sees to any more."""

import contextlib
from datetime import timedelta

from django.db.models import Q

from aiservices.errors import LeaseLost
from aiservices.heartbeats import heartbeat, take_over
from aiservices.jobs import give_up
from aiservices.models import Generation
from aiservices.work import ask_again, recover
from billing.ledger import database_now

MAX_AT_ONCE = 100  # rows that one round looks at
ASK_AGAIN_SECONDS = 60.0
ASK_FOR_HOURS = 48
DEADLINE_MARGIN_SECONDS = 10
State = Generation.State


def recover_left_behind() -> None:
    """Settles images, and admissions, whose server has gone. Videos are claimed as jobs."""
    lost = Q(state=State.NEW) | Q(state=State.RUNNING, type=Generation.Type.IMAGE)
    for found in Generation.objects.select_related("model", "hold").filter(lost, lease_until__lt=database_now())[:MAX_AT_ONCE]:
        with contextlib.suppress(LeaseLost):
            recover(found)


def end_overdue() -> None:
    """Ends jobs that run past their hard deadline, however alive their workers are."""
    overdue = Q(state=State.RUNNING, verdict="", deadline_at__lt=database_now() - timedelta(seconds=DEADLINE_MARGIN_SECONDS))
    for found in Generation.objects.select_related("model", "hold").filter(overdue)[:MAX_AT_ONCE]:
        if take_over(found, overdue):
            with contextlib.suppress(LeaseLost), heartbeat.keep(found):
                give_up(found)


def ask_about_unknown() -> None:
    """Asks the providers that can be asked what became of unknown outcomes; the others wait for an operator."""
    now = database_now()
    askable = Q(state=State.UNKNOWN, run_after__lte=now, created_at__gte=now - timedelta(hours=ASK_FOR_HOURS)) & ~Q(
        upstream_id=""
    )
    for found in Generation.objects.select_related("model", "hold").filter(askable).order_by("run_after")[:MAX_AT_ONCE]:
        if not take_over(found, askable, run_after=now + timedelta(seconds=ASK_AGAIN_SECONDS)):
            continue
        with contextlib.suppress(LeaseLost):
            ask_again(found)
