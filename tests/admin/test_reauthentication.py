"""What cannot be undone asks for the password (and the second factor) again, which then holds for five minutes."""

import pytest
from django.contrib.auth.models import Group
from django.urls import reverse
from django_otp import devices_for_user

from aiservices.credentials.models import GeminiKey
from aiservices.generations.models import Generation
from billing.catalog.models import AIModel, BillingRule, LevelConfig
from billing.ledger.models import Charge, LedgerEntry
from storage.models import OssConfig
from tenants.models import ApiKey, AuditEntry, User
from tests.admin.conftest import BUCKET_SECRET
from tests.callers import confirm_password

KEY = "6f9619ff-8b86-d011-b42d-00cf4fc964ff"
MONEY = {
    "credits": "5",
    "kind": "GIFT",
    "reason": "x",
    "confirmed": "1",
    "idempotency_key": "6f9619ff-8b86-d011-b42d-00cf4fc964ff",
}


@pytest.fixture
def acts(history) -> dict[str, tuple[str, dict]]:
    """Every act that asks for the password, with what is sent to do it."""
    account = history.accounts.get(mode="live")
    charge, generation, key = Charge.objects.first(), Generation.objects.first(), ApiKey.objects.first()
    Generation.objects.filter(pk=generation.pk).update(state="unknown")
    config = OssConfig.objects.get()
    grace = {"grace": "0", "reason": "x", "once": "x"}
    return {
        "grant": (reverse("admin:billing_grant", args=[account.pk]), MONEY),
        "adjust": (reverse("admin:billing_adjust", args=[account.pk]), MONEY),
        "refund": (reverse("admin:billing_refund", args=[charge.pk]), MONEY | {"credits": "1"}),
        "settle": (reverse("admin:aiservices_generation_settle", args=[generation.pk, "failed"]), {"reason": "x"}),
        "settle many": (reverse("admin:aiservices_generation_settle_many"), {"reason": "x", "how": "failed"}),
        "make a key": (reverse("admin:tenants_apikey_add") + f"?tenant={history.pk}", {"tenant": history.pk, "mode": "live"}),
        "replace a key": (reverse("admin:tenants_apikey_rotate", args=[key.pk]), grace),
        "reveal": (reverse("admin:reveal", args=["storage", "ossconfig", config.pk, "access_key_secret"]), {"reason": "x"}),
    }


def counts() -> tuple:
    models = (LedgerEntry, Charge, ApiKey, AuditEntry)
    return (*(model.objects.count() for model in models), Generation.objects.filter(state="unknown").count())


def test_without_it_nothing_is_done(admin_client, acts):
    confirm_password(admin_client, seconds_ago=301)
    before = counts()
    for name, (address, sent) in acts.items():
        for answer in (admin_client.get(address), admin_client.post(address, sent)):
            assert answer.status_code == 302, name
            assert answer["Location"].startswith(reverse("admin:confirm_password")), name
    assert counts() == before
    assert BUCKET_SECRET not in admin_client.get(acts["reveal"][0], follow=True).text


def test_with_it_the_pages_open(admin_client, acts):
    confirm_password(admin_client, seconds_ago=290)
    for name, (address, _sent) in acts.items():
        answer = admin_client.get(address)
        # nothing was chosen in the list for the second page: it leads back there
        assert answer.status_code == 200 or name == "settle many", name


def test_who_lacks_the_permission_is_told_that_and_not_asked(client, acts):
    client.force_login(User.objects.create_user("clerk", password="x", is_staff=True))
    for name, (address, sent) in acts.items():
        assert client.get(address).status_code == 403, name
        assert client.post(address, sent).status_code == 403, name


def test_a_secret_is_revealed_for_a_reason_and_noted(admin_client, client, acts):
    address, sent = acts["reveal"]
    assert BUCKET_SECRET not in admin_client.get(address).text
    assert BUCKET_SECRET not in admin_client.post(address, {"reason": " "}).text
    shown = admin_client.post(address, sent | {"reason": "moving the bucket"})
    assert BUCKET_SECRET in shown.text
    assert "no-store" in shown["Cache-Control"]
    note = AuditEntry.objects.get(action="secret.reveal")
    assert (note.actor, note.reason, note.after) == ("admin:root", "moving the bucket", {"field": "access_key_secret"})
    key = GeminiKey.objects.first()
    for app, model, row_id, field, status in (
        ("aiservices", "geminikey", key.pk, "secret", 200),
        ("aiservices", "geminikey", key.pk, "name", 404),
        ("aiservices", "geminikey", key.pk, "nonsense", 404),
        ("aiservices", "geminikey", "nonsense", "secret", 404),
        ("aiservices", "generationinput", "1", "webhook_secret", 404),  # no page of the admin
        ("nonsense", "nonsense", "1", "secret", 404),
    ):
        assert admin_client.get(reverse("admin:reveal", args=[app, model, row_id, field])).status_code == status, (model, field)
    auditor = User.objects.create_user("auditor", password="x", is_staff=True)
    auditor.groups.add(Group.objects.get(name="auditor"))
    client.force_login(auditor)
    confirm_password(client)
    assert client.post(address, sent).status_code == 403


