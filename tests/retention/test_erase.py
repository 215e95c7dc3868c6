"""`erase_tenant` and `erase_user`: nothing but numbers is left, everywhere, and the ledger reconciles."""

from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core.management import CommandError
from django.db import DatabaseError, IntegrityError, connection, models, transaction

from aiservices.generations.models import Generation, GenerationInput
from aiservices.retention.plan import ALL, TABLES
from billing.approvals.models import ApprovalRequest
from billing.approvals.services import ask
from billing.budgets.models import Budget
from billing.catalog.models import AIModel, CatalogVersion
from billing.catalog.usage import UsageRequest
from billing.ledger.models import Account, Charge, Hold, LedgerEntry, Refund
from billing.monitoring.models import Alert, AlertThreshold
from billing.reconciliation.checks import reconcile
from billing.services import charge, grant, hold, refund, release
from storage import media
from storage.models import OssConfig, Reservation, StorageUsage, StoredObject
from tenants import audit
from tenants.models import AuditEntry, AuthenticatorDevice, ErasureWindow, Tenant, TenantMember, User
from tenants.principal import Principal
from tenants.services import add_member, create_api_key
from tenants.webhooks.models import OutboxAttempt, OutboxMessage, Webhook
from tests.callers import manage_json

PLANTED = "Zqx7"  # stands in every text that belongs to the erased one


def leftovers(*texts: str) -> list[str]:
    """Every row of the database that still says one of them."""
    lines = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            lines += [f"{table}: {row!r}" for row in cursor.fetchall()]
    return [line for line in lines if any(text in line for text in texts)]


def plant(owner: Tenant | User, model: AIModel, root: User) -> Path:
    """Rows of every table that can be this owner's, PLANTED in each of their texts. Returns where its file lies."""
    kind = "tenant" if isinstance(owner, Tenant) else "user"
    own: dict[str, Any] = {kind: owner}
    target, use = Principal(kind, str(owner.pk)), UsageRequest(model="flash", metadata={"for": PLANTED})
    grant(target=target, credits=500, kind="GIFT", reason=f"for {PLANTED}", actor="admin:root", idempotency_key=f"{PLANTED}-1")
    account = Account.objects.get(**own, mode="live")
    made = Charge.objects.get(id=charge(target=target, use=use, actor="gateway", idempotency_key=f"{PLANTED}-c").charge.id)
    refund(charge_id=str(made.id), credits=3, reason=f"{PLANTED} asked", actor="admin:root", idempotency_key=f"{PLANTED}-r")
    held = hold(target=target, use=use, actor="gateway", idempotency_key=f"{PLANTED}-h").hold
    release(hold_id=str(held.id), reason=PLANTED, actor="gateway")
    generation = Generation.objects.create(
        **own, type="image", model=model, state="succeeded", prompt=f"{PLANTED} on a horse", parameters={"n": PLANTED},
        outputs=[{"url": f"http://x/{PLANTED}"}], error_message=PLANTED, error_details={"a": PLANTED}, upstream_id=PLANTED,
        request_id=PLANTED, idempotency_key=PLANTED, charge=made,
    )  # fmt: skip
    GenerationInput.objects.create(generation=generation, reference_images=[PLANTED], webhook_url=PLANTED, webhook_secret=PLANTED)
    stored = media.store(b"\x89PNG" + PLANTED.encode(), owner=target, content_type="image/png", seed="1")
    StoredObject.objects.create(**own, object_key=f"../{PLANTED}", size_bytes=0)
    audit.record(actor="admin:root", action="generation.settle", target=generation, reason=PLANTED, after={"why": PLANTED})
    audit.record(actor="admin:root", action="x.change", target=owner, reason=PLANTED, before={"n": 5, "name": PLANTED})
    audit.record(
        actor="admin:root", action="y.change", target_type="z", target_id="9", target_name=f"of {owner}", after=[f"{owner}"]
    )
    LogEntry.objects.create(
        user=root, content_type=ContentType.objects.get_for_model(owner), object_id=str(owner.pk), object_repr=f"{owner}",
        action_flag=CHANGE, change_message=PLANTED,
    )  # fmt: skip
    OutboxMessage.objects.create(kind="alert.balance.low", payload={"account": account.reference, "name": str(owner)})
    Alert.objects.create(key=f"balance:{account.id}", kind="balance.low", details={"name": str(owner)})
    AlertThreshold.objects.create(account=account, low_balance=5)
    ask(
        kind=ApprovalRequest.Kind.GRANT, credits=9, params={"kind": "GIFT"}, reason=f"for {PLANTED}", asker=root,
        idempotency_key=f"plant {kind}", account_id=account.id,
    )  # fmt: skip
    return media.path_of(stored.object_key)


