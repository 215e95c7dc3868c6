"""Staff who are logged in, and a little history for their lists."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.cache import cache
from django.utils import timezone

from aiservices.credentials.models import GeminiKey, SoraToken
from aiservices.generations.models import Generation
from billing.approvals.models import ApprovalRequest
from billing.catalog.models import AIModel
from billing.ledger.models import Account, Charge, Hold, LedgerEntry, Refund
from billing.redemption.models import Redemption, RedemptionBatch, RedemptionCode
from storage.models import OssConfig, StoredObject
from tenants.models import ApiKey, AuditEntry, Level, Tenant, User
from tests.callers import confirm_password
from tests.catalog import priced_model
from waule.core.crypto.encryption import keyed_hash, mask

GEMINI_SECRET = "AIzaPlantedGeminiSecret0123456789"
SORA_SECRET = "eyPlantedSoraSecret.0123456789.abcdef"
BUCKET_SECRET = "PlantedBucketSecret9876543210"
SECRETS = (GEMINI_SECRET, SORA_SECRET, BUCKET_SECRET)
STAFF_PASSWORD = "correct horse battery"
GROUPS = ("operator", "finance", "auditor")
# Every permission that has to do with people, given one by one: none of them lets anyone past the rule.
RIGHTS = ("change_user", "add_user", "delete_user", "change_group", "add_group", "delete_group", "change_permission")


@pytest.fixture(autouse=True)
def fresh_figures():
    """The first page keeps its figures for half a minute; a test must not see another's."""
    cache.clear()


@pytest.fixture
def admin_client(client, root):
    """Root, who has just given the password again."""
    client.force_login(root)
    confirm_password(client)
    return client


def make_history(count: int = 3) -> Tenant:
    """A tenant with `count` rows of everything."""
    now = timezone.now()
    tenant = Tenant.objects.create(name="Acme", enabled_models=["*"])
    account, _ = Account.objects.get_or_create(tenant=tenant, mode="live")
    model = AIModel.objects.create(model_id="painter", name="Painter", provider="sandbox", type="IMAGE_GENERATION")
    OssConfig.objects.create(tenant=tenant, mode="custom", bucket="acme", access_key_secret=BUCKET_SECRET)
    for number in range(count):
        key = ApiKey.objects.create(tenant=tenant, name=f"key {number}", masked=f"wk_live_…{number}", key_hash=f"{number:064d}")
        hold = Hold.objects.create(
            account=account, model=model, credits=5, expires_at=now + timedelta(hours=1), created_at=now, state="held"
        )
        charge = Charge.objects.create(account=account, model=model, credits=7, refunded=1, hold=hold, created_at=now)
        entry = LedgerEntry.objects.create(
            account=account,
            seq=account.entries.count() + 1,
            kind="CONSUME",
            amount=-7,
            balance=100,
            charge=charge,
            spendable=100,
            created_at=now,
            hash="0" * 64,
            description="=HYPERLINK(1)",
        )
        Refund.objects.create(
            charge=charge,
            credits=1,
            total_after=1,
            is_full=False,
            reason="a test",
            entry=entry,
            account=account,
            spendable_after=1,
            created_at=now,
        )
        Generation.objects.create(
            type="image",
            tenant=tenant,
            api_key=key,
            model=model,
            prompt=f"<script>alert({number})</script> a whale",
            state="succeeded",
            charge=charge,
            credits_charged=7,
            outputs=[{"url": f"http://127.0.0.1:3000/media/{number}.png"}],
        )
        AuditEntry.objects.create(actor="admin:root", action="key.revoked", target_name=f"key {number}", reason="a test")
        StoredObject.objects.create(tenant=tenant, object_key=f"a/{number}.png", size_bytes=10)
        for cls, secret in ((GeminiKey, GEMINI_SECRET), (SoraToken, SORA_SECRET)):
            unique = f"{number}{secret}" if number else secret
            cls.objects.create(name=f"{number}", secret=unique, fingerprint=keyed_hash(unique), masked=mask(unique))
        batch = RedemptionBatch.objects.create(name=f"batch {tenant.pk} {number}", credits=7, code_count=1)
        code_hash = keyed_hash(f"{tenant.pk} {number}")
        code = RedemptionCode.objects.create(batch=batch, code_hash=code_hash, masked=f"…{number}", used=1)
        Redemption.objects.create(
            code=code, batch=batch, account=account, entry=entry, balance_after=100, actor="user:root", created_at=now
        )
        ApprovalRequest.objects.create(
            kind="grant", credits=700, account=account, params={"kind": "GIFT"}, reason="a test", state="pending",
            asked_at=now, expires_at=now + timedelta(hours=1), idempotency_key=f"{count} {number}",
        )  # fmt: skip
        User.objects.create_user(f"user{number}", f"user{number}@example.com", "x")
        Tenant.objects.create(name=f"Tenant {number}")
    Account.objects.filter(pk=account.pk).update(last_seq=account.entries.count(), balance=100)
    return tenant


@pytest.fixture
def history(db) -> Tenant:
    return make_history()


def staff(name: str, *groups: str) -> User:
    user = User.objects.create_user(name, password=STAFF_PASSWORD, is_staff=True)
    user.groups.set(Group.objects.filter(name__in=groups))
    return user


@pytest.fixture
def people(db) -> dict[str, User]:
    """One of each kind, and an operator who has been given every right about people besides."""
    everybody = {name: staff(name, name) for name in GROUPS}
    everybody["root"] = User.objects.create_superuser("root", password=STAFF_PASSWORD)
    everybody["bare"] = staff("bare")
    everybody["ruler"] = staff("ruler", "operator")
    everybody["ruler"].user_permissions.set(Permission.objects.filter(codename__in=RIGHTS))
    everybody["boss"] = User.objects.create_user("boss", password=STAFF_PASSWORD, level=Level.ADMIN)
    everybody["insider"] = User.objects.create_user("insider", password=STAFF_PASSWORD, level=Level.INTERNAL)
    everybody["sleeper"] = User.objects.create_user("sleeper", password=STAFF_PASSWORD)
    everybody["sleeper"].groups.set(Group.objects.filter(name="finance"))
    everybody["alice"] = User.objects.create_user("alice", password=STAFF_PASSWORD)
    return everybody


@pytest.fixture
def flash_at_15(any_database: None) -> AIModel:
    """A model at 15 credits a request."""
    return priced_model("flash", base=15)
