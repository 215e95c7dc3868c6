"""A request that a client repeats by itself is no second order: one picture, one charge."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
import requests

from aiservices.generations.models import Generation
from billing.ledger.models import Charge
from tests.clients.conftest import Shop
from tests.clients.relay import Relay
from tests.live import LiveWaule
from tests.waiting import eventually

pytestmark = pytest.mark.once  # the database makes no difference

BODY = {"model": "painter", "prompt": "a fox"}


def all_over() -> bool:
    states = list(Generation.objects.values_list("state", flat=True))
    return bool(states) and not set(states) & {"new", "queued", "running"}


def only_once(shop: Shop) -> bool:
    """One picture and one charge, when everything has come to its end."""
    eventually(all_over)
    pictures = Counter(Generation.objects.values_list("state", flat=True))["succeeded"]
    return (pictures, Charge.objects.count(), shop.spent) == (1, 1, 15)


def post(shop: Shop, retry: int | None = None, *, timeout: float = 60, **body: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {shop.api_key}"}
    if retry is not None:
        headers["X-Stainless-Retry-Count"] = str(retry)
    return requests.post(f"{shop.base_url}/images/generations", json=BODY | body, headers=headers, timeout=timeout)


def give_up(shop: Shop, retry: int | None = None, **body: Any) -> None:
    """Asks, and goes away when the picture has been begun."""
    before = Generation.objects.filter(state="running").count()
    with ThreadPoolExecutor(1) as caller:
        asked = caller.submit(post, shop, retry, timeout=1.5, **body)
        eventually(lambda: asked.done() or Generation.objects.filter(state="running").count() > before)
        with pytest.raises(requests.RequestException):
            asked.result()


# --- the clients ---------------------------------------------------------------------------------------------------


def test_the_python_client_with_a_short_timeout(shop: Shop) -> None:
    shop.waule.environ["SANDBOX_DELAY_SECONDS"] = "3"
    client = openai.OpenAI(base_url=shop.base_url, api_key=shop.api_key, timeout=1.5)
    try:
        made = client.images.generate(**BODY)  # type: ignore[call-overload]
        assert len(made.data) == 1
    except openai.APITimeoutError:
        pass  # a slow machine: three tries were not enough, and still no more than one picture is paid for
    assert Generation.objects.filter(client_retries__gte=1).exists()
    assert only_once(shop)


def test_the_node_client_with_a_short_timeout(shop: Shop) -> None:
    shop.waule.environ["SANDBOX_DELAY_SECONDS"] = "3"
    told = shop.node("retry.mjs", "1.5")
    assert told in ({"pictures": 1, "charged": 15}, {"error": "APIConnectionTimeoutError", "status": None})
    assert only_once(shop)


@pytest.fixture
def relay(shop: Shop, tmp_path: Path) -> Iterator[Relay]:
    """In front of two servers on one database; the first one is the one that answers."""
    shop.waule.environ["SANDBOX_DELAY_SECONDS"] = "2"
    second = LiveWaule(shop.waule.database, tmp_path, **{**shop.waule.environ, "MEDIA_ROOT": shop.waule.environ["MEDIA_ROOT"]})
    relay = Relay(shop.waule.url)
    relay.second = second.url  # type: ignore[attr-defined]
    yield relay
    relay.close()
    second.stop()


def kill_the_first(shop: Shop, relay: Relay) -> None:
    """The server dies while it makes the picture; another one answers at its address."""
    eventually(lambda: Generation.objects.filter(state="running").exists())
    relay.backend = relay.second  # type: ignore[attr-defined]
    shop.waule.kill()
    relay.cut()


def test_the_python_client_whose_server_dies(shop: Shop, relay: Relay) -> None:
    client = openai.OpenAI(base_url=f"{relay.url}/v1", api_key=shop.api_key, timeout=60)
    killer = threading.Thread(target=kill_the_first, args=(shop, relay))
    killer.start()
    made = client.images.generate(**BODY)  # type: ignore[call-overload]
    killer.join()
    assert len(made.data) == 1
    assert relay.requests >= 2
    assert only_once(shop)


def test_the_node_client_whose_server_dies(shop: Shop, relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shop, "base_url", f"{relay.url}/v1")
    killer = threading.Thread(target=kill_the_first, args=(shop, relay))
    killer.start()
    told = shop.node("retry.mjs", "60")
    killer.join()
    assert told == {"pictures": 1, "charged": 15}
    assert only_once(shop)


# --- what is a repetition, and what is not -------------------------------------------------------------------------


def test_what_joins_and_what_does_not(shop: Shop) -> None:
    """One server for the lot: each part begins with what the one before left."""
    assert post(shop, 0).status_code == 200
    # Its answer was delivered: a retry of an equal request belongs to another one, which never arrived.
    eventually(lambda: Generation.objects.filter(delivered_at__isnull=False).count() == 1)
    again = post(shop, 1)
    assert (again.status_code, "Idempotent-Replayed" in again.headers) == (200, False)
    eventually(lambda: Generation.objects.filter(delivered_at__isnull=False).count() == 2)
    assert (Generation.objects.count(), shop.spent) == (2, 30)

    shop.waule.restart(SANDBOX_DELAY_SECONDS="3")
    # Nobody waits for the answer: the retry joins, whoever sends it first, and is told so.
    give_up(shop, 0)
    joined = post(shop, 1)
    assert (joined.status_code, joined.headers.get("Idempotent-Replayed")) == (200, "true")
    assert (Generation.objects.count(), shop.spent) == (3, 45)

    # Another prompt, or no word of a retry, is another order.
    give_up(shop, 0, prompt="a wolf")
    assert post(shop, 0, prompt="a wolf").status_code == 200
    assert post(shop, 1, prompt="a bear").headers.get("Idempotent-Replayed") is None
    eventually(all_over)
    assert (Generation.objects.count(), shop.spent) == (6, 90)
    # The first wolf was never delivered: its own retry still finds it, without a second charge.
    late = post(shop, 1, prompt="a wolf")
    assert late.headers.get("Idempotent-Replayed") == "true"
    assert shop.spent == 90


def test_two_equal_requests_are_two_orders_and_each_retry_finds_its_own(shop: Shop) -> None:
    shop.waule.environ["SANDBOX_DELAY_SECONDS"] = "4"
    assert shop.waule.url
    with ThreadPoolExecutor(2) as callers:
        for asked in [callers.submit(post, shop, 0, timeout=2) for _number in range(2)]:
            with pytest.raises(requests.RequestException):
                asked.result()
        eventually(lambda: Generation.objects.exclude(state="new").count() == 2)
        answers = [asked.result() for asked in [callers.submit(post, shop, 1) for _number in range(2)]]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["data"][0]["url"] for answer in answers}) == 2
    # (Where the database was too slow for one of the first two, that one was dropped, and its retry is a new order.)
    assert (Generation.objects.filter(state="succeeded").count(), shop.spent) == (2, 30)
