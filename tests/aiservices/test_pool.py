"""Lending credentials: which one, within which limits, and what a report teaches."""

import itertools
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.utils import timezone

from aiservices.credentials import pool
from aiservices.credentials.models import CredentialLease, GeminiKey
from aiservices.credentials.pool import unreadable
from aiservices.errors import CredentialsExhausted
from billing.catalog.models import AIModel
from tests.aiservices.credential_rows import key, token
from tests.at_once import at_once
from tests.live import process_environment
from tests.settings import PROJECT
from waule.core.crypto.encryption import SecretUnreadable
from waule.core.errors import InvalidRequest, InvalidState, NotFound
from waule.core.ids import uuid7

pytestmark = pytest.mark.django_db


def lend(**kwargs: Any) -> pool.Lease:
    return pool.lease(**{"provider": "gemini"} | kwargs)


def refused(**kwargs: Any) -> CredentialsExhausted:
    with pytest.raises(CredentialsExhausted) as caught:
        lend(**kwargs)
    return caught.value


def test_a_lease_carries_the_secret_and_hides_it() -> None:
    one = key("one")
    lease = lend(ttl_seconds=90)
    assert lease.secret == one.secret.reveal()
    assert one.secret.reveal() not in repr(lease)
    assert lease.credential == one
    row = CredentialLease.objects.get()
    assert (row.pk, row.credential_id, row.outcome) == (lease.lease_id, one.pk, "")
    assert row.expires_at - row.created_at == timedelta(seconds=90)
    one.refresh_from_db()
    assert (one.in_flight, one.uses_today, one.use_count) == (1, 1, 1)


def test_priority_goes_first_then_the_fewest_in_flight() -> None:
    low, one, two = key("low"), key("one", priority=5), key("two", priority=5)
    first, second = lend(), lend()
    assert {first.credential_id, second.credential_id} == {one.pk, two.pk}
    third, fourth = lend(), lend()
    assert {third.credential_id, fourth.credential_id} == {one.pk, two.pk}
    GeminiKey.objects.filter(priority=5).update(max_in_flight=2)
    assert lend().credential_id == low.pk


def test_a_weight_of_three_carries_three_times_as_much() -> None:
    light, heavy = key("light"), key("heavy", weight=3)
    lent = Counter(lend().credential_id for _n in range(40))
    assert lent == {light.pk: 10, heavy.pk: 30}


def test_limits_at_once_and_a_day() -> None:
    one = key("one", max_in_flight=2)
    first = lend()
    lend()
    assert 1 <= (refused().retry_after_seconds or 0) <= pool.BUSY_SECONDS
    pool.report(first.lease_id, "ok")
    lend()
    GeminiKey.objects.filter(pk=one.pk).update(max_in_flight=-1, daily_limit=3)
    error = refused()
    assert 0 < (error.retry_after_seconds or 0) <= 86400
    with time_machine.travel(timezone.now() + timedelta(days=1)):
        lend()
    one.refresh_from_db()
    assert one.uses_today == 1


def test_switched_off_keys_and_none_at_all() -> None:
    assert refused().retry_after_seconds == pool.NO_IDEA_SECONDS
    key("one", is_active=False)
    assert refused().retry_after_seconds == pool.NO_IDEA_SECONDS


def test_a_lease_that_is_never_reported_ends_by_itself() -> None:
    one = key("one", max_in_flight=1)
    lease = lend(ttl_seconds=30)
    with time_machine.travel(timezone.now() + timedelta(seconds=31)):
        again = lend()
        assert again.credential_id == one.pk
        assert CredentialLease.objects.get(pk=lease.lease_id).outcome == "expired"
        one.refresh_from_db()
        assert one.in_flight == 1
        pool.report(lease.lease_id, "rate_limited", 60)  # late, but it still teaches; nothing is given back twice
        one.refresh_from_db()
        assert (one.in_flight, one.state) == (1, "cooling")
        assert CredentialLease.objects.get(pk=lease.lease_id).outcome == "rate_limited"


def test_the_same_report_twice_is_one_and_another_is_refused() -> None:
    one = key("one")
    lease = lend()
    pool.report(lease.lease_id, "ok")
    pool.report(str(lease.lease_id), "ok")
    one.refresh_from_db()
    assert (one.in_flight, one.recent) == (0, "o")
    with pytest.raises(InvalidState) as caught:
        pool.report(lease.lease_id, "invalid")
    assert caught.value.details == {"state": "ok"}
    with pytest.raises(NotFound):
        pool.report(uuid7(), "ok")
    with pytest.raises(InvalidRequest):
        pool.report(lease.lease_id, "fine")


