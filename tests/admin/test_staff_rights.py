"""Nobody raises themselves, nobody takes over an equal; and whatever is done about people is in the audit log."""

import logging

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.urls import reverse

from billing.ledger.models import Kind
from billing.services import grant
from storage.models import StorageUsage
from tenants.models import AuditEntry, Tenant, User
from tenants.principal import Principal
from tests.admin.conftest import STAFF_PASSWORD


def form_of(user: User, **changes: str) -> dict[str, str]:
    form = {"username": user.username, "email": user.email, "level": user.level, "is_active": "on"}
    return form | {"membership_expires_at_0": "", "membership_expires_at_1": "", "first_name": "", "last_name": ""} | changes


def snapshot() -> list[tuple]:
    fields = ("id", "username", "password", "level", "email", "is_active", "is_staff", "is_superuser")
    rows = [tuple(row) for row in User.objects.order_by("id").values_list(*fields)]
    rows += User.groups.through.objects.order_by("id").values_list("user_id", "group_id")
    rows += Group.permissions.through.objects.order_by("id").values_list("group_id", "permission_id")
    return rows


CHANGES = ({"email": "mine@example.com"}, {"level": "ADMIN"}, {"is_superuser": "on", "is_staff": "on"}, {"is_active": ""})


@pytest.mark.parametrize("actor", ["operator", "finance", "auditor", "ruler"])
def test_only_a_superuser_changes_who_has_rights(client, people, actor):
    client.force_login(people[actor])
    before = snapshot()
    for name, target in people.items():
        if name == "alice":
            continue
        page = reverse("admin:tenants_user_change", args=[target.pk])
        groups = [str(pk) for pk in Group.objects.values_list("pk", flat=True)]
        for changes in (*CHANGES, {"groups": groups}):
            assert client.post(page, form_of(target, **changes)).status_code == 403, (actor, name)
        password = reverse("admin:auth_user_password_change", args=[target.pk])
        form = {"password1": "a new long password", "password2": "a new long password", "usable_password": "true"}
        assert client.get(password).status_code == 403, (actor, name)
        assert client.post(password, form).status_code == 403, (actor, name)
    assert snapshot() == before


@pytest.mark.parametrize("actor", ["operator", "ruler"])
def test_nobody_gives_more_than_they_have(client, people, actor):
    client.force_login(people[actor])
    page = reverse("admin:tenants_user_change", args=[people["alice"].pk])
    groups = [str(pk) for pk in Group.objects.values_list("pk", flat=True)]
    before = snapshot()
    for changes in ({"level": "ADMIN"}, {"level": "INTERNAL"}):
        assert client.post(page, form_of(people["alice"], **changes)).status_code == 200  # the form says no
    assert snapshot() == before
    for changes in ({"is_superuser": "on"}, {"is_staff": "on"}, {"groups": groups}, {"user_permissions": ["1"]}):
        client.post(page, form_of(people["alice"], **changes))
    assert snapshot() == before
    made = {"username": "mine", "usable_password": "true", "password1": "a new long password", "password2": "a new long password"}
    assert client.post(reverse("admin:tenants_user_add"), made | {"level": "ADMIN"}).status_code == 200
    assert client.post(reverse("admin:tenants_user_add"), made | {"level": "VIP", "is_superuser": "on"}).status_code == 302
    mine = User.objects.get(username="mine")
    assert (mine.level, mine.is_superuser, mine.is_staff, mine.groups.count()) == ("VIP", False, False, 0)
    # what an operator is there for still works
    assert client.post(page, form_of(people["alice"], level="SVIP", email="alice@example.com")).status_code == 302
    alice = User.objects.get(username="alice")
    assert (alice.level, alice.email) == ("SVIP", "alice@example.com")
    note = AuditEntry.objects.get(action="user.change")
    assert (note.actor, note.before["level"], note.after["level"]) == (f"admin:{actor}", "USER", "SVIP")


def test_groups_are_changed_by_superusers(client, people):
    finance = Group.objects.get(name="finance")
    page = reverse("admin:auth_group_change", args=[finance.pk])
    form = {"name": "finance", "permissions": [str(Permission.objects.first().pk)]}
    before = snapshot()
    for actor in ("operator", "finance", "auditor", "ruler"):
        client.force_login(people[actor])
        for address, sent in ((page, form), (reverse("admin:auth_group_add"), form | {"name": "new"})):
            assert client.post(address, sent).status_code == 403, actor
        assert client.post(reverse("admin:auth_group_delete", args=[finance.pk]), {"post": "yes"}).status_code == 403
        client.post(
            reverse("admin:auth_group_changelist"),
            {"action": "delete_selected", "_selected_action": [finance.pk], "post": "yes"},
        )
    assert snapshot() == before
    client.force_login(people["root"])
    assert client.post(page, form).status_code == 302
    assert AuditEntry.objects.get(action="group.change").target_name == "finance"


