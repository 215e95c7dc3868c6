"""https where SECURE_SSL_REDIRECT is set: nothing but health is answered in the clear."""

from typing import Any

import pytest

from tests.live import LiveWaule
from tests.settings import INTERNAL_SECRET

pytestmark = pytest.mark.once  # the database makes no difference

SECURE = {"X-Forwarded-Proto": "https"}


@pytest.fixture
def https_waule(live_waule: LiveWaule) -> LiveWaule:
    live_waule.environ |= {"SECURE_SSL_REDIRECT": "true", "TRUST_PROXY_HEADERS": "true"}
    return live_waule


def test_plain_http_shows_nothing(https_waule: LiveWaule) -> None:
    secret = {"X-Internal-Secret": INTERNAL_SECRET}
    for path in ("/internal/models", "/internal/billing/charge", "/internal", "/internal/nothing"):
        answer = https_waule.get(path, headers=secret)
        assert (answer.status_code, answer.json()["code"]) == (403, "https_required"), path
        assert answer.headers["X-Request-Id"]
    for path in ("/v1/models", "/v1/images/generations", "/v1/nothing"):
        answer = https_waule.get(path, headers={"Authorization": "Bearer wk_live_x"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "https_required"), path
    for path in ("/", "/admin/login/?next=/admin/", "/api/me", "/media/x.png", "/api/schema", "/nothing"):
        answer = https_waule.get(path)
        assert answer.status_code == 301, path
        assert answer.headers["Location"] == https_waule.url.replace("http:", "https:") + path
    for path in ("/healthz", "/readyz", "/metrics"):
        assert https_waule.get(path).status_code == 200, path
    for path in ("/internal/models", "/v1/models", "/admin/login/", "/api/me", "/healthz"):
        answer = https_waule.get(path, headers=SECURE | secret)
        assert answer.status_code in (200, 401), path
        assert "Strict-Transport-Security" not in answer.headers


def test_a_body_in_the_clear_is_refused_too(https_waule: LiveWaule) -> None:
    answer = https_waule.post("/internal/billing/charge", {"a": 1}, headers={"X-Internal-Secret": INTERNAL_SECRET})
    assert (answer.status_code, answer.json()["code"]) == (403, "https_required")


@pytest.mark.parametrize("path", ["/healthz", "/internal/models", "/admin/login/", "/api/me"])
def test_hsts_is_as_long_as_the_setting_says_and_no_wider(client: Any, db: None, settings: Any, path: str) -> None:
    settings.HSTS_SECONDS = 3600
    assert client.get(path, secure=True)["Strict-Transport-Security"] == "max-age=3600"
    assert "Strict-Transport-Security" not in client.get(path)


def test_without_the_setting_nothing_is_redirected(client: Any, db: None) -> None:
    assert client.get("/healthz").status_code == 200
    assert client.get("/internal/models").status_code == 401
    assert "Strict-Transport-Security" not in client.get("/healthz", secure=True)