def test_retry_after_is_honoured_and_then_one_trial_decides() -> None:
    one = key("one")
    pool.report(lend().lease_id, "rate_limited", 40)
    one.refresh_from_db()
    assert one.state == "cooling"
    assert refused().retry_after_seconds in (39, 40)
    with time_machine.travel(timezone.now() + timedelta(seconds=41)):
        trial = lend()
        assert trial.is_trial
        assert refused().retry_after_seconds == pool.BUSY_SECONDS  # one trial at a time
        pool.report(trial.lease_id, "ok")
        one.refresh_from_db()
        assert (one.state, one.cooling_until, one.trial_until) == ("ready", None, None)
        assert not lend().is_trial


def test_a_retry_after_of_nothing_means_at_once() -> None:
    key("one")
    pool.report(lend().lease_id, "rate_limited", 0)
    trial = lend()
    assert trial.is_trial
    pool.report(trial.lease_id, "rate_limited", 0)
    assert (refused().retry_after_seconds or 0) in (59, 60)  # but not for ever


def test_a_failed_trial_cools_twice_as_long_up_to_a_cap() -> None:
    one = key("one")
    now = timezone.now()
    waits = []
    for _round in range(12):
        with time_machine.travel(now, tick=False):
            pool.report(lend().lease_id, "rate_limited")
            one.refresh_from_db()
            assert one.cooling_until is not None
            waits.append((one.cooling_until - now).total_seconds())
            now = one.cooling_until + timedelta(seconds=1)
    assert waits[:4] == [30, 60, 120, 240]
    assert max(waits) == 3600


def test_a_trial_that_says_nothing_about_the_key_is_followed_by_another() -> None:
    key("one")
    pool.report(lend().lease_id, "rate_limited", 5)
    with time_machine.travel(timezone.now() + timedelta(seconds=6)):
        pool.report(lend().lease_id, "overloaded")
        trial = lend()
        assert trial.is_trial
        pool.report(trial.lease_id, "content_refused")  # the key did its work
        assert not lend().is_trial


def test_a_trial_that_is_never_reported_makes_room_for_the_next() -> None:
    key("one")
    pool.report(lend().lease_id, "rate_limited", 5)
    now = timezone.now()
    with time_machine.travel(now + timedelta(seconds=6)):
        lend(ttl_seconds=30)
        refused()
    with time_machine.travel(now + timedelta(seconds=40)):
        assert lend().is_trial


def test_leases_that_were_out_already_do_not_make_it_worse() -> None:
    one = key("one")
    leases = [lend() for _n in range(5)]
    now = timezone.now()
    with time_machine.travel(now, tick=False):
        for lease in leases:
            pool.report(lease.lease_id, "rate_limited", 20)
        one.refresh_from_db()
        assert one.cooling_until == now + timedelta(seconds=20)


def test_only_what_is_its_own_fault_counts_against_a_key() -> None:
    one = key("one")
    for outcome in ("overloaded", "error", "content_refused") * 20:
        pool.report(lend().lease_id, outcome, message="502 from upstream")
    one.refresh_from_db()
    assert one.state == "ready"
    assert (one.error_count, one.errors_today, one.use_count) == (40, 40, 60)
    assert one.last_error == "502 from upstream"


def test_three_invalid_of_the_last_ten_and_it_is_out_until_an_operator_says_otherwise() -> None:
    one = key("one")
    now = timezone.now()
    for _round in range(pool.MAX_INVALID):
        with time_machine.travel(now):
            pool.report(lend().lease_id, "invalid", message="API key not valid")
            one.refresh_from_db()
            assert one.state == "invalid"
            now = (one.cooling_until or now) + timedelta(seconds=1)
    assert one.cooling_until is None
    with time_machine.travel(now + timedelta(days=30)):
        assert refused().retry_after_seconds == pool.NO_IDEA_SECONDS
        pool.give_trial(credential=one)
        pool.report(lend().lease_id, "ok")
        one.refresh_from_db()
        assert one.state == "ready"


