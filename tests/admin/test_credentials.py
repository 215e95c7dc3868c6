"""Upstream credentials and switches in the admin: the same verbs as everywhere, secrets typed and never shown."""

import pytest
from django.urls import reverse

from aiservices.credentials.models import GeminiKey, SoraToken
from billing.catalog.models import AIModel
from storage.models import OssConfig
from tenants.models import AuditEntry
from tests.admin.conftest import BUCKET_SECRET, GEMINI_SECRET, SORA_SECRET

NEW = "AIzaBrandNewSecret99887766554433"
LIMITS = {"priority": "0", "weight": "1", "max_in_flight": "-1", "daily_limit": "-1", "disabled_reason": ""}
SORA = LIMITS | {"email": "a@example.com", "image_concurrency": "-1", "video_concurrency": "-1", "is_active": "on"}


def change_page(row):
    return reverse(f"admin:aiservices_{row._meta.model_name}_change", args=[row.pk])


def test_a_key_is_added(admin_client):
    address = reverse("admin:aiservices_geminikey_add")
    answer = admin_client.post(address, LIMITS | {"name": "first", "secret": NEW, "is_active": "on"})
    assert answer.status_code == 302, answer.text
    key = GeminiKey.objects.get()
    assert (key.secret, key.masked, key.name, key.is_active) == (NEW, "…4433", "first", True)
    noted = AuditEntry.objects.get(action="credential.add")
    assert (noted.actor, noted.address) == ("admin:root", "127.0.0.1")
    assert NEW not in str(noted.after)
    again = admin_client.post(address, LIMITS | {"name": "second", "secret": NEW, "is_active": "on"})
    assert "there already" in again.text
    assert NEW not in again.text


@pytest.mark.parametrize("bad", ["", "a b c d e f", "秘密秘密秘密"])
def test_what_can_be_no_secret_is_refused(admin_client, bad):
    answer = admin_client.post(reverse("admin:aiservices_geminikey_add"), LIMITS | {"name": "x", "secret": bad})
    assert answer.status_code == 200
    assert not GeminiKey.objects.exists()


def test_a_blank_secret_keeps_the_old_one(admin_client, history):
    key = GeminiKey.objects.get(secret__isnull=False, name="0")
    assert admin_client.post(change_page(key), LIMITS | {"name": "renamed", "secret": "", "is_active": "on"}).status_code == 302
    key.refresh_from_db()
    assert (key.secret, key.name) == (GEMINI_SECRET, "renamed")
    assert admin_client.post(change_page(key), LIMITS | {"name": "renamed", "secret": NEW, "is_active": "on"}).status_code == 302
    key.refresh_from_db()
    assert (key.secret, key.masked) == (NEW, "…4433")


def test_a_tokens_changes_are_to_be_pushed(admin_client, history):
    token = SoraToken.objects.get(name="0")
    form = SORA | {"name": "0", "video_enabled": "on", "remark": "slow"}
    form.pop("is_active")
    answer = admin_client.post(change_page(token), form | {"disabled_reason": "too slow"})
    assert answer.status_code == 302, answer.text
    token.refresh_from_db()
    assert (token.secret, token.is_active, token.image_enabled) == (SORA_SECRET, False, False)
    assert (token.remark, token.disabled_reason) == ("slow", "too slow")
    assert token.to_push
    assert AuditEntry.objects.get(action="credential.edit").reason == "too slow"


def test_a_model_is_switched_by_its_verb(admin_client, history):
    model = AIModel.objects.get()
    address = reverse("admin:billing_aimodel_change", args=[model.pk])
    form = {"name": "Painter 2", "model_id": "painter", "provider": "sandbox", "type": "IMAGE_GENERATION", "options": "{}"}
    form |= {"gateway_endpoint": "", "disabled_reason": "maintenance", "disabled_until_0": "", "disabled_until_1": ""}
    assert admin_client.post(address, form).status_code == 302
    model.refresh_from_db()
    assert (model.name, model.is_active, model.disabled_reason) == ("Painter 2", False, "maintenance")
    assert model.disabled_by == "admin:root"
    assert AuditEntry.objects.get(action="model.disable").reason == "maintenance"
    assert admin_client.post(address, form | {"is_active": "on"}).status_code == 302
    model.refresh_from_db()
    assert (model.is_active, model.disabled_reason, model.disabled_by) == (True, "", "")


def test_a_buckets_secret_is_kept_and_replaced(admin_client, history):
    config = OssConfig.objects.get()
    address = reverse("admin:storage_ossconfig_change", args=[config.pk])
    form = {"mode": "custom", "driver": "oss", "region": "oss-cn-beijing", "bucket": "acme", "access_key_id": "LTAI"}
    assert BUCKET_SECRET not in admin_client.get(address).text
    assert admin_client.post(address, form | {"access_key_secret": ""}).status_code == 302
    config.refresh_from_db()
    assert config.access_key_secret == BUCKET_SECRET
    assert admin_client.post(address, form | {"access_key_secret": "another-secret"}).status_code == 302
    config.refresh_from_db()
    assert config.access_key_secret == "another-secret"
    noted = AuditEntry.objects.filter(action="ossconfig.change").order_by("-id").first()
    assert "another-secret" not in f"{noted.before}{noted.after}"
