"""Results that were made and could not be fetched: fetched again until their addresses are too old, then given up plainly."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from aiservices.generations import recovery
from aiservices.generations.models import Generation, PendingResult
from aiservices.generations.pending import FETCH_HOURS
from aiservices.generations.services import settle_unknown
from aiservices.generations.unknown import release_overdue
from billing.ledger.models import Charge, Hold
from billing.ledger.posting import database_now
from billing.monitoring.models import Alert
from billing.reconciliation.checks import reconcile
from gateway_client import fetch
from tenants.models import Tenant
from tenants.webhooks.models import OutboxMessage
from tests.aiservices.jobs import work_off
from tests.aiservices.unknown_outcomes import an_unknown
from tests.books import balance_and_held
from tests.callers import Api
from tests.catalog import image_model, video_model
from tests.gateway_client import bad_server as bad
from tests.gateway_client.bad_server import BadServer
from waule.core.errors import StorageUnavailable

pytestmark = pytest.mark.django_db
IMAGES, GENERATIONS = "/v1/images/generations", "/v1/generations"


class GatewayAway:
    """A gateway whose results lie at relative addresses; `result` is how it answers to those that fetch them."""

    def __init__(self, server: BadServer) -> None:
        self.server = server
        self.result: bad.Behaviour = bad.answer("not there yet", 404)
        self.items: list[dict[str, Any]] = [{"url": "/uploads/1.png", "revised_prompt": "a red fox"}]
        server.will(self.answer)

    def answer(self, stream: Any, seen: Any) -> None:
        made = {"data": self.items, "usage": {"credits_charged": 15}}
        (bad.answer(made) if seen.method == "POST" else self.result)(stream, seen)

    @property
    def orders(self) -> int:
        return sum(seen.method == "POST" for seen in self.server.seen)

    @property
    def fetched(self) -> int:
        return len(self.server.seen) - self.orders


@pytest.fixture
def gateway_away(settings: Any, any_database: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[GatewayAway]:
    monkeypatch.setattr(fetch, "FETCH_PAUSE_SECONDS", 0.01)
    server = BadServer()
    settings.AI_SERVICE_MODE, settings.WAULEAPI_URL = "gateway", server.url
    settings.OUTBOUND_ALLOW = []  # the gateway is on a private address, and is the operator's word
    yield GatewayAway(server)
    server.stop()


def ordered(api: Api) -> Generation:
    status, answer = api.post(IMAGES, {"model": "painter", "prompt": "x"}, key="k")
    assert (status, answer["error"]["code"]) == (502, "upstream_error"), answer
    return Generation.objects.get()


def hours_pass(row: Generation, hours: float) -> None:
    """As if everything had happened so much earlier."""
    back = timedelta(hours=hours)
    row.refresh_from_db()
    times = {name: getattr(row, name) - back for name in ("created_at", "completed_at", "run_after")}
    Generation.objects.filter(id=row.id).update(**times)
    for pending in PendingResult.objects.filter(generation=row):
        PendingResult.objects.filter(pk=pending.pk).update(created_at=pending.created_at - back)


@pytest.mark.parametrize(
    "failure",
    [bad.answer("gone", 404), bad.answer("busy", 503), bad.hang_up, bad.media(b"<html>soon</html>")],
    ids=["404", "503", "hung up", "a page"],
)
def test_a_result_is_fetched_when_it_can_be(gateway_away: GatewayAway, as_acme: Api, acme: Tenant, failure: Any) -> None:
    image_model()
    gateway_away.result = failure
    row = ordered(as_acme)
    assert (row.state, row.flags, balance_and_held(acme)) == ("unknown", ["not_fetched"], (1000, 15))
    assert (row.error_message, PendingResult.objects.get().is_from_own_address) == (
        "The result was made, but could not be fetched. It is tried again for 24 hours.",
        True,
    )
    hours_pass(row, 1)
    known_since = Generation.objects.get().completed_at
    assert (recovery.store_pending(), balance_and_held(acme)) == (1, (1000, 15))
    row.refresh_from_db()
    assert (row.state, row.completed_at) == ("unknown", known_since)  # its time runs on

    gateway_away.result = bad.media(bad.PNG)
    hours_pass(row, 1)
    assert recovery.store_pending() == 1
    row.refresh_from_db()
    assert (row.state, row.flags, row.error_message, balance_and_held(acme)) == ("succeeded", [], "", (985, 0))
    assert (PendingResult.objects.count(), gateway_away.orders) == (0, 1)
    status, answer = as_acme.post(IMAGES, {"model": "painter", "prompt": "x"}, key="k")
    assert (status, answer["data"][0]["revised_prompt"], answer["usage"]["credits_charged"]) == (200, "a red fox", 15)
    assert (Charge.objects.count(), reconcile().problems) == (1, [])


def test_the_pause_between_two_tries_grows(gateway_away: GatewayAway, as_acme: Api) -> None:
    image_model()
    row = ordered(as_acme)
    pauses = []
    for age in (0.5, 5, 10):
        hours_pass(row, age)
        assert recovery.store_pending() == 1
        row.refresh_from_db()
        pauses.append((row.run_after - database_now()).total_seconds() // 60)
    assert pauses == sorted(set(pauses)) and pauses[-1] >= 60
    before = gateway_away.fetched
    hours_pass(row, 0.1)
    assert (recovery.store_pending(), gateway_away.fetched) == (0, before)


def test_an_address_that_is_too_old_is_given_up(gateway_away: GatewayAway, as_acme: Api, acme: Tenant, settings: Any) -> None:
    settings.ALERT_WEBHOOK_URL = "http://127.0.0.1:9/"
    image_model()
    row = ordered(as_acme)
    hours_pass(row, FETCH_HOURS - 1)
    assert (release_overdue(), recovery.store_pending()) == (0, 1)
    hours_pass(row, 2)
    asked = gateway_away.fetched
    assert (recovery.store_pending(), gateway_away.fetched) == (0, asked)
    assert (release_overdue(), release_overdue()) == (1, 0)
    row.refresh_from_db()
    assert (row.state, row.flags, balance_and_held(acme)) == ("failed", ["not_fetched", "unknown_released"], (1000, 0))
    assert (Hold.objects.get().state, PendingResult.objects.count(), Charge.objects.count()) == ("released", 0, 0)
    shown = as_acme.get(f"{GENERATIONS}/{row.id}")[1]
    assert (shown["status"], shown["credits_charged"]) == ("failed", 0)
    assert shown["error"]["message"] == "The result was made, but could not be fetched in time. Its credits were given back."
    assert OutboxMessage.objects.get(kind="alert.unknown_released").payload["generationIds"] == [str(row.id)]
    assert Alert.objects.filter(kind="unknown_released").exists()
    assert (gateway_away.orders, reconcile().problems) == (1, [])


def test_it_is_held_for_ever_where_the_operator_says_so(
    gateway_away: GatewayAway, as_acme: Api, acme: Tenant, settings: Any
) -> None:
    settings.UNKNOWN_RELEASE_HOURS = 0
    image_model()
    row = ordered(as_acme)
    hours_pass(row, FETCH_HOURS + 1)
    asked = gateway_away.fetched
    assert (recovery.store_pending(), release_overdue(), gateway_away.fetched) == (0, 0, asked)
    assert (Generation.objects.get().state, balance_and_held(acme)) == ("unknown", (1000, 15))


def test_an_address_that_became_unusable_ends_it(gateway_away: GatewayAway, as_acme: Api, acme: Tenant) -> None:
    image_model()
    row = ordered(as_acme)
    gateway_away.result = bad.answer(b"", 302, {"Location": "http://127.0.0.1:1/"})
    hours_pass(row, 1)
    assert recovery.store_pending() == 1
    row.refresh_from_db()
    assert (row.state, row.flags, balance_and_held(acme), PendingResult.objects.count()) == (
        "failed",
        ["unusable_url"],
        (1000, 0),
        0,
    )


@pytest.mark.parametrize("is_there", [True, False])
def test_an_operator_may_charge_for_it(gateway_away: GatewayAway, as_acme: Api, acme: Tenant, is_there: bool) -> None:
    """What is charged is delivered where it can be; what the operator knows otherwise is the operator's word."""
    image_model()
    row = ordered(as_acme)
    if is_there:
        gateway_away.result = bad.media(bad.PNG)
    settled = settle_unknown(generation=row, charge=True, reason="sent by mail", actor="test")
    assert (settled.state, len(settled.outputs), balance_and_held(acme)) == ("succeeded", int(is_there), (985, 0))
    assert (PendingResult.objects.count(), reconcile().problems) == (0, [])