def plant_tenant(tenant: Tenant, root: User) -> None:
    key, _text = create_api_key(tenant=tenant, name=PLANTED, actor="admin:root")
    key.webhook_url, key.webhook_secret = f"https://{PLANTED}", PLANTED
    key.save()
    OssConfig.objects.create(
        tenant=tenant, bucket=PLANTED, access_key_id=PLANTED, access_key_secret=PLANTED, custom_domain=PLANTED
    )
    Webhook.objects.create(tenant=tenant, url=f"https://{PLANTED}", secret=PLANTED)
    Budget.objects.create(tenant=tenant, period="day", limit_credits=5)
    Reservation.objects.create(id=key.id, tenant=tenant, size_bytes=1, expires_at=key.created_at)
    for to in ({"tenant": tenant}, {"api_key": key}):
        message = OutboxMessage.objects.create(kind="x", payload={"p": PLANTED}, url=PLANTED, secret=PLANTED, **to)
        OutboxAttempt.objects.create(message=message, host=PLANTED, problem=PLANTED)
    add_member(tenant=tenant, user=root, actor="admin:root")


def numbers(account_ids: list[int]) -> list[Any]:
    """What must not change."""
    entries = LedgerEntry.objects.filter(account_id__in=account_ids).order_by("account_id", "seq")
    accounts = Account.objects.filter(id__in=account_ids).order_by("id")
    return [
        list(entries.values_list("id", "account_id", "seq", "kind", "amount", "balance", "charge_id", "created_at")),
        list(accounts.values_list("id", "balance", "held", "last_seq", "last_entry_at")),
        list(Charge.objects.filter(account_id__in=account_ids).order_by("id").values_list("id", "credits", "refunded", "use")),
        list(Refund.objects.filter(account_id__in=account_ids).order_by("id").values_list("id", "credits", "entry_id")),
        list(Hold.objects.filter(account_id__in=account_ids).order_by("id").values_list("id", "credits", "state")),
    ]


