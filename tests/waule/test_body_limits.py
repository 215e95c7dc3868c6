"""How much of a body is received, decided by its head: the large ones only where they belong and of callers who are known."""

from typing import Any

import pytest
from django.test import Client

from tenants.models import Mode
from tenants.services import create_api_key
from waule.server.body_limits import body_limit

pytestmark = pytest.mark.once  # the database makes no difference

MIB = 1 << 20


def limit(path: str, **environ: str) -> int:
    base = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
    }
    return body_limit(base | environ)


@pytest.mark.parametrize("path", ["/nothing", "/v1/nothing", "/internal/nothing", "/v1", "/admin/nothing/x"])
def test_nothing_is_received_for_an_address_that_there_is_not(db: None, path: str) -> None:
    assert limit(path) in (0, MIB)
    assert path.startswith("/admin") or limit(path) == 0


@pytest.mark.parametrize("path", ["/internal/billing/charge", "/api/auth/token", "/admin/login/", "/api/redeem", "/v1/estimate"])
def test_most_take_a_mebibyte(db: None, path: str) -> None:
    assert limit(path) in (MIB, 0)
    assert limit("/internal/billing/charge") == limit("/api/auth/token") == limit("/admin/login/") == MIB


LARGE = ["/v1/images/generations", "/v1/videos", "/v1/videos/generations"]


@pytest.mark.parametrize("path", LARGE)
def test_pictures_are_received_from_tenants_alone(acme: Any, path: str) -> None:
    _key, plaintext = create_api_key(tenant=acme, mode=Mode.LIVE, name="test", actor="test")
    assert limit(path) == MIB
    assert limit(path, HTTP_AUTHORIZATION="Bearer wk_live_nobody") == MIB
    assert limit(path, HTTP_AUTHORIZATION="Bearer " + "x" * 100_000) == MIB
    assert limit(path, HTTP_AUTHORIZATION=f"Bearer {plaintext}") == 32 * MIB


def test_pictures_are_received_from_users_by_token_and_by_session(alice: Any) -> None:
    path = "/api/ai/image/generate"
    client = Client()
    body = {"username": "alice", "password": "alice-password"}
    token = client.post("/api/auth/token", body, content_type="application/json").json()["access"]
    assert limit(path) == MIB
    assert limit(path, HTTP_AUTHORIZATION="Bearer nonsense") == MIB
    assert limit(path, HTTP_AUTHORIZATION=f"Bearer {token}") == 32 * MIB
    assert limit(path, HTTP_COOKIE="sessionid=nonsense") == MIB
    client.force_login(alice, backend="django.contrib.auth.backends.ModelBackend")
    assert limit(path, HTTP_COOKIE=f"sessionid={client.cookies['sessionid'].value}") in (MIB, 32 * MIB)
