"""Models for generating with, a Sora token service next door, and callers of `/api/ai` and `/v1` inside the test's process."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from billing.catalog.models import AIModel, BillingPrice, BillingRule
from tenants.models import Tenant, User
from tenants.services import create_api_key
from tests.upstreams.sora_service import PASSWORD, USERNAME, SoraService
from waule.core.auth import jwt_tokens
from waule.core.auth.user_auth import stamp_of

PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def image_model(model_id: str = "painter", *, provider: str = "sandbox", base: int = 15, **more: Any) -> AIModel:
    """A model of images at `base` credits each, unless `prices` say more about resolutions."""
    prices = more.pop("prices", {})
    options = more.pop("options", {})
    model = AIModel.objects.create(
        model_id=model_id, name=model_id.title(), provider=provider, type="IMAGE_GENERATION", options=options, **more
    )
    rule = BillingRule.objects.create(name=model_id, model=model, billing_type="PER_IMAGE", base_credits=base)
    for resolution, credits in prices.items():
        BillingPrice.objects.create(rule=rule, dimension="resolution", value=resolution, credits=credits)
    return model


def video_model(model_id: str = "filmer", *, provider: str = "sandbox", base: int = 10, **more: Any) -> AIModel:
    """A model of videos at `base` credits a second."""
    options = more.pop("options", {})
    model = AIModel.objects.create(
        model_id=model_id, name=model_id.title(), provider=provider, type="VIDEO_GENERATION", options=options, **more
    )
    BillingRule.objects.create(name=model_id, model=model, billing_type="PER_DURATION", base_credits=base)
    return model


class Api:
    """A caller with a header that says who it is: `api.post(path, body, key=…)` is (status, answer)."""

    def __init__(self, authorization: str) -> None:
        self.client = Client(raise_request_exception=False)
        self.authorization = authorization

    def __call__(self, method: str, path: str, body: Any = None, *, key: str | None = None, **headers: str) -> tuple[int, Any]:
        sent = {"Authorization": self.authorization} | headers
        if key is not None:
            sent["Idempotency-Key"] = key
        content = {} if body is None else {"data": json.dumps(body), "content_type": "application/json"}
        self.last = self.client.generic(method, path, headers=sent, **content)
        is_json = self.last.get("Content-Type", "").startswith("application/json")
        return self.last.status_code, self.last.json() if is_json else None

    def get(self, path: str, **kwargs: Any) -> tuple[int, Any]:
        return self("GET", path, **kwargs)

    def post(self, path: str, body: Any = None, **kwargs: Any) -> tuple[int, Any]:
        return self("POST", path, body, **kwargs)


def api_of_user(user: User) -> Api:
    return Api(f"Bearer {jwt_tokens.issue(str(user.pk), 'access', stamp=stamp_of(user))}")


def api_of_tenant(tenant: Tenant, mode: str = "live") -> Api:
    return Api(f"Bearer {create_api_key(tenant=tenant, mode=mode, actor='test')[1]}")


@pytest.fixture(autouse=True)
def media_root(settings: Any, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path / "media"
    return tmp_path / "media"


@pytest.fixture
def painter(any_database: None) -> AIModel:
    """Images at 15 credits, 30 in 2K."""
    return image_model(prices={"2K": 30})


@pytest.fixture
def filmer(any_database: None) -> AIModel:
    """Videos at 10 credits a second."""
    return video_model()


@pytest.fixture
def as_alice(alice: User) -> Api:
    """Alice, by a token."""
    return api_of_user(alice)


@pytest.fixture
def as_acme(acme: Tenant) -> Api:
    """Acme, by a live key."""
    return api_of_tenant(acme)


@pytest.fixture
def sora(settings: Any) -> Iterator[SoraService]:
    """A Sora token service of the test's own; the settings know it."""
    service = SoraService()
    settings.SORA_API_URL = service.url
    settings.SORA_API_USERNAME, settings.SORA_API_PASSWORD = USERNAME, PASSWORD
    yield service
    service.stop()


def usage(credits: int) -> dict[str, Any]:
    """The usage that an answer about pictures has: no token was seen."""
    tokens = {"total_tokens": 0, "input_tokens": 0, "output_tokens": 0}
    return tokens | {"input_tokens_details": {"image_tokens": 0, "text_tokens": 0}, "credits_charged": credits}