def test_a_tenant_is_gone_from_everything_but_the_numbers(acme: Tenant, flash: AIModel, root: User) -> None:
    Tenant.objects.filter(id=acme.id).update(name=f"Acme {PLANTED}", note=PLANTED)
    acme.refresh_from_db()
    birch = Tenant.objects.create(name="Birch", enabled_models=["*"])
    grant(target=Principal("tenant", str(birch.id)), credits=9, kind="GIFT", reason="a gift", actor="admin:root")
    file = plant(acme, flash, root)
    plant_tenant(acme, root)
    assert file.is_file()
    ids = list(Account.objects.values_list("id", flat=True))
    before = numbers(ids)
    reason = f"Request 17 of Acme {PLANTED}"

    dry = manage_json("erase_tenant", f"Acme {PLANTED}", "--reason", reason, "--dry-run")
    assert dry["dryRun"] is True and dry["files"] == 2 and dry["generations"] == 1 and dry["apiKeys"] == 1
    assert file.is_file() and Tenant.objects.get(id=acme.id).is_active and numbers(ids) == before

    done = manage_json("erase_tenant", f"Acme {PLANTED}", "--reason", reason)
    assert (done["id"], done["name"]) == (str(acme.id), f"erased-{acme.id.hex[-12:]}")
    assert leftovers(PLANTED) == []
    assert not file.exists() and not (settings.MEDIA_ROOT / "tenants" / str(acme.id)).exists()
    assert numbers(ids) == before
    report = reconcile()
    assert report.ok, report.problems
    acme.refresh_from_db()
    assert (acme.name, acme.is_active, acme.enabled_models, acme.note) == (done["name"], False, [], "")
    assert StorageUsage.objects.get(tenant=acme).used_bytes == 0
    assert LedgerEntry.objects.get(account__tenant=birch, kind="GIFT", account__mode="live").description == "a gift"
    # The audit log still says what was done and when.
    told = AuditEntry.objects.get(action="x.change")
    assert (told.actor, told.target_id, told.target_name, told.reason) == ("admin:root", str(acme.id), str(acme.id), str(acme.id))
    assert told.before == {"n": 5, "name": str(acme.id)}
    told = AuditEntry.objects.get(action="tenant.erase")
    assert (told.actor, told.target_id, told.reason) == ("command", str(acme.id), f"Request 17 of {acme.id}")
    assert told.after["files"] == 2

    assert ApprovalRequest.objects.get().state == "expired"  # nobody approves it without its reason

    again = manage_json("erase_tenant", str(acme.id), "--reason", "once more")
    assert again["files"] == 0 and again["ledgerTexts"] == 0 and again["auditEntries"] == 0
    assert numbers(ids) == before and reconcile().ok


def test_a_user_is_gone_also_as_whoever_acted(acme: Tenant, flash: AIModel, root: User) -> None:
    user = User.objects.create_user(
        f"al{PLANTED}",
        email=f"{PLANTED}@example.com",
        first_name=f"A{PLANTED}",
        last_name=f"B{PLANTED}",
        password="x",
        is_staff=True,
    )
    actor = f"admin:{user.username}"
    file = plant(user, flash, root)
    user.groups.add(Group.objects.first())
    AuthenticatorDevice.objects.create(user=user, name=PLANTED)
    TenantMember.objects.create(tenant=acme, user=user)
    session = SessionStore()
    session["_auth_user_id"] = str(user.pk)
    session.create()
    other = SessionStore()
    other["_auth_user_id"] = str(root.pk)
    other.create()
    grant(target=Principal("tenant", str(acme.id)), credits=9, kind="GIFT", reason="a gift", actor=actor)
    audit.record(actor=actor, action="z.change", target=acme, reason="a price", after={"credits": 5, "by": user.email})
    CatalogVersion.objects.create(number=9, author=actor, note=f"by {user.username}", document={})
    AIModel.objects.filter(id=flash.id).update(disabled_by=actor)
    ids = list(Account.objects.values_list("id", flat=True))
    before = numbers(ids)

    done = manage_json("erase_user", user.username, "--reason", "GDPR 17")
    assert leftovers(PLANTED) == []
    assert not file.exists() and numbers(ids) == before
    assert reconcile().ok
    user.refresh_from_db()
    assert (user.username, user.email, user.is_active, user.is_staff) == (done["name"], "", False, False)
    assert not user.has_usable_password() and not user.groups.exists()
    assert [row.session_key for row in Session.objects.all()] == [other.session_key]
    told = AuditEntry.objects.get(action="z.change")
    assert (told.actor, told.reason, told.after) == (f"admin:{user.id}", "a price", {"credits": 5, "by": str(user.id)})
    assert LedgerEntry.objects.get(description="a gift").actor == f"admin:{user.id}"
    assert CatalogVersion.objects.get(number=9).author == f"admin:{user.id}"


def test_no_table_and_no_text_column_is_forgotten() -> None:
    """Every table with a row of a tenant or user, and every text in those that stay, stands in the plan."""
    planned = {table.model._meta.label: table for table in TABLES}
    owned = {"tenants.Tenant", "tenants.User"}
    found = set(owned)
    while True:
        more = {
            model._meta.label
            for model in apps.get_models(include_auto_created=True)
            for field in model._meta.get_fields()
            if isinstance(field, models.ForeignKey) and field.related_model._meta.label in found  # type: ignore[union-attr]
        } - found
        if not more:
            break
        found |= more
    not_ours = {"contenttypes.ContentType"}
    assert sorted(found - planned.keys() - not_ours) == []
    for label, table in planned.items():
        if table.is_deleted or table.kept == ALL or table.is_written_once:
            continue
        texts = {
            field.name
            for field in table.model._meta.concrete_fields
            if isinstance(field, models.CharField | models.TextField | models.JSONField)
        }
        assert sorted(texts - set(table.values) - table.kept) == [], label