def test_one_stray_refusal_does_not_kill_a_healthy_key() -> None:
    one = key("one")
    pool.report(lend().lease_id, "invalid")
    with time_machine.travel(timezone.now() + timedelta(seconds=pool.COOLDOWN_SECONDS["invalid"] + 1)):
        pool.report(lend().lease_id, "ok")
        one.refresh_from_db()
        assert one.state == "ready"


def test_quota_is_a_state_of_its_own() -> None:
    one = key("one")
    pool.report(lend().lease_id, "quota_exhausted", 7200)
    one.refresh_from_db()
    assert one.state == "quota_exhausted"
    assert 7195 <= (refused().retry_after_seconds or 0) <= 7200


def test_the_soonest_of_all_is_told() -> None:
    key("one")
    key("two")
    pool.report(lend().lease_id, "rate_limited", 500)
    pool.report(lend().lease_id, "rate_limited", 50)
    assert refused().retry_after_seconds in (49, 50)


def test_what_an_operator_saves_does_not_touch_what_the_pool_knows() -> None:
    one = key("one")
    stale = GeminiKey.objects.get(pk=one.pk)
    lease = lend()
    pool.report(lease.lease_id, "rate_limited", 60)
    lend_again = key("two")
    assert lend().credential_id == lend_again.pk
    stale.name = "renamed"
    stale.save()
    one.refresh_from_db()
    assert (one.name, one.state, one.use_count) == ("renamed", "cooling", 1)


NEWER, OLDER = "c29tZS1vdGhlci1lbmNyeXB0aW9uLWtleS0zMi1ieXQ=", "dGVzdC1lbmNyeXB0aW9uLWtleS1vZi0zMi1ieXRlcyE="


def test_a_process_with_the_older_keys_never_marks_what_it_cannot_open(settings: Any) -> None:
    """While keys rotate, in any order of restarts: what one process cannot read is passed by there, and is healthy elsewhere."""
    settings.ENCRYPTION_KEYS = [NEWER, OLDER]  # a process that was restarted already
    sealed = [key(f"sealed by the newer key {number}", priority=9, state="ready") for number in range(20)]
    GeminiKey.objects.filter(pk=sealed[0].pk).update(state="cooling", cooling_until=timezone.now())  # a trial is due
    columns = ("state", "cooling_until", "trial_until", "in_flight", "use_count", "uses_today", "last_error", "error_count")
    before = list(GeminiKey.objects.order_by("pk").values_list(*columns))
    settings.ENCRYPTION_KEYS = [OLDER]  # one that was not
    with pytest.raises(SecretUnreadable):
        lend()
    whole = key("sealed by the older key")
    assert lend().credential_id == whole.pk
    assert list(GeminiKey.objects.exclude(pk=whole.pk).order_by("pk").values_list(*columns)) == before
    assert CredentialLease.objects.count() == 1
    unreadable.forget()  # the process is restarted with both
    settings.ENCRYPTION_KEYS = [NEWER, OLDER]
    assert lend().credential_id in {row.pk for row in sealed}


def test_images_and_videos_have_limits_of_their_own() -> None:
    AIModel.objects.create(provider="sora", model_id="sora2-landscape-10s", name="Sora 2", type="VIDEO_GENERATION")
    one = token("one", image_concurrency=2, video_concurrency=1)
    video = lend(provider="sora", use="video")
    with pytest.raises(CredentialsExhausted):
        lend(provider="sora", model="sora2-landscape-10s")
    lend(provider="sora", model="gpt-image")
    lend(provider="sora", use="image")
    with pytest.raises(CredentialsExhausted):
        lend(provider="sora", use="image")
    pool.report(video.lease_id, "ok")
    lend(provider="sora", use="video")
    one.refresh_from_db()
    assert (one.in_flight, one.in_flight_images, one.in_flight_videos) == (3, 2, 1)


@pytest.mark.parametrize(
    "fields",
    [
        {"video_enabled": False},
        {"is_deleted": True},
        {"is_missing_there": True},
        {"expires_at": timezone.now() - timedelta(seconds=1)},
        {"is_active": False},
        {"video_concurrency": 0},
    ],
)
def test_sora_tokens_that_cannot_be_used_are_not_lent(fields: dict[str, Any]) -> None:
    token("one", **fields)
    refused(provider="sora", use="video")


