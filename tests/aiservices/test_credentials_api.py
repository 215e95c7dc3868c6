"""The credential resources, under `/internal` and for staff."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from pytest_httpserver import HTTPServer

from aiservices.credentials.models import CredentialLease, GeminiKey, SoraToken
from billing.catalog.models import AIModel
from tenants.models import AuditEntry, User
from tests.aiservices.credential_rows import access_token, key, token
from tests.upstreams.sora_service import SoraService
from waule.core.ids import uuid7

pytestmark = pytest.mark.django_db
SECRET = "AIzaSyA-planted-secret-0123456789-AB12"


@pytest.fixture
def gemini(settings: Any, httpserver: HTTPServer) -> Iterator[HTTPServer]:
    settings.GEMINI_API_URL = httpserver.url_for("/v1beta")
    yield httpserver
    assert httpserver.log == [] or all("planted" not in request.url for request, _response in httpserver.log)


# --- Gemini keys ---------------------------------------------------------------------------------------------------


def test_a_key_is_added_and_shown_masked(internal: Any) -> None:
    status, made = internal.post("/internal/gemini/keys", {"apiKey": SECRET, "name": "first"})
    assert status == 201
    assert made["secret"] == "…AB12" and made["name"] == "first" and made["state"] == "ready" and made["isActive"] is True
    status, listed = internal.get("/internal/gemini/keys")
    assert (status, len(listed["keys"]), listed["nextCursor"]) == (200, 1, None)
    status, one = internal.get(f"/internal/gemini/keys/{made['id']}")
    assert (status, one["id"]) == (200, made["id"])
    assert SECRET not in json.dumps([made, listed, one]) + str(list(AuditEntry.objects.values()))
    status, again = internal.post("/internal/gemini/keys", {"api_key": SECRET})
    assert (status, again["code"], again["details"]) == (409, "duplicate", {"id": made["id"]})


@pytest.mark.parametrize(
    "body",
    [{}, {"apiKey": ""}, {"apiKey": 7}, {"apiKey": "a b c d"}, {"apiKey": "x" * 9000}, {"apiKey": SECRET, "weight": 0}, []],
)
def test_keys_that_can_be_none(internal: Any, body: Any) -> None:
    status, answer = internal.post("/internal/gemini/keys", body)
    assert (status, answer["code"]) == (400, "invalid_request")
    assert not GeminiKey.objects.exists()


def test_forty_pasted_with_three_duplicates(internal: Any) -> None:
    pasted: list[Any] = [f"AIza-pasted-{n}-{uuid7().hex}" for n in range(37)]
    pasted[5] = {"apiKey": pasted[5], "name": "named"}
    internal.post("/internal/gemini/keys", {"apiKey": pasted[0]})
    status, answer = internal.post("/internal/gemini/keys/batch", {"keys": [*pasted, pasted[1], pasted[2], "has spaces in it"]})
    assert status == 200
    assert (answer["added"], answer["skipped"], answer["failed"]) == (36, 3, 1)
    assert [line["line"] for line in answer["results"] if line["status"] == "skipped"] == [1, 38, 39]
    assert answer["results"][39]["error"]
    assert GeminiKey.objects.get(name="named").masked == answer["results"][5]["secret"]
    assert pasted[7] not in json.dumps(answer)


def test_switching_editing_and_deleting_a_key(internal: Any) -> None:
    one = key("one")
    path = f"/internal/gemini/keys/{one.pk}"
    status, off = internal.post(f"{path}/disable", {"reason": "leaked"})
    assert (status, off["isActive"], off["disabledReason"]) == (200, False, "leaked")
    assert internal.post("/internal/credentials/lease", {"provider": "gemini"})[0] == 429
    status, on = internal.post(f"{path}/enable")
    assert (status, on["isActive"], on["disabledReason"]) == (200, True, None)
    status, edited = internal("PATCH", path, {"name": "two", "maxInFlight": 3, "apiKey": "AIza-another-secret-XY98"})
    assert (status, edited["name"], edited["maxInFlight"], edited["secret"]) == (200, "two", 3, "…XY98")
    assert internal("DELETE", path)[0] == 200
    assert internal.get(path)[0] == 404
    assert internal("DELETE", path)[0] == 404
    actions = list(AuditEntry.objects.order_by("id").values_list("action", "actor", "reason"))
    assert actions == [
        ("credential.disable", "gateway", "leaked"),
        ("credential.enable", "gateway", ""),
        ("credential.edit", "gateway", ""),
        ("credential.delete", "gateway", ""),
    ]
    assert "another-secret" not in str(list(AuditEntry.objects.values()))


def test_a_secret_that_another_key_has_is_a_duplicate(internal: Any) -> None:
    one, two = key("one"), key("two")
    status, answer = internal("PATCH", f"/internal/gemini/keys/{one.pk}", {"apiKey": two.secret.reveal()})
    assert (status, answer["code"]) == (409, "duplicate")


def test_testing_keys(internal: Any, gemini: HTTPServer) -> None:
    one = key("one")
    gemini.expect_ordered_request("/v1beta/models", headers={"x-goog-api-key": one.secret.reveal()}).respond_with_json(
        {"models": []}
    )
    path = f"/internal/gemini/keys/{one.pk}/test"
    status, good = internal.post(path)
    assert (status, good["success"], good["status"], good["state"]) == (200, True, "success", "ready")
    rejection = {"error": {"code": 400, "message": "API key not valid.", "details": [{"reason": "API_KEY_INVALID"}]}}
    gemini.expect_ordered_request("/v1beta/models").respond_with_json(rejection, status=400)
    status, bad = internal.post(path)
    assert (status, bad["success"], bad["status"], bad["state"]) == (200, False, "failed", "invalid")
    gemini.expect_ordered_request("/v1beta/models").respond_with_data("oops", status=503)
    status, unknown = internal.post(path)
    assert (status, unknown["success"], unknown["outcome"], unknown["state"]) == (200, False, "overloaded", "invalid")
    assert unknown["status"] == "untested"
    gemini.expect_ordered_request("/v1beta/models").respond_with_json({"models": []})
    assert internal.post(path)[1]["state"] == "ready"


# --- Sora tokens ---------------------------------------------------------------------------------------------------


def test_a_token_from_adding_to_deleting(internal: Any, sora: SoraService) -> None:
    secret = access_token("anna@example.com")
    body = {"token": secret, "st": "st-planted", "rt": "rt-planted", "remark": "r", "videoConcurrency": 2}
    status, made = internal.post("/internal/sora/tokens", body | {"proxyUrl": "http://me:planted@proxy:8080"})
    assert status == 201
    assert made["secret"] == f"…{secret[-4:]}" and made["inStep"] is True and made["email"] == "anna@example.com"
    assert made["proxyUrl"] == "http://…@proxy:8080"
    path = f"/internal/sora/tokens/{made['id']}"
    assert internal.post(f"{path}/test")[1]["status"] == "success"
    assert internal("PATCH", path, {"imageEnabled": False})[1]["imageEnabled"] is False
    assert internal.post(f"{path}/disable", {"reason": "resting"})[1]["disabledReason"] == "resting"
    assert [item["is_active"] for item in sora.tokens.values()] == [False]
    assert internal.post(f"{path}/enable")[1]["isActive"] is True
    status, synced = internal.post("/internal/sora/tokens/sync")
    assert (status, synced["success"], synced["adopted"]) == (200, True, 0)
    status, listed = internal.get("/internal/sora/tokens")
    assert listed["tokens"][0]["remaining"] == 30
    assert internal("DELETE", path)[0] == 200
    assert sora.tokens == {}
    everything = json.dumps([made, listed, synced]) + str(list(AuditEntry.objects.values()))
    assert "planted" not in everything and secret not in everything


def test_while_the_service_is_down_everything_is_kept(internal: Any, sora: SoraService) -> None:
    known = internal.post("/internal/sora/tokens", {"token": access_token("known@example.com")})[1]["id"]
    sora.stop()
    status, made = internal.post("/internal/sora/tokens", {"token": access_token("new@example.com")})
    assert (status, made["inStep"], made["toPush"]) == (201, False, ["add"])
    status, off = internal.post(f"/internal/sora/tokens/{known}/disable", {"reason": "x"})
    assert (status, off["inStep"], off["isActive"]) == (200, False, False)
    assert internal("DELETE", f"/internal/sora/tokens/{known}")[0] == 200
    assert len(internal.get("/internal/sora/tokens")[1]["tokens"]) == 1
    status, failed = internal.post("/internal/sora/tokens/sync")
    assert (status, failed["code"]) == (502, "upstream_error")
    assert internal.post(f"/internal/sora/tokens/{made['id']}/test")[0] == 200  # it is not there yet: said, not failed
    sora.start()
    status, synced = internal.post("/internal/sora/tokens/sync")
    assert (status, synced["pushed"], synced["adopted"]) == (200, 2, 0)
    assert [item["email"] for item in sora.tokens.values()] == ["user2@example.com"]


def test_importing_tokens(internal: Any, sora: SoraService) -> None:
    there = access_token("anna@example.com")
    internal.post("/internal/sora/tokens", {"token": there})
    tokens = [{"token": there, "remark": "again"}, {"token": access_token("ben@example.com")}, {"token": ""}, "text", {}]
    status, answer = internal.post("/internal/sora/tokens/import", {"tokens": tokens})
    assert status == 200
    assert (answer["added"], answer["updated"], answer["failed"]) == (1, 1, 3)
    assert [line["status"] for line in answer["results"]] == ["updated", "added", "failed", "failed", "failed"]
    assert sorted(item["remark"] for item in sora.tokens.values()) == ["", "again"]
    assert internal.post("/internal/sora/tokens/import", {"tokens": []})[0] == 400


@pytest.mark.parametrize(
    "body",
    [
        {"token": 5},
        {"token": "good-token-1", "imageEnabled": 1},
        {"token": "good-token-1", "imageConcurrency": -2},
        {"token": "good-token-1", "imageConcurrency": 1.0},
        *({"token": "good-token-1", "proxyUrl": url} for url in ("ftp://x", "proxy:8080", "http://", "http://x:y", "http://a b")),
    ],
)
def test_tokens_that_can_be_none(internal: Any, sora: SoraService, body: Any) -> None:
    assert internal.post("/internal/sora/tokens", body)[0] == 400
    assert not SoraToken.objects.exists() and sora.calls == []


def test_a_proxy_that_can_be_none_is_refused_in_changes_and_imports_too(internal: Any, sora: SoraService) -> None:
    one = token("one", proxy_url="http://proxy:8080")
    status, told = internal("PATCH", f"/internal/sora/tokens/{one.pk}", {"proxyUrl": "ftp://x"})
    assert (status, list(told["details"]["fields"])) == (400, ["proxyUrl"])
    item = {"token": access_token("anna@example.com"), "proxyUrl": "ftp://x"}
    assert internal.post("/internal/sora/tokens/import", {"tokens": [item]})[1]["failed"] == 1
    one.refresh_from_db()
    assert one.proxy_url.reveal() == "http://proxy:8080" and SoraToken.objects.count() == 1 and sora.calls == []
    changed = internal("PATCH", f"/internal/sora/tokens/{one.pk}", {"proxyUrl": " socks5://proxy:1080 "})[1]
    assert changed["proxyUrl"] == "socks5://proxy:1080"


def test_lists_come_in_pages(internal: Any) -> None:
    made = [str(token(f"t{n}").pk) for n in range(5)]
    _status, first = internal.get("/internal/sora/tokens?limit=3")
    _status, second = internal.get(f"/internal/sora/tokens?limit=3&cursor={first['nextCursor']}")
    assert [item["id"] for item in first["tokens"] + second["tokens"]] == sorted(made)
    assert second["nextCursor"] is None
    assert internal.get("/internal/sora/tokens?cursor=x")[0] == 400


# --- leases --------------------------------------------------------------------------------------------------------


def test_lease_and_report(internal: Any) -> None:
    one = key("one")
    status, lent = internal.post("/internal/credentials/lease", {"provider": "gemini", "model": "flash", "ttl": 60})
    assert status == 200
    assert (lent["credentialId"], lent["secret"]) == (str(one.pk), one.secret.reveal())
    assert internal.last["Cache-Control"] == "no-store"
    path = f"/internal/credentials/leases/{lent['leaseId']}/report"
    assert (
        internal.post(path, {"outcome": "rate_limited", "retryAfter": 33, "message": f"key {one.secret.reveal()} is busy"})[0]
        == 200
    )
    assert one.secret.reveal() not in CredentialLease.objects.get().message
    status, none = internal.post("/internal/credentials/lease", {"provider": "gemini"})
    assert (status, none["code"]) == (429, "credentials_exhausted")
    assert internal.last["Retry-After"] in ("32", "33")
    assert internal.post(path, {"outcome": "rate_limited"})[0] == 200
    assert internal.post(path, {"outcome": "ok"})[1]["code"] == "invalid_state"
    assert internal.post(f"/internal/credentials/leases/{uuid7()}/report", {"outcome": "ok"})[0] == 404
    assert internal.post("/internal/credentials/leases/x/report", {"outcome": "ok"})[0] == 404


@pytest.mark.parametrize(
    "body", [{}, {"provider": "openai"}, {"provider": "gemini", "ttl": 29}, {"provider": "gemini", "ttl": 3601}, {"provider": 1}]
)
def test_leases_that_cannot_be_asked_for(internal: Any, body: Any) -> None:
    key("one")
    assert internal.post("/internal/credentials/lease", body)[0] == 400
    assert not CredentialLease.objects.exists()


@pytest.mark.parametrize(
    "body", [{}, {"outcome": "fine"}, {"outcome": "ok", "retryAfter": "5"}, {"outcome": "ok", "retryAfter": -1}]
)
def test_reports_that_make_no_sense(internal: Any, body: Any) -> None:
    key("one")
    lent = internal.post("/internal/credentials/lease", {"provider": "gemini"})[1]
    assert internal.post(f"/internal/credentials/leases/{lent['leaseId']}/report", body)[0] == 400


# --- who may -------------------------------------------------------------------------------------------------------


PATHS = ["sora/tokens", "gemini/keys", "models", "health"]


@pytest.mark.parametrize("path", [*PATHS, "credentials/lease"])
def test_without_the_secret_nobody_gets_in(path: str) -> None:
    answer = Client().get(f"/internal/{path}")
    assert (answer.status_code, answer.json()["error"]) == (401, "Unauthorized")


def staff(*permissions: str) -> Client:
    user = User.objects.create_user("otto", password="otto-password", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(codename__in=permissions, content_type__app_label__in=["aiservices", "billing"])
    )
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def send(client: Client, method: str, path: str, body: Any = None) -> Any:
    content = {} if body is None else {"data": json.dumps(body), "content_type": "application/json"}
    return client.generic(method, f"/api/admin/ai-services/{path}", **content)


@pytest.mark.parametrize("path", PATHS)
def test_staff_needs_djangos_permission(path: str) -> None:
    assert Client().get(f"/api/admin/ai-services/{path}").status_code == 401
    client = staff()
    assert send(client, "GET", path).status_code == 403
    user = User.objects.get(username="otto")
    user.user_permissions.set(
        Permission.objects.filter(content_type__app_label__in=["aiservices", "billing"], codename__startswith="view_")
    )
    assert send(client, "GET", path).status_code == 200
    User.objects.update(is_staff=False)
    assert send(client, "GET", path).status_code == 403


def test_each_method_takes_its_own_permission(sora: SoraService) -> None:
    one = key("one")
    client = staff("view_geminikey", "change_geminikey")
    assert send(client, "POST", "gemini/keys", {"apiKey": SECRET}).status_code == 403
    assert send(client, "POST", "gemini/keys/batch", {"keys": [SECRET]}).status_code == 403
    assert send(client, "DELETE", f"gemini/keys/{one.pk}").status_code == 403
    assert send(client, "POST", f"gemini/keys/{one.pk}/disable", {"reason": "x"}).status_code == 200
    assert send(client, "PATCH", f"gemini/keys/{one.pk}", {"name": "n"}).status_code == 200
    assert send(client, "POST", "sora/tokens/sync").status_code == 403
    noted = AuditEntry.objects.exclude(action="login").order_by("id").values_list("action", "actor")
    assert list(noted) == [("credential.disable", "admin:otto"), ("credential.edit", "admin:otto")]


def test_a_session_needs_the_csrf_token(root: Any) -> None:
    one = key("one")
    client = Client(enforce_csrf_checks=True)
    client.force_login(root, backend="django.contrib.auth.backends.ModelBackend")
    assert send(client, "DELETE", f"gemini/keys/{one.pk}").status_code == 403
    assert GeminiKey.objects.count() == 1


# --- models --------------------------------------------------------------------------------------------------------


def test_switching_a_model(internal: Any) -> None:
    model = AIModel.objects.create(provider="gemini", model_id="flash", name="Flash", type="IMAGE_GENERATION")
    status, off = internal("PATCH", f"/internal/models/{model.pk}", {"isActive": False, "reason": "too slow"})
    assert (status, off["isActive"], off["disabledReason"]) == (200, False, "too slow")
    assert internal.get("/internal/models")[1]["models"] == [
        {"id": str(model.pk), "modelId": "flash", "name": "Flash", "provider": "gemini", "type": "IMAGE_GENERATION"}
        | {"isActive": False, "disabledReason": "too slow", "version": off["version"]}
    ]
    assert internal("PATCH", f"/internal/models/{model.pk}", {"isActive": True})[1]["isActive"] is True
    assert "disabledReason" not in internal.get("/internal/models")[1]["models"][0]
    assert internal("PATCH", f"/internal/models/{uuid7()}", {"isActive": True})[0] == 404
    assert internal("PATCH", f"/internal/models/{model.pk}", {"isActive": "yes"})[0] == 400
