"""The end of a run: what the callers were promised, what the provider did, and what the database says must be one story."""

import json
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import requests

from tests.chaos.callers import Caller
from tests.chaos.model import (
    CODE_USES,
    LEASES_AT_ONCE,
    SHARED_GRANTED,
    VIDEO_PRICE,
    Disagreement,
    Lease,
    Shared,
    expect,
    most_at_once,
)
from tests.chaos.world import World
from tests.live import LiveWaule

VIDEOS_SECONDS = 240  # until the last job has ended, once everything is mended
OPEN_STATES = "('new', 'queued', 'running')"


@dataclass(frozen=True)
class Video:
    """A row of the database; `fate` is what the provider was to make of it."""

    id: str
    state: str
    fate: str


def check(world: World, callers: list[Caller], shared: Shared) -> dict[str, int]:
    """What became of the run's videos and holds, in figures. The workers still run when it begins.

    Raises Disagreement.
    """
    wait_for_videos(world.waule)
    for worker in world.workers:
        worker.stop()
    videos = check_videos(world, callers)
    states = Counter(video.state for own in videos.values() for video in own)
    end_forgotten_holds(world.waule)
    for caller in callers:
        check_account(world.waule, caller, videos[plain(caller.tenant["id"])])
    check_shared_account(world, shared)
    check_codes(world.waule, callers, shared)
    check_leases(world.waule, [lease for caller in callers for lease in caller.account.leases])
    settled = world.waule.manage_json("settle_unknown", "--release", "--reason", "chaos")
    expect(settled["settled"], states["unknown"], "unknown outcomes that could be settled")
    expect(world.waule.sql("SELECT sum(held) FROM billing_account")[0][0], 0, "credits held in the end")
    reconciled = world.waule.manage_json("reconcile")
    if not reconciled["ok"]:
        raise Disagreement(f"reconcile: {reconciled['problems'][:3]}")
    figures = {f"videos_{state}": count for state, count in states.items()}
    return {**figures, "entries": reconciled["entries"], "leases": sum(len(caller.account.leases) for caller in callers)}


def wait_for_videos(waule: LiveWaule) -> None:
    deadline = time.monotonic() + VIDEOS_SECONDS
    left = f"SELECT count(*), min(state) FROM aiservices_generation WHERE state IN {OPEN_STATES}"
    while (found := waule.sql(left)[0])[0]:
        if time.monotonic() > deadline:
            raise Disagreement(f"{found[0]} generations never ended, one is {found[1]}")
        time.sleep(0.5)


def check_videos(world: World, callers: list[Caller]) -> dict[str, list[Video]]:
    """Each order went to the provider once at most, and its state says nothing that the provider did not. By tenant."""
    accepted = {plain(key): count for key, count in world.provider.accepted.items()}
    told_failed = {plain(key) for key in world.provider.told_failed}
    videos: dict[str, list[Video]] = defaultdict(list)
    for row in world.waule.sql("SELECT id, tenant_id, state, prompt FROM aiservices_generation"):
        video = Video(plain(row[0]), row[2], row[3])
        videos[plain(row[1])].append(video)
        check_video(video, accepted.get(video.id, 0), video.id in told_failed)
    for caller in callers:
        own = videos[plain(caller.tenant["id"])]
        check_orders(caller, {video.id: video.state for video in own})
        check_films(world, caller, [video.id for video in own if video.state == "succeeded"])
    return videos


def check_video(video: Video, accepted: int, is_told_failed: bool) -> None:
    if accepted > 1:
        raise Disagreement(f"video {video.id} was ordered {accepted} times")
    if video.state == "succeeded" and not (accepted and video.fate == "made"):
        raise Disagreement(f"video {video.id} succeeded, and was never made")
    if video.state == "failed" and accepted and not is_told_failed:
        raise Disagreement(f"video {video.id} failed, and the provider made it")
    if video.state not in ("succeeded", "failed", "unknown"):
        raise Disagreement(f"video {video.id} ended as {video.state}")


def check_orders(caller: Caller, states: dict[str, str]) -> None:
    """Every order that was answered is there, and no more of them than were sent."""
    told = {plain(video) for video in caller.account.videos}
    if missing := told - set(states):
        raise Disagreement(f"{caller.name} was told of videos that are not there: {sorted(missing)}")
    if len(states) - len(told) > caller.account.unanswered_orders:
        raise Disagreement(f"{caller.name} has {len(states)} videos, and was told of {len(told)}")
    for first, second in caller.account.reordered:
        expect(states[plain(first)], "failed", f"the video {first}, whose key ordered {second} too")


def check_films(world: World, caller: Caller, videos: list[str]) -> None:
    """What was made is there, whatever became of the bucket meanwhile."""
    for video in videos:
        headers = {"Authorization": f"Bearer {caller.tenant['apiKey']}"}
        answer = requests.get(f"{world.url}/v1/videos/{UUID(video)}/content", headers=headers, timeout=30)
        if answer.status_code != 200 or answer.content != world.provider.film:
            found = f"{answer.status_code}, {len(answer.content)} bytes"
            raise Disagreement(f"the film of {video}: {found}; {place_of(world.waule, video)}")


