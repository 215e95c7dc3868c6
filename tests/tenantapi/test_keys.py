"""`/v1/keys`: scopes, budgets and models of keys that a tenant gives by itself."""

import json
import re
from typing import Any

import pytest
from django.core.management import call_command

from billing.budgets.models import Budget
from billing.catalog.models import AIModel
from tenants.models import ApiKey, Tenant
from tenants.services import create_api_key
from tests.callers import Api, Internal, api_of_tenant
from tests.tenantapi.conftest import code_of

KEYS = "/v1/keys"
EVERYTHING = ["read", "generate", "manage"]


def key_of(tenant: Tenant, *scopes: str, **more: Any) -> tuple[ApiKey, Api]:
    key, text = create_api_key(tenant=tenant, scopes=scopes or None, actor="test", **more)
    return key, Api(f"Bearer {text}")


@pytest.fixture
def manager(acme: Tenant) -> Api:
    return key_of(acme, *EVERYTHING)[1]


def test_a_key_is_given_shown_once_and_taken(manager: Api, acme: Tenant, painter: AIModel) -> None:
    body = {
        "name": "shop",
        "scopes": ["generate"],
        "models": ["painter"],
        "expiresAt": "2030-01-01T00:00:00Z",
        "budget": {"period": "month", "limit": 100},
    }
    status, made = manager.post(KEYS, body)
    assert (status, manager.last["Cache-Control"]) == (201, "no-store")
    text = made.pop("key")
    assert re.fullmatch(r"wk_live_[0-9A-Za-z]{36}", text)
    assert (made["name"], made["scopes"], made["models"]) == ("shop", ["generate"], ["painter"])
    assert (made["budget"], made["expiresAt"]) == ({"period": "month", "limit": 100}, "2030-01-01T00:00:00.000000Z")
    status, listed = manager.get(KEYS)
    assert (listed["object"], listed["data"][0], text in json.dumps(listed)) == ("list", made, False)
    shop = Api(f"Bearer {text}")
    assert shop.get("/v1/balance")[1]["budgets"][0]["limit"] == 100
    assert manager("DELETE", f"{KEYS}/{made['id']}") == (200, {"id": made["id"], "object": "api_key.deleted", "deleted": True})
    assert shop.get("/v1/balance")[0] == 401
    assert [key["id"] for key in manager.get(KEYS)[1]["data"]] == [str(ApiKey.objects.exclude(id=made["id"]).get().id)]
    assert code_of(manager("DELETE", f"{KEYS}/{made['id']}")) == (404, "not_found")


def test_what_scopes_open_and_close(acme: Tenant, painter: AIModel) -> None:
    image = {"model": "painter", "prompt": "x"}
    read, generate, manage = (key_of(acme, scope)[1] for scope in EVERYTHING)
    for path in ("/v1/models", "/v1/balance", "/v1/usage", "/v1/entries", "/v1/prices", "/v1/generations", "/v1/videos"):
        assert [api.get(path)[0] for api in (read, generate)] == [200, 200], path
        assert code_of(manage.get(path)) == (403, "scope_missing"), path
    assert [api.post("/v1/estimate", image)[0] for api in (read, generate)] == [200, 200]
    for path, body in (
        ("/v1/images/generations", image),
        ("/v1/images/edits", image),
        ("/v1/videos", image),
        ("/v1/videos/generations", image),
        ("/v1/redeem", {"code": "x"}),
        ("/v1/webhook/test", None),
    ):
        assert code_of(read.post(path, body)) == (403, "scope_missing"), path
    assert code_of(read("DELETE", "/v1/generations/x")) == (403, "scope_missing")
    assert code_of(read("PUT", "/v1/webhook", {"url": "https://example.com"})) == (403, "scope_missing")
    assert generate.post("/v1/images/generations", image)[0] == 200
    for api in (read, generate):
        assert code_of(api.get(KEYS)) == code_of(api.post(KEYS, {"name": "x"})) == (403, "scope_missing")
    assert api.last["Content-Type"].startswith("application/json")
    assert manage.get(KEYS)[0] == 200


def test_a_key_has_read_and_generate_by_default(acme: Tenant, capsys: Any) -> None:
    assert key_of(acme)[0].scopes == ["read", "generate"]
    call_command("create_api_key", "Acme", "--scope", "manage", "--scope", "read", "--json")
    told = json.loads(capsys.readouterr().out)
    assert told["scopes"] == ["read", "manage"]
    assert Api(f"Bearer {told['apiKey']}").get(KEYS)[0] == 200


