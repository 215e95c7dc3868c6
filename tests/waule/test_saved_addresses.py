"""Every address that is kept is checked when it is saved, by every way that saves it: admin, console, API, command.

Columns are found by themselves: a new one fails `test_no_column_is_forgotten` until it says how it is saved.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import models
from django.test import Client
from django.urls import reverse

from aiservices.credentials.models import SoraToken
from aiservices.generations.models import Generation, GenerationInput
from storage.models import OssConfig
from tenants.models import ApiKey, Tenant, User
from tenants.services import add_member, create_api_key
from tenants.webhooks.models import Webhook
from tests.aiservices.conftest import PIXEL
from tests.callers import Api, Internal, api_of_user, confirm_password
from tests.catalog import image_model, video_model
from waule.core.crypto.encryption import keyed_hash

pytestmark = pytest.mark.once  # the database makes no difference

GOOD = "https://93.184.216.34/hook"
EXISTING, MISSING = "https://localhost/hook", "https://no-such-name.invalid/hook"
NO_URLS = (
    *(
        "javascript:alert(1)",
        "JavaScript:alert(1)//https://93.184.216.34/",
        "data:text/html,x",
        "vbscript:x",
        "file:///etc/passwd",
    ),
    *(
        "ftp://93.184.216.34/",
        "gopher://93.184.216.34/",
        "https:93.184.216.34",
        "https://",
        "https:///x",
        "https://[::1",
        "https://a:b/",
    ),
    *(
        "https://93.184.216.34/a b",
        "https://93.184.216.34\\@127.0.0.1/",
        "https://me:secret@93.184.216.34/",
        "https://93.184.216.34:0/",
    ),
)
NOT_PUBLIC = (
    *("http://127.0.0.1/", "http://127.0.0.1:3000/media/../internal/", "http://localhost/", "http://[::1]/", "http://0.0.0.0/"),
    *(
        "http://10.0.0.1/",
        "http://192.168.1.1/",
        "http://169.254.169.254/latest/",
        "http://100.100.100.200/",
        "http://2130706433/",
    ),
    *("http://0x7f.1/", "http://127.1/", "http://[::ffff:127.0.0.1]/", "http://[64:ff9b::7f00:1]/", EXISTING, MISSING),
)
# A place in which files lie is no page with a query, and no other place by dots.
NO_PLACES = (
    "https://93.184.216.34/?key=",
    "https://93.184.216.34/#",
    "https://93.184.216.34/media/../",
    "https://93.184.216.34/%2e%2e/x",
)
BARE = (
    "127.0.0.1",
    "localhost:9000",
    "[::1]",
    "10.0.0.1",
    "javascript:alert(1)",
    "no-such-name.invalid",
    "a b",
    "a@93.184.216.34",
)
NO_PROXIES = (
    *("javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "ftp://proxy:21", "proxy:8080", "http://", "http://x:y"),
    *("http://a b", "http://proxy:0", "http://proxy:99999", "http://prоxy:8080"),  # the last one has a Cyrillic letter
)
WEBHOOKS, PLACES = (*NO_URLS, *NOT_PUBLIC), (*NO_URLS[5:], *NOT_PUBLIC, *NO_PLACES, *BARE)
# What the column holds was checked elsewhere, or nobody calls it.
COPIES = {
    "tenants.OutboxMessage.url": "a job's, checked with the job",
    "tenants.OutboxAttempt.host": "of the address that was called",
    "tenants.AuditEntry.address": "the client's address",
    "storage.StoredObject.url": "where our own driver has put it",
    "aiservices.PendingResult.url": "a provider's, checked when it is fetched",
    "aiservices.GenerationInput.reference_images": "named with each order: REFERENCE_IMAGES",
    "billing.AIModel.gateway_endpoint": "one of three words",
}
LOOKS_LIKE_ONE = re.compile(
    r"url|uri|domain|endpoint|host|proxy|address|origin|link|callback|(?<!in_flight_)images", re.IGNORECASE
)
Save = Callable[[str], bool]  # whether it was taken


class Ways:
    """How each column is saved. A way answers whether the value was taken; `said` is what it was answered."""

    def __init__(self, acme: Tenant, root: User, alice: User) -> None:
        self.acme, self.said = acme, ""
        self.admin, self.console = Client(), Client()
        self.admin.force_login(root)
        add_member(tenant=acme, user=alice, actor="test")
        self.console.force_login(alice)
        confirm_password(self.admin)
        confirm_password(self.console)
        self.key, text = create_api_key(tenant=acme, actor="test")
        self.api, self.internal = Api(f"Bearer {text}"), Internal()
        video_model()
        secret = "eyOld.0123456789.abcdef"
        self.token = SoraToken.objects.create(secret=secret, fingerprint=keyed_hash(secret), masked="…")

    def all(self) -> dict[str, dict[str, Save]]:
        return {
            "tenants.Webhook.url": {
                "admin, new": lambda url: self._post(
                    "tenants_webhook_add", {"tenant": self.acme.pk, "url": url, "is_active": "on"}
                ),
                "admin, changed": self._change_webhook,
                "console": lambda url: self._console("webhook/edit/", {"url": url, "is_active": "on"}),
            },
            "tenants.ApiKey.webhook_url": {
                "admin": lambda url: self._post("tenants_apikey_webhook", {"url": url}, self.key.pk),
                "API": lambda url: self._json(self.api("PUT", "/v1/webhook", {"url": url})),
                "command": self._command,
            },
            "aiservices.GenerationInput.webhook_url": {
                path: lambda url, path=path, more=more: self._json(
                    self.api.post(path, {"model": "filmer", "prompt": "x", "webhook_url": url, "webhook_secret": "s" * 20} | more)
                )
                for path, more in (
                    ("/v1/videos", {"seconds": "1", "size": "128x128"}),
                    ("/v1/videos/generations", {"duration": 1}),
                )
            },
            **{
                f"storage.OssConfig.{name}": {
                    "admin, new": lambda url, name=name: self._post("storage_ossconfig_add", self._bucket(name, url)),
                    "admin, changed": lambda url, name=name: self._change_bucket(name, url),
                    "console": lambda url, name=name: self._console("bucket/edit/", self._bucket(name, url)),
                }
                for name in ("endpoint", "custom_domain")
            },
            "aiservices.SoraToken.proxy_url": {
                "admin, new": lambda url: self._post("aiservices_soratoken_add", self._token("eyNew.0123456789.abcdef", url)),
                "admin, changed": lambda url: self._post("aiservices_soratoken_change", self._token("", url), self.token.pk),
                "API, new": lambda url: self._json(
                    self.internal.post("/internal/sora/tokens", {"token": "eyNewer.0123456789.abc", "proxyUrl": url})
                ),
                "API, changed": lambda url: self._json(
                    self.internal("PATCH", f"/internal/sora/tokens/{self.token.pk}", {"proxyUrl": url})
                ),
            },
        }

    def _post(self, name: str, form: dict[str, Any], *args: Any) -> bool:
        answer = self.admin.post(reverse(f"admin:{name}", args=args), form)
        return self._page(answer)

    def _console(self, path: str, form: dict[str, Any]) -> bool:
        return self._page(self.console.post(f"/console/{path}", form))

    def _page(self, answer: Any) -> bool:
        assert answer.status_code in (200, 302), answer.content[:500]
        if answer.status_code == 302:
            return True
        shown = answer.context.get("adminform") or answer.context.get("form")
        self.said = str(getattr(shown, "form", shown).errors) if shown else ""
        return not self.said  # a page that shows a secret once is no refusal

    def _json(self, answered: tuple[int, Any]) -> bool:
        status, answer = answered
        assert status in (200, 201, 400), answer
        self.said = str({**answer, "requestId": ""}) if status == 400 else ""
        return status != 400

    def _command(self, url: str) -> bool:
        try:
            call_command("set_webhook", str(self.key.pk), url)
        except CommandError as error:
            self.said = str(error)
            return False
        return True

    def _change_webhook(self, url: str) -> bool:
        row, _made = Webhook.objects.get_or_create(tenant=self.acme, defaults={"url": "https://93.184.216.34/old"})
        return self._post("tenants_webhook_change", {"tenant": self.acme.pk, "url": url, "is_active": "on"}, row.pk)

    def _bucket(self, name: str, url: str) -> dict[str, Any]:
        form = {"tenant": self.acme.pk, "mode": "custom", "driver": "s3", "region": "x", "bucket": "acme", "access_key_id": "a"}
        return form | {"access_key_secret": "secret-of-the-bucket", "endpoint": "", "custom_domain": "", name: url}

    def _change_bucket(self, name: str, url: str) -> bool:
        fields = {"mode": "custom", "driver": "s3", "region": "x", "bucket": "acme", "access_key_secret": "s"}
        row, _made = OssConfig.objects.get_or_create(tenant=self.acme, defaults=fields)
        return self._post("storage_ossconfig_change", self._bucket(name, url), row.pk)

    @staticmethod
    def _token(secret: str, url: str) -> dict[str, Any]:
        numbers = {"priority": "0", "weight": "1", "max_in_flight": "-1", "daily_limit": "-1"}
        numbers |= {"image_concurrency": "-1", "video_concurrency": "-1"}
        return numbers | {"secret": secret, "is_active": "on", "proxy_url": url, "image_enabled": "on", "video_enabled": "on"}


@pytest.fixture
def ways(acme: Tenant, root: User, alice: User) -> Ways:
    return Ways(acme, root, alice)


def columns() -> Iterator[str]:
    for model in apps.get_models():
        if model._meta.app_label in ("tenants", "billing", "storage", "aiservices"):
            for field in model._meta.concrete_fields:
                is_text = isinstance(field, models.CharField | models.TextField | models.JSONField | models.BinaryField)
                if isinstance(field, models.URLField) or (is_text and LOOKS_LIKE_ONE.search(field.name)):
                    yield f"{model._meta.label}.{field.name}"


def rows() -> list[Any]:
    """What must not change."""
    found: list[Any] = []
    for model in (Webhook, ApiKey, OssConfig, GenerationInput, Generation):
        names = [field.name for field in model._meta.concrete_fields if field.name != "last_used_at"]
        found += list(model._default_manager.order_by("pk").values(*names))
    for token in SoraToken.objects.order_by("pk"):
        found.append((token.pk, token.proxy_url.reveal() if token.proxy_url else ""))
    return found


def test_no_column_is_forgotten(ways: Ways) -> None:
    assert sorted(columns()) == sorted([*ways.all(), *COPIES])


NAMES = (
    *("tenants.Webhook.url", "tenants.ApiKey.webhook_url", "aiservices.GenerationInput.webhook_url"),
    *("storage.OssConfig.endpoint", "storage.OssConfig.custom_domain", "aiservices.SoraToken.proxy_url"),
)


@pytest.mark.parametrize("column", NAMES)
def test_what_may_not_be_called_is_refused_and_nothing_is_saved(ways: Ways, column: str) -> None:
    bad = NO_PROXIES if "proxy" in column else PLACES if "OssConfig" in column else WEBHOOKS
    for way, save in ways.all()[column].items():
        if "changed" in way:
            assert save("http://proxy:8080" if "proxy" in column else GOOD), ways.said
        before = rows()
        for value in bad:
            assert not save(value), (way, value)
            assert "secret@" not in ways.said, (way, value)  # an address may carry a password
            assert rows() == before, (way, value)


@pytest.mark.parametrize("column", NAMES)
def test_what_may_be_called_is_saved(ways: Ways, column: str) -> None:
    good = "socks5://me:planted@proxy:1080" if "proxy" in column else GOOD
    for way, save in ways.all()[column].items():
        Webhook.objects.all().delete()
        OssConfig.objects.all().delete()
        if way != "/v1/videos/generations":  # it waits for the video
            assert save(good), (way, ways.said)


@pytest.mark.parametrize("column", NAMES[:-1])
def test_the_answer_does_not_tell_which_names_there_are(ways: Ways, column: str) -> None:
    for way, save in ways.all()[column].items():
        told = []
        for value in (EXISTING, MISSING):
            assert not save(value)
            told.append(ways.said)
        assert told[0] == told[1], way


# Paths and fields by which a caller names images that are fetched for it. With an `[]` in the name a field takes several.
REFERENCE_IMAGES = (
    ("/v1/images/generations", "reference_images[]"),
    ("/v1/images/edits", "image[]"),
    ("/v1/images/edits", "images[]"),
    ("/v1/images/edits", "mask"),
    ("/v1/videos", "input_reference"),
    ("/v1/videos", "reference_images[]"),
    ("/v1/videos/generations", "reference_images[]"),
    ("/api/ai/image/generate", "referenceImages[]"),
    ("/api/ai/video/generate", "referenceImages[]"),
)


@pytest.mark.parametrize(("path", "field"), REFERENCE_IMAGES)
def test_a_reference_image_does_not_tell_which_names_there_are(ways: Ways, alice: User, path: str, field: str) -> None:
    is_video, is_ours = "video" in path, path.startswith("/api")
    if not is_video:
        image_model()
    api = api_of_user(alice) if is_ours else ways.api
    body: dict[str, Any] = {"modelId" if is_ours else "model": "filmer" if is_video else "painter", "prompt": "x"}
    if field == "mask":
        body["image"] = PIXEL
    if is_video:
        body |= {"seconds": "1", "size": "128x128"} if path == "/v1/videos" else {"duration": 1}
    told = []
    for url in (EXISTING, MISSING, "http://127.0.0.1/hook"):
        status, answer = api.post(path, body | {field.removesuffix("[]"): [url] if "[]" in field else url})
        assert (status, "not public" in str(answer)) == (400, True), answer
        told.append(str({**answer, "requestId": ""}))
    assert len(set(told)) == 1
    assert not Generation.objects.exists()