def test_nothing_is_charged_by_hand_while_there_is_no_room_for_it(
    gateway_away: GatewayAway, as_acme: Api, acme: Tenant, settings: Any, tmp_path: Path
) -> None:
    image_model()
    row = ordered(as_acme)
    gateway_away.result = bad.media(bad.PNG)
    (tmp_path / "file").touch()
    settings.MEDIA_ROOT = tmp_path / "file"
    with pytest.raises(StorageUnavailable):
        settle_unknown(generation=row, charge=True, reason="sent by mail", actor="test")
    hours_pass(row, 1)
    assert (recovery.store_pending(), Generation.objects.get().state, balance_and_held(acme)) == (0, "unknown", (1000, 15))


def test_some_of_several_are_delivered_at_once(gateway_away: GatewayAway, as_acme: Api, acme: Tenant) -> None:
    image_model()
    gateway_away.items = [{"url": "/uploads/1.png"}, {"url": "/uploads/2.png"}]
    gateway_away.result = lambda stream, seen: (bad.media(bad.PNG) if seen.path.endswith("1.png") else bad.answer("gone", 404))(
        stream, seen
    )
    status, answer = as_acme.post(IMAGES, {"model": "painter", "prompt": "x", "n": 2})
    assert (status, len(answer["data"]), answer["usage"]["credits_charged"]) == (200, 1, 15)
    row = Generation.objects.get()
    assert (row.flags, balance_and_held(acme), PendingResult.objects.count()) == (
        ["not_fetched", "fewer_than_asked"],
        (985, 0),
        0,
    )