def test_nobody_gives_more_than_they_have(acme: Tenant, painter: AIModel, filmer: AIModel) -> None:
    _key, narrow = key_of(acme, "read", "manage", allowed_models=["painter"])
    assert code_of(narrow.post(KEYS, {"name": "x", "scopes": ["generate"]})) == (403, "scope_missing")
    assert code_of(narrow.post(KEYS, {"name": "x"})) == (403, "scope_missing")
    assert code_of(narrow.post(KEYS, {"name": "x", "scopes": ["read"], "models": ["filmer"]})) == (403, "scope_missing")
    assert narrow.post(KEYS, {"name": "x", "scopes": ["read"]})[1]["models"] == ["painter"]
    bounded_key, bounded = key_of(acme, *EVERYTHING)
    Budget.objects.create(tenant=acme, api_key=bounded_key, period="day", limit_credits=50)
    for budget in (None, {"period": "month", "limit": 50}, {"period": "day", "limit": 51}):
        assert code_of(bounded.post(KEYS, {"name": "x", "budget": budget})) == (403, "scope_missing")
    assert bounded.post(KEYS, {"name": "x", "budget": {"period": "day", "limit": 50}})[0] == 201
    _test_key, test = key_of(acme, *EVERYTHING, mode="test")
    assert code_of(test.post(KEYS, {"name": "x", "mode": "live"})) == (403, "scope_missing")
    assert test.post(KEYS, {"name": "x"})[1]["key"].startswith("wk_test_")
    assert {key["mode"] for key in test.get(KEYS)[1]["data"]} == {"test"}


def test_a_key_does_not_revoke_itself_nor_anothers(manager: Api, acme: Tenant, birch: Tenant) -> None:
    own = manager.get(KEYS)[1]["data"][0]["id"]
    assert code_of(manager("DELETE", f"{KEYS}/{own}")) == (409, "invalid_state")
    others = key_of(birch)[0]
    for key_id in (str(others.id), "nonsense", "01890000-0000-7000-8000-000000000000"):
        assert code_of(manager("DELETE", f"{KEYS}/{key_id}")) == (404, "not_found")
    test_key = key_of(acme, *EVERYTHING, mode="test")[1]
    assert code_of(test_key("DELETE", f"{KEYS}/{own}")) == (404, "not_found")
    assert ApiKey.objects.filter(revoked_at__isnull=False).count() == 0


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": None},
        {"name": "x" * 101},
        {"scopes": []},
        {"scopes": ["admin"]},
        {"scopes": "read"},
        {"models": ["nobody"]},
        {"expiresAt": "2020-01-01T00:00:00Z"},
        {"expiresAt": "2030-01-01T00:00:00"},
        {"budget": {"period": "year", "limit": 5}},
        {"budget": {"period": "day", "limit": -1}},
        {"budget": {"period": "day"}},
        {"budget": {"period": "day", "limit": 2**53}},
        {"mode": "sandbox"},
    ],
)
def test_a_bad_key_makes_nothing(manager: Api, change: dict[str, Any]) -> None:
    assert code_of(manager.post(KEYS, {"name": "x"} | change)) == (400, "invalid_request")
    assert (ApiKey.objects.count(), Budget.objects.count()) == (1, 0)


def test_a_key_of_some_models_makes_those_alone(acme: Tenant, painter: AIModel, filmer: AIModel, internal: Internal) -> None:
    _key, text = create_api_key(tenant=acme, allowed_models=["painter"], actor="test")
    api = Api(f"Bearer {text}")
    assert api.post("/v1/images/generations", {"model": "painter", "prompt": "x"})[0] == 200
    for body in ({"model": "filmer", "prompt": "x"}, {"model": str(filmer.id), "prompt": "x"}):
        assert code_of(api.post("/v1/videos", body)) == (403, "model_not_enabled")
    assert code_of(api.get("/v1/models/filmer")) == (404, "model_not_found")
    told = internal.get("/internal/tenants/by-apikey", headers={"X-Api-Key": text})[1]
    assert told["enabledModels"] == ["painter"]
    Tenant.objects.filter(id=acme.id).update(enabled_models=["filmer"])
    assert internal.get("/internal/tenants/by-apikey", headers={"X-Api-Key": text})[1]["enabledModels"] == []


def test_a_gateway_is_told_that_a_reading_key_makes_nothing(acme: Tenant, internal: Internal) -> None:
    _key, text = create_api_key(tenant=acme, scopes=["read"], actor="test")
    assert internal.get("/internal/tenants/by-apikey", headers={"X-Api-Key": text})[1]["enabledModels"] == []


def test_a_used_up_budget_of_a_key_stops_it(manager: Api, painter: AIModel) -> None:
    made = manager.post(KEYS, {"name": "x", "budget": {"period": "day", "limit": 20}})[1]
    api = Api(f"Bearer {made['key']}")
    image = {"model": "painter", "prompt": "x"}
    assert [api.post("/v1/images/generations", image)[0] for _time in range(2)] == [200, 429]
    assert manager.post("/v1/images/generations", image)[0] == 200


def test_pages_of_keys(acme: Tenant, manager: Api) -> None:
    for number in range(3):
        api_of_tenant(acme, "live" if number else "test")
    first = manager.get(f"{KEYS}?limit=3")[1]
    rest = manager.get(f"{KEYS}?limit=3&after={first['last_id']}")[1]
    assert (len(first["data"]), first["has_more"], len(rest["data"]), rest["has_more"]) == (3, True, 1, False)
    assert code_of(manager.get(f"{KEYS}?after=x")) == (400, "invalid_request")