def test_what_has_not_ended_is_waited_for(acme: Tenant, flash: AIModel) -> None:
    for state in ("queued", "running", "unknown"):
        generation = Generation.objects.create(tenant=acme, type="video", model=flash, state=state, prompt="x")
        with pytest.raises(CommandError, match="1 generations have not ended"):
            manage_json("erase_tenant", "Acme", "--reason", "leaves")
        assert not Tenant.objects.get(id=acme.id).is_active  # nothing new comes meanwhile
        Generation.objects.filter(id=generation.id).update(state="failed")
    manage_json("erase_tenant", "Acme", "--reason", "leaves")


def test_refused_and_nothing_changed(acme: Tenant, root: User) -> None:
    Tenant.objects.create(name="Twin")
    Tenant.objects.create(name="Twin")
    for arguments, why in (
        (("erase_tenant", "Nobody", "--reason", "r"), "There is no tenant Nobody"),
        (("erase_tenant", "Twin", "--reason", "r"), "Several tenants are named Twin"),
        (("erase_tenant", "Acme", "--reason", " "), "Say why"),
        (("erase_user", "root", "--reason", "r"), "only administrator"),
        (("erase_user", str(acme.id), "--reason", "r"), "There is no user"),
    ):
        with pytest.raises(CommandError, match=why):
            manage_json(*arguments)
    assert Tenant.objects.get(id=acme.id).is_active and User.objects.get(id=root.id).is_active


def test_a_ledger_that_was_tampered_with_is_not_made_to_look_right(cloned_db: Any, acme: Tenant) -> None:
    account = Account.objects.get(tenant=acme, mode="live")
    with transaction.atomic():
        window = ErasureWindow.objects.create(purpose="erase")
        models.QuerySet(LedgerEntry).filter(account=account, seq=1).update(description="another")
        window.delete()
    with pytest.raises(CommandError, match="does not match its hash"):
        manage_json("erase_tenant", "Acme", "--reason", "leaves")
    assert not reconcile().ok


@pytest.mark.parametrize("table", ["tenants_auditentry", "billing_ledgerentry", "billing_refund", "billing_catalogversion"])
def test_the_triggers_hold(cloned_db: Any, acme: Tenant, flash: AIModel, root: User, table: str) -> None:
    """Without a window nothing changes; with one texts alone; and a window cannot be left open."""
    plant(acme, flash, root)
    CatalogVersion.objects.create(number=9, author="x", note="y", document={})
    text, number = {
        "tenants_auditentry": ("reason", "action"),
        "billing_ledgerentry": ("description", "amount"),
        "billing_refund": ("reason", "credits"),
        "billing_catalogversion": ("note", "number"),
    }[table]
    change = {"action": "'x'", "amount": "amount + 1", "credits": "credits + 1", "number": "number + 1"}[number]
    statements = {
        text: f"UPDATE {table} SET {text} = 'z'",
        number: f"UPDATE {table} SET {number} = {change}",
        "": f"DELETE FROM {table}",
    }
    for statement in statements.values():
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
    for name in (number, ""):
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            ErasureWindow.objects.create(purpose="erase")
            cursor.execute(statements[name])
    with pytest.raises(IntegrityError), transaction.atomic():
        ErasureWindow.objects.create(purpose="erase")
    with pytest.raises(IntegrityError), transaction.atomic():
        window = ErasureWindow.objects.create(purpose="erase")
        ErasureWindow.objects.filter(id=window.id).update(never=window)
    assert not ErasureWindow.objects.exists()