def test_a_superuser_may_and_all_of_it_is_noted(client, people):
    client.force_login(people["root"])
    page = reverse("admin:tenants_user_change", args=[people["operator"].pk])
    assert client.post(page, form_of(people["operator"], level="ADMIN", is_staff="on")).status_code == 302
    assert User.objects.get(username="operator").level == "ADMIN"
    password = reverse("admin:auth_user_password_change", args=[people["finance"].pk])
    form = {"password1": "a new long password", "password2": "a new long password", "usable_password": "true"}
    assert client.post(password, form).status_code == 302
    assert User.objects.get(username="finance").check_password("a new long password")
    assert AuditEntry.objects.get(action="user.password").target_name == "finance"


def test_ones_own_password_takes_the_old_one_and_is_noted(client, people):
    client.force_login(people["operator"])
    page = reverse("admin:password_change")
    form = {"new_password1": "a new long password", "new_password2": "a new long password"}
    assert client.post(page, form | {"old_password": "wrong"}).status_code == 200
    assert User.objects.get(username="operator").check_password(STAFF_PASSWORD)
    assert client.post(page, form | {"old_password": STAFF_PASSWORD}).status_code == 302
    note = AuditEntry.objects.get(action="user.password")
    assert (note.actor, note.target_name) == ("admin:operator", "operator")


# --- the audit log -------------------------------------------------------------------------------------------------


def test_logins_and_failed_ones_are_noted_with_the_address(client, people, caplog):
    login = reverse("admin:login")
    with caplog.at_level(logging.WARNING):
        client.post(login, {"username": "operator", "password": "wrong"}, REMOTE_ADDR="198.51.100.7")
    failed = AuditEntry.objects.get(action="login.failed")
    assert (failed.target_name, failed.address, failed.reason) == ("operator", "198.51.100.7", "password")
    line = next(record.getMessage() for record in caplog.records if "login_failed" in record.getMessage())
    assert "198.51.100.7" in line
    assert "operator" in line
    assert "wrong" not in failed.target_name + str(failed.after)
    client.post(login, {"username": "operator", "password": STAFF_PASSWORD}, REMOTE_ADDR="198.51.100.7")
    entered = AuditEntry.objects.get(action="login")
    assert (entered.actor, entered.address, entered.after) == ("user:operator", "198.51.100.7", {"way": "session"})


def test_logins_for_tokens_are_noted(client, people):
    body = {"username": "alice", "password": "wrong"}
    assert client.post("/api/auth/token", body, "application/json").status_code == 401
    assert AuditEntry.objects.get(action="login.failed").target_name == "alice"
    assert client.post("/api/auth/token", body | {"password": STAFF_PASSWORD}, "application/json").status_code == 200
    assert AuditEntry.objects.get(action="login").after == {"way": "token"}


def test_superusers_and_passwords_made_by_command_are_noted(db, monkeypatch):
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", STAFF_PASSWORD)
    call_command("createsuperuser", "--noinput", username="chief", email="chief@example.com")
    note = AuditEntry.objects.get(action="user.create")
    assert (note.actor, note.target_name, note.after["is_superuser"]) == ("command", "chief", True)
    monkeypatch.setattr("getpass.getpass", lambda *args, **kwargs: "another long password")
    call_command("changepassword", "chief")
    assert AuditEntry.objects.get(action="user.password").actor == "command"


def test_a_quota_changed_on_the_tenants_page_is_noted(client, people):
    tenant = Tenant.objects.create(name="Acme")
    StorageUsage.objects.create(tenant=tenant, quota_bytes=10)
    client.force_login(people["root"])
    form = {"name": "Acme", "is_active": "on", "time_zone": "Asia/Shanghai", "note": ""}
    rows = {"storage-TOTAL_FORMS": "1", "storage-INITIAL_FORMS": "1", "storage-0-tenant": str(tenant.pk)}
    rows |= {"members-TOTAL_FORMS": "0", "members-INITIAL_FORMS": "0", "storage-0-quota_bytes": "99 B"}
    answer = client.post(reverse("admin:tenants_tenant_change", args=[tenant.pk]), form | rows)
    assert answer.status_code == 302, answer.context and answer.context["errors"]
    note = AuditEntry.objects.get(action="storageusage.change")
    assert (note.actor, note.before, note.after) == ("admin:root", {"quota_bytes": 10}, {"quota_bytes": 99})


def test_grants_are_noted_whoever_makes_them(people, internal):
    tenant = Tenant.objects.create(name="Acme")
    target = Principal(kind="tenant", id=str(tenant.pk))
    grant(target=target, credits=5, kind=Kind.GIFT, reason="welcome", actor="test", idempotency_key="one")
    grant(target=target, credits=5, kind=Kind.GIFT, reason="welcome", actor="test", idempotency_key="one")  # a replay
    body = {"targetType": "tenant", "targetId": str(tenant.pk), "credits": 7, "type": "GIFT", "reason": "by API"}
    assert internal.post("/internal/billing/grant", body, key="two")[0] == 200
    call_command("grant_credits", "tenant", str(tenant.pk), "9", "--reason", "by command")
    notes = AuditEntry.objects.filter(action="credits.grant").order_by("id")
    assert [(note.after["credits"], note.reason) for note in notes] == [(5, "welcome"), (7, "by API"), (9, "by command")]