def test_what_cannot_be_asked_for() -> None:
    for wrong in ({"provider": "openai"}, {"ttl_seconds": 29}, {"ttl_seconds": 3601}, {"use": "text"}):
        with pytest.raises(InvalidRequest):
            lend(**wrong)


def test_statements_of_a_lease_and_a_report(django_assert_max_num_queries: Any) -> None:
    key("one")
    pool.report(lend().lease_id, "ok")
    # One each, and now and then a look for overdue leases; SQLite: with the transactions around them.
    with django_assert_max_num_queries(3 if connection.vendor == "postgresql" else 20):
        pool.report(lend().lease_id, "ok")


# --- many at once --------------------------------------------------------------------------------------------------


def test_no_limit_breaks_when_many_lease_at_once(cloned_db: Any) -> None:
    for number in range(4):
        key(f"k{number}", max_in_flight=2)

    def work(_number: int) -> int:
        try:
            lend()
        except CredentialsExhausted:
            return 0
        return 1

    assert sum(at_once(16, work)) == 8
    assert set(GeminiKey.objects.values_list("in_flight", flat=True)) == {2}
    assert CredentialLease.objects.count() == 8


def test_nobody_is_turned_away_while_there_is_room(cloned_db: Any) -> None:
    """Rows that others hold for an instant are not busy credentials."""
    key("only", max_in_flight=64)
    assert len(at_once(16, lambda _n: [pool.report(lend().lease_id, "ok") for _m in range(5)])) == 16
    only = GeminiKey.objects.get()
    assert (only.in_flight, only.use_count) == (0, 80)


def test_one_trial_however_many_ask(cloned_db: Any) -> None:
    one = key("one")
    GeminiKey.objects.update(state="cooling", cooling_until=timezone.now())

    def work(_number: int) -> bool:
        try:
            return lend().is_trial
        except CredentialsExhausted:
            return False

    assert Counter(at_once(12, work)) == {True: 1, False: 11}
    one.refresh_from_db()
    assert one.in_flight == 1


@pytest.mark.slow
def test_under_fire_no_limit_breaks_and_the_dead_are_found(cloned_db: Any) -> None:
    """Eight processes, forty keys with limits, a provider that fails in every way: the dead go, the healthy stay."""
    limit = 2
    dead = {str(key(f"dead{n}", max_in_flight=limit).pk) for n in range(8)}
    healthy = {str(key(f"well{n}", max_in_flight=limit).pk) for n in range(32)}
    callers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.aiservices.pool_caller", str(seed), "12"],
            cwd=PROJECT,
            env=process_environment(DATABASE_URL=cloned_db.url),
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in range(8)
    ]
    leases = [json.loads(line) for caller in callers for line in caller.communicate(timeout=120)[0].splitlines()]
    assert [caller.returncode for caller in callers] == [0] * 8
    assert len(leases) > 200

    held: dict[str, list[tuple[float, int]]] = {}
    for credential, begun, ended, *_rest in leases:
        held.setdefault(credential, []).extend([(begun, 1), (ended, -1)])
    for credential, events in held.items():
        assert max(itertools.accumulate(step for _at, step in sorted(events))) <= limit, credential

    assert GeminiKey.objects.filter(pk__in=healthy, state="invalid").count() == 0
    found = set(GeminiKey.objects.filter(state="invalid", cooling_until=None).values_list("pk", flat=True))
    assert {str(pk) for pk in found} == dead
    assert set(GeminiKey.objects.values_list("in_flight", flat=True)) == {0}

    recoveries = sorted(_recovery_seconds(leases))
    print(f"{len(leases)} leases; lent again {recoveries[len(recoveries) // 2]:.2f} s (median) after a cooldown of 0.2 s ended")
    assert recoveries[len(recoveries) // 2] < 2


def _recovery_seconds(leases: list[list[Any]]) -> Iterator[float]:
    """For each first offence: how long after its cooldown ended the key was lent again, as a trial."""
    by_key: dict[str, list[list[Any]]] = {}
    for lease in sorted(leases, key=lambda lease: float(lease[1])):
        by_key.setdefault(lease[0], []).append(lease)
    for lent in by_key.values():
        offence = next((lease for lease in lent if lease[3] == "rate_limited"), None)
        trial = offence and next((lease for lease in lent if lease[5] and lease[1] > offence[2]), None)
        if offence and trial:
            yield trial[1] - offence[2] - offence[4]