def test_a_video_s_too(gateway_away: GatewayAway, as_acme: Api, acme: Tenant) -> None:
    video_model()
    gateway_away.items = [{"url": "/uploads/1.mp4"}]
    video = as_acme.post("/v1/videos", {"model": "filmer", "prompt": "x", "seconds": "4"})[1]["id"]
    work_off()
    shown = as_acme.get(f"/v1/videos/{video}")[1]
    assert (shown["status"], shown["error"]["code"], balance_and_held(acme)) == ("failed", "outcome_unknown", (1000, 40))
    gateway_away.result = bad.media(bad.MP4)
    hours_pass(Generation.objects.get(), 1)
    assert recovery.store_pending() == 1
    shown = as_acme.get(f"/v1/videos/{video}")[1]
    assert (shown["status"], shown["error"], balance_and_held(acme), gateway_away.orders) == ("completed", None, (960, 0), 1)


@pytest.mark.parametrize(("hours", "minutes"), [(0, 1), (10, 60), (40, 240)])
def test_a_provider_is_asked_less_often_the_longer_it_takes(
    gateway_away: GatewayAway, acme: Tenant, settings: Any, hours: float, minutes: int
) -> None:
    settings.OPENAI_API_URL, settings.OPENAI_API_KEY = gateway_away.server.url, "sk-planted"
    row = an_unknown(acme, hours=hours, provider="openai", upstream_id="video_1")
    gateway_away.server.will(bad.answer({"id": "video_1", "status": "in_progress"}))
    recovery.ask_about_unknown()
    assert [seen.path for seen in gateway_away.server.seen] == ["/videos/video_1"]
    row.refresh_from_db()
    assert (row.state, round((row.run_after - database_now()).total_seconds() / 60)) == ("unknown", minutes)
    recovery.ask_about_unknown()
    assert len(gateway_away.server.seen) == 1