def place_of(waule: LiveWaule, video: str) -> str:
    """What the database says of a film, and whether it lies on this disk: so that a failure can be understood."""
    query = "SELECT attempt, flags, outputs FROM aiservices_generation WHERE id = %s"
    ((attempt, flags, outputs),) = waule.sql(query, as_id(waule, str(UUID(video))))
    told = [f"attempt {attempt}, flags {flags}"]
    for output in outputs if isinstance(outputs, list) else json.loads(outputs):
        key = output.get("objectKey", "")
        named = ("driver", "bucket", "waiting_since", "released_at", "created_at", "size_bytes")
        rows = waule.sql(f"SELECT {', '.join(named)} FROM storage_storedobject WHERE object_key = %s", key)
        here = (Path(waule.environ["MEDIA_ROOT"]) / key).is_file()
        objects = [", ".join(f"{name} {value}" for name, value in zip(named, row, strict=True)) for row in rows]
        told.append(f"object {key}: {objects or 'no row'}, {'is' if here else 'is not'} on the disk")
    return "; ".join(told)


def end_forgotten_holds(waule: LiveWaule) -> None:
    """Holds that nobody ended run out; their time is up now."""
    past = "now() - interval '1 second'" if waule.database.is_postgresql else "datetime('now', '-1 second')"
    in_use = "SELECT hold_id FROM aiservices_generation WHERE hold_id IS NOT NULL"
    waule.sql(f"UPDATE billing_hold SET expires_at = {past} WHERE state = 'held' AND id NOT IN ({in_use})")
    done = waule.manage("expire_holds")
    expect(done.returncode, 0, f"expire_holds ({done.stderr[-300:]})")


def check_account(waule: LiveWaule, caller: Caller, videos: list[Video]) -> None:
    ended = Counter(video.state for video in videos)
    balance = caller.account.balance - VIDEO_PRICE * ended["succeeded"]
    held = VIDEO_PRICE * ended["unknown"]
    expect(account_of(waule, caller.tenant["id"]), (balance, held), f"balance and held of tenant {caller.number}")
    for charge_id, left in caller.account.charges.items():
        ((found,),) = waule.sql("SELECT credits - refunded FROM billing_charge WHERE id = %s", as_id(waule, charge_id))
        expect(found, left, f"what is left of charge {charge_id}")
    for hold_id in caller.account.forgotten:
        ((found,),) = waule.sql("SELECT state FROM billing_hold WHERE id = %s", as_id(waule, hold_id))
        expect(found, "expired", f"hold {hold_id}")


def check_shared_account(world: World, shared: Shared) -> None:
    balance, held = account_of(world.waule, world.shared_tenant["id"])
    expect((balance, held), (SHARED_GRANTED - shared.charged, 0), "balance and held of the shared tenant")
    if balance < 0:
        raise Disagreement(f"the shared account has {balance} credits")


def check_codes(waule: LiveWaule, callers: list[Caller], shared: Shared) -> None:
    """Nobody got a code twice, no code was given away more often than it may, and whoever was refused was so rightly."""
    redeemed = {number: len(who) for number, who in shared.redeemed.items()}
    (found,) = waule.sql("SELECT count(*) FROM billing_redemption")[0]
    expect(found, sum(redeemed.values()), "redemptions in the database")
    if too_often := {number: count for number, count in redeemed.items() if count > CODE_USES}:
        raise Disagreement(f"codes redeemed too often: {too_often}")
    for caller in callers:
        for number in caller.account.refused_codes:
            if redeemed.get(number, 0) < CODE_USES and caller.number not in shared.redeemed[number]:
                raise Disagreement(f"code {number} was refused to tenant {caller.number}, and is not used up")


def check_leases(waule: LiveWaule, leases: list[Lease]) -> None:
    """No key was in more hands than it may, each report is there, and each key counts the leases that are out."""
    of_key: dict[str, list[Lease]] = defaultdict(list)
    for lease in leases:
        of_key[lease.credential_id].append(lease)
    for credential_id, its in of_key.items():
        if (most := most_at_once(its)) > LEASES_AT_ONCE:
            raise Disagreement(f"key {credential_id} was leased {most} times at once")
    rows = waule.sql("SELECT id, outcome FROM aiservices_credentiallease")
    outcomes = {plain(lease_id): outcome for lease_id, outcome in rows}
    for lease in leases:
        if lease.outcome:
            expect(outcomes.get(plain(lease.id)), lease.outcome, f"the report of lease {lease.id}")
    out = waule.sql(
        "SELECT credential_id, count(*) FROM aiservices_credentiallease WHERE ended_at IS NULL GROUP BY credential_id"
    )
    counted = waule.sql("SELECT id, in_flight FROM aiservices_geminikey WHERE in_flight <> 0")
    expect(dict(counted), dict(out), "leases that are out, by key")


def account_of(waule: LiveWaule, tenant: str) -> tuple[int, int]:
    query = "SELECT balance, held FROM billing_account WHERE tenant_id = %s AND mode = 'live'"
    ((balance, held),) = waule.sql(query, as_id(waule, tenant))
    return balance, held


def as_id(waule: LiveWaule, text: str) -> str:
    return text if waule.database.is_postgresql else plain(text)


def plain(value: Any) -> str:
    """An id as both databases and the provider spell it."""
    return str(value).replace("-", "")
