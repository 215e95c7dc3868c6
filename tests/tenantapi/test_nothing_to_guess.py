"""Another tenant's row and one that is not there are the same to a caller: the same answer, by the same statements.

Equal work is what makes equal times; a test that measured them would fail on a busy machine.
"""

import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import zip_longest
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, get_resolver

from aiservices.generations.models import Generation
from tenants.models import Tenant
from tenants.services import create_api_key
from tests.books import give
from tests.callers import Api
from tests.console.addresses import console_addresses, ids_of

ID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)


def shape(text: str, ids: dict[str, str]) -> str:
    for value in sorted({each for each in ids.values() if len(each) > 8}, key=len, reverse=True):
        text = text.replace(value, "ID")
    return re.sub(r"""'[^']*'|\b\d+\b|"s\d+_x\d+\"""", "?", ID.sub("ID", text))


def seen(ask: Callable[[], Any], ids: dict[str, str]) -> tuple[int, str, list[str]]:
    """Status, text and statements, without what tells the ids apart."""
    with CaptureQueriesContext(connection) as queries:
        answer = ask()
    return answer.status_code, shape(answer.content.decode(), ids), [shape(query["sql"], ids) for query in queries]


def missing_like(ids: dict[str, str]) -> dict[str, str]:
    return {name: str(uuid4()) if ID.fullmatch(value) else str(10**7 + int(value)) for name, value in ids.items()}


def addresses_of_v1() -> Iterator[tuple[str, str]]:
    """Every method and address below /v1 that names a row."""
    (v1,) = [each for each in get_resolver().url_patterns if str(each.pattern) == "v1/"]
    for each in v1.url_patterns:
        route = str(each.pattern)
        if isinstance(each, URLPattern) and "_id>" in route and "model_id" not in route:
            for method in getattr(each.callback, "actions", {}):
                yield method, f"/v1/{re.sub(r'<str:', '<', route)}"


def all_of_v1() -> Iterator[tuple[str, str]]:
    """Every method and address below /v1, with made-up ids."""
    (v1,) = [each for each in get_resolver().url_patterns if str(each.pattern) == "v1/"]
    for each in v1.url_patterns:
        address = re.sub(r"<[^>]*>", str(uuid4()), str(each.pattern))
        for method in getattr(each.callback, "actions", {}) if isinstance(each, URLPattern) else ():
            if method != "head":  # which Django adds, to those that have been asked once
                yield method, f"/v1/{address}"


WALKED = sorted(set(addresses_of_v1()))


@pytest.fixture
def theirs(birch: Tenant) -> dict[str, str]:
    give(birch, 5)
    return ids_of(birch)


def test_there_are_addresses_to_walk() -> None:
    assert {route for _method, route in WALKED} >= {
        "/v1/keys/<key_id>",
        "/v1/generations/<generation_id>",
        "/v1/videos/<video_id>",
    }


@pytest.mark.parametrize(("method", "route"), WALKED)
def test_of_the_api(as_acme: Api, theirs: dict[str, str], birch: Tenant, method: str, route: str) -> None:
    video = Generation.objects.create(
        type="video", tenant=birch, model=Generation.objects.get().model, prompt="x", state="queued"
    )
    there = {"key_id": theirs["key_id"], "generation_id": theirs["aiservices_generation"], "video_id": str(video.pk)}

    def asked(ids: dict[str, str]) -> tuple[int, str, list[str]]:
        address = re.sub(r"<(\w+)>", lambda name: ids[name[1]], route)
        headers = {"Authorization": as_acme.authorization}
        return seen(lambda: getattr(as_acme.client, method)(address, headers=headers), ids)

    asked(there)  # what is read once in a process is read now
    first, other = asked(there), asked(missing_like(there))
    assert first == other
    assert first[0] in (403, 404)  # 403: this key may not do it to its own either


def test_of_the_console(owner: Client, theirs: dict[str, str]) -> None:
    missing = missing_like(theirs)
    pairs = [pair for pair in zip(console_addresses(theirs), console_addresses(missing), strict=True) if pair[0] != pair[1]]
    assert len(pairs) >= 15
    for their_address, no_address in pairs:
        for method in ("get", "post"):
            ask = getattr(owner, method)
            ask(their_address)
            first, other = seen(partial(ask, their_address), theirs), seen(partial(ask, no_address), missing)
            assert first[:2] == other[:2], their_address
            differs = [pair for pair in zip_longest(first[2], other[2]) if pair[0] != pair[1]]
            assert not differs, (their_address, differs[0])


@pytest.mark.parametrize("scopes", [["read"], ["generate"], ["manage"], ["read", "generate", "manage"]], ids="+".join)
@pytest.mark.parametrize("mode", ["live", "test"])
def test_a_switched_off_tenants_keys_open_nothing(acme: Tenant, mode: str, scopes: list[str]) -> None:
    """Reading neither: what is told of an account is for a tenant that may use it."""
    api = Api(f"Bearer {create_api_key(tenant=acme, mode=mode, scopes=scopes, actor='test')[1]}")
    Tenant.objects.filter(pk=acme.pk).update(is_active=False)
    walked = list(all_of_v1())
    assert len(walked) >= 20
    for method, address in walked:
        status, answer = api(method.upper(), address, {} if method in ("post", "put", "patch") else None)
        assert (status, answer["error"]["code"]) == (403, "tenant_inactive"), (method, address, answer)
