"""What workers do now and then for generations that nobody sees to any more."""

import contextlib
import time
from datetime import datetime, timedelta

from django.db.models import Q

from aiservices.errors import LeaseLost
from aiservices.generations import pending
from aiservices.generations.leases import heartbeat, take_over
from aiservices.generations.models import Generation
from aiservices.generations.queue.jobs import give_up
from aiservices.generations.unfinished import ask_again, deliver_pending, recover
from aiservices.generations.unknown import ASK_FOR_HOURS
from billing.ledger.posting import database_now
from gateway_client.fetch import FETCH_SECONDS
from storage import media
from tenants.principal import Principal
from waule.core.errors import StorageUnavailable

MAX_AT_ONCE = 100  # rows that one round looks at
ROUND_SECONDS = 60.0  # of waiting for others, then what is left has to wait for the next round
ASK_AGAIN_SECONDS = 60.0
ASK_AGAIN_SHARE = 0.1  # of a generation's age is the pause until somebody is asked about it again
DEADLINE_MARGIN_SECONDS = 10
State = Generation.State


def recover_left_behind() -> None:
    """Settle images, and admissions, whose server has gone. Videos are claimed as jobs."""
    lost = Q(state=State.NEW) | Q(state=State.RUNNING, type=Generation.Type.IMAGE)
    for found in Generation.objects.select_related("model", "hold").filter(lost, lease_until__lt=database_now())[:MAX_AT_ONCE]:
        with contextlib.suppress(LeaseLost):
            recover(found)


def end_overdue() -> None:
    """End jobs that run past their hard deadline, however alive their workers are."""
    overdue = Q(state=State.RUNNING, outcome="", deadline_at__lt=database_now() - timedelta(seconds=DEADLINE_MARGIN_SECONDS))
    for found in Generation.objects.select_related("model", "hold").filter(overdue)[:MAX_AT_ONCE]:
        if take_over(found, overdue):
            with contextlib.suppress(LeaseLost), heartbeat.keep(found):
                give_up(found)


def store_pending() -> int:
    """Deliver what was made and could not be fetched or stored, as soon as it can be. Return how many were tried."""
    now, tried, until = database_now(), 0, time.monotonic() + ROUND_SECONDS
    waiting = Q(state=State.UNKNOWN, outcome=State.UNKNOWN, run_after__lte=now)
    rows = Generation.objects.select_related("model", "hold").filter(waiting).filter(pending.can_be_had()).distinct()
    for found in rows.order_by("run_after")[:MAX_AT_ONCE]:
        if time.monotonic() > until:
            break
        is_image = found.type == Generation.Type.IMAGE
        try:
            media.check_ready(Principal.of(found), images=int(is_image), videos=int(not is_image))
        except StorageUnavailable:
            continue
        fetching_seconds = FETCH_SECONDS * found.parameters.get("quantity", 1)  # meanwhile nobody else is to try
        if not take_over(found, waiting, run_after=_next_time(found, fetching_seconds)):
            continue
        tried += 1
        with contextlib.suppress(LeaseLost, StorageUnavailable):
            deliver_pending(found)
    return tried


def ask_about_unknown() -> None:
    """Ask the providers that can be asked what became of unknown outcomes; the others wait for an operator."""
    now, until = database_now(), time.monotonic() + ROUND_SECONDS
    askable = Q(state=State.UNKNOWN, run_after__lte=now, created_at__gte=now - timedelta(hours=ASK_FOR_HOURS)) & ~Q(
        upstream_id=""
    )
    for found in Generation.objects.select_related("model", "hold").filter(askable).order_by("run_after")[:MAX_AT_ONCE]:
        if time.monotonic() > until:
            break
        if not take_over(found, askable, run_after=_next_time(found)):
            continue
        with contextlib.suppress(LeaseLost):
            ask_again(found)


def _next_time(found: Generation, busy_seconds: float = 0) -> datetime:
    """When somebody is asked about it again: the older it is, the later."""
    now = database_now()
    pause_seconds = max(ASK_AGAIN_SECONDS, ASK_AGAIN_SHARE * (now - found.created_at).total_seconds())
    return now + timedelta(seconds=busy_seconds + pause_seconds)