def test_saving_prices_asks_for_it_and_keeps_what_was_typed(admin_client, history):
    rule = BillingRule.objects.create(name="painter", model=AIModel.objects.get(), billing_type="PER_IMAGE", base_credits=5)
    form = {"name": "painter", "is_active": "on", "model": str(rule.model_id), "billing_type": "PER_IMAGE", "base_credits": "7"}
    rows = {"prices-TOTAL_FORMS": "0", "prices-INITIAL_FORMS": "0"}
    address = reverse("admin:billing_billingrule_change", args=[rule.pk])
    confirm_password(admin_client, seconds_ago=301)
    refused = admin_client.post(address, form | rows)
    assert refused.status_code == 200
    assert reverse("admin:confirm_password") in refused.text
    assert 'value="7"' in refused.text
    deleted = admin_client.post(reverse("admin:billing_billingrule_delete", args=[rule.pk]), {"post": "yes"})
    assert deleted["Location"].startswith(reverse("admin:confirm_password"))
    admin_client.post(
        reverse("admin:billing_billingrule_changelist"),
        {"action": "delete_selected", "_selected_action": [rule.pk], "post": "yes"},
    )
    rule.refresh_from_db()
    assert rule.base_credits == 5
    confirm_password(admin_client)
    assert admin_client.post(address, form | rows).status_code == 302
    rule.refresh_from_db()
    assert rule.base_credits == 7
    level, _made = LevelConfig.objects.get_or_create(level="VIP", defaults={"max_concurrency": 3})
    confirm_password(admin_client, seconds_ago=301)
    admin_client.post(
        reverse("admin:billing_levelconfig_change", args=[level.pk]),
        {"max_concurrency": "9", "permissions-TOTAL_FORMS": "0", "permissions-INITIAL_FORMS": "0"},
    )
    assert LevelConfig.objects.get(pk=level.pk).max_concurrency == level.max_concurrency


def test_publishing_a_draft_asks_for_it(admin_client):
    AIModel.objects.create(model_id="painter", name="Painter", provider="sandbox", type="IMAGE_GENERATION")
    address = reverse("admin:aiservices_rehearsal")
    text = "models:\n- {modelId: painter, name: Renamed, provider: sandbox, type: IMAGE_GENERATION}\n"
    rehearsed = admin_client.post(address, {"days": "1", "text": text})
    sent = {"days": "1", "text": text, "publish": "1", "rehearsed": rehearsed.context["mark"]}
    confirm_password(admin_client, seconds_ago=301)
    assert reverse("admin:confirm_password") in admin_client.post(address, sent).text
    assert AIModel.objects.get().name == "Painter"
    confirm_password(admin_client)
    assert admin_client.post(address, sent).status_code == 302
    assert AIModel.objects.get().name == "Renamed"


def test_the_second_factor_is_asked_for_where_there_is_one(admin_client, root, history):
    from tenants.models import AuthenticatorDevice
    from tests.admin.second_factor import code_of

    device = AuthenticatorDevice.objects.create(user=root)
    assert list(devices_for_user(root)) == [device]
    page = reverse("admin:confirm_password")
    admin_client.post(reverse("admin:second_factor"), {"code": code_of(device)})
    confirm_password(admin_client, seconds_ago=301)
    AuthenticatorDevice.objects.update(last_t=-1)
    assert admin_client.post(page, {"password": "root-password"}).status_code == 200
    assert admin_client.post(page, {"password": "root-password", "code": "000000"}).status_code == 200
    assert AuditEntry.objects.get(action="login.failed").reason == "second factor"
    AuthenticatorDevice.objects.update(throttling_failure_count=0)
    assert admin_client.post(page, {"password": "wrong", "code": code_of(device)}).status_code == 200
    assert admin_client.post(page, {"password": "root-password", "code": code_of(device)}).status_code == 302
    account = history.accounts.get(mode="live")
    assert admin_client.get(reverse("admin:billing_grant", args=[account.pk])).status_code == 200
