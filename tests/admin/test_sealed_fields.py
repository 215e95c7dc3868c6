"""A sealed field is never rendered: every address of the admin, for every set of permissions, looked through for every secret.

Models, pages and encrypted fields are found by themselves: a new one is covered, or fails here until it can be planted.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.db import models
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.urls.exceptions import NoReverseMatch
from django.utils import timezone

from aiservices.generations.models import Generation, GenerationInput
from billing.catalog.models import AIModel
from storage.models import OssConfig
from tenants.models import ApiKey, AuthenticatorDevice, Tenant, User
from tenants.webhooks.models import OutboxMessage, Webhook
from tests.callers import confirm_password
from waule.core.crypto.encryption import EncryptedTextField, keyed_hash
from waule.core.crypto.rotation import encrypted_columns

pytestmark = pytest.mark.once  # the database makes no difference


def secret_of(model: type[models.Model], name: str) -> str:
    return f"planted-{model._meta.model_name}-{name}-{keyed_hash(model._meta.label + name)[:16]}"


def plant(tenant: Tenant, root: User) -> None:
    """One row of every model with encrypted fields, each with a secret of its own."""
    AIModel.objects.create(model_id="painter", name="Painter", provider="sandbox", type="IMAGE_GENERATION")
    key = ApiKey.objects.create(tenant=tenant, name="k", masked="wk_live_…1", key_hash="0" * 64, webhook_url="https://a.example/")
    generation = Generation.objects.create(type="video", tenant=tenant, model=AIModel.objects.get(), prompt="x", state="queued")
    columns: dict[type[models.Model], dict[str, Any]] = {
        ApiKey: {"pk": key.pk},
        Webhook: {"tenant": tenant, "url": "https://93.184.216.34/"},
        OssConfig: {"tenant": tenant, "mode": "custom", "bucket": "b"},
        OutboxMessage: {"tenant": tenant, "kind": "alert.low_balance", "payload": {}},
        GenerationInput: {"generation": generation},
        AuthenticatorDevice: {"user": root},
    }
    for model, fields in sealed().items():
        found = columns.get(model, {})
        row = model._default_manager.filter(**found).first() if "pk" in found else None
        row = row or model(**found)
        for field in fields:
            setattr(row, field.name, secret_of(model, field.name))
        if any(each.name == "fingerprint" for each in model._meta.concrete_fields):
            row.fingerprint = keyed_hash(model._meta.label)
        row.save()


def sealed() -> dict[type[models.Model], list[EncryptedTextField]]:
    found: dict[type[models.Model], list[EncryptedTextField]] = {}
    for model, column in encrypted_columns():
        found.setdefault(model, []).append(column)
    return found


def names() -> Iterator[str]:
    """The name of every address of the admin."""

    def walk(patterns: list[URLPattern | URLResolver]) -> Iterator[str]:
        for each in patterns:
            if isinstance(each, URLResolver):
                yield from walk(each.url_patterns)
            elif each.name:
                yield each.name

    (site,) = [each for each in get_resolver().url_patterns if getattr(each, "namespace", None) == "admin"]
    yield from dict.fromkeys(walk(site.url_patterns))


def addresses(rows: dict[str, Any]) -> Iterator[str]:
    """Every address, with the key of the row that it is about where it takes one."""
    for name in names():
        if name in ("logout", "jsi18n", "view_on_site", "reveal"):
            continue
        row = next((row for label, row in rows.items() if name.startswith(label)), None)
        for args in ([], [row.pk] if row is not None else [], ["gemini"], ["sora"], ["tenants"]):
            try:
                yield reverse(f"admin:{name}", args=args)
            except NoReverseMatch:
                continue
            break


@pytest.fixture
def planted_rows(db: None, root: User) -> dict[str, Any]:
    """Every secret is planted; the rows by the beginning of the names of their pages."""
    tenant = Tenant.objects.create(name="Acme", enabled_models=["*"])
    plant(tenant, root)
    missing = [model._meta.label for model in sealed() if not model._default_manager.exists()]
    assert not missing, f"plant a row of {missing} too"
    rows = {}
    for model in admin.site._registry:
        row = model._default_manager.order_by("-pk").first()
        if row is not None:
            rows[f"{model._meta.app_label}_{model._meta.model_name}_"] = row
    account = tenant.accounts.get(mode="live")
    return rows | {"billing_": account}


PERMISSIONS = {
    "view only": lambda: Permission.objects.filter(codename__startswith="view_"),
    "view and add": lambda: Permission.objects.filter(codename__regex="^(view|add)_"),
    "view and delete": lambda: Permission.objects.filter(codename__regex="^(view|delete)_"),
    "all but change": lambda: Permission.objects.exclude(codename__startswith="change_"),
    "all": Permission.objects.all,
    "none": Permission.objects.none,
}


def reader(kind: str) -> User:
    if kind == "superuser":
        return User.objects.get(username="root")
    user = User.objects.create_user("reader", password="x", is_staff=True)
    if kind in PERMISSIONS:
        user.user_permissions.set(PERMISSIONS[kind]())
    else:
        user.groups.add(Group.objects.get(name=kind))
    return user


@pytest.mark.parametrize("kind", [*PERMISSIONS, "operator", "finance", "auditor", "superuser"])
def test_no_address_of_the_admin_shows_a_secret(client, planted_rows, kind):
    user = reader(kind)
    AuthenticatorDevice.objects.filter(user=user).update(confirmed=False)  # else every page asks for its code first
    client.force_login(user)
    confirm_password(client)
    secrets = {
        f"{model._meta.label}.{field.name}": secret_of(model, field.name)
        for model, fields in sealed().items()
        for field in fields
    }
    seen, leaks = 0, []
    for address in addresses(planted_rows):
        answer = client.get(address)
        assert answer.status_code in (200, 302, 400, 403, 404, 405), address
        seen += answer.status_code == 200
        text = answer.getvalue().decode()
        leaks += [f"{name} on {address}" for name, secret in secrets.items() if secret in text]
    assert leaks == []
    assert seen >= (60 if kind in ("superuser", "all", "view only") else 2), seen


def test_no_row_says_one_of_itself(planted_rows):
    for model, fields in sealed().items():
        row = model._default_manager.filter(pk=model._default_manager.order_by("-pk").values("pk")[:1]).get()
        told = f"{row} {row!r} {row.__dict__} {vars(row)}"
        for field in fields:
            assert getattr(row, field.name) == secret_of(model, field.name), field
            assert secret_of(model, field.name) not in told, field


def test_a_page_of_a_new_model_is_hidden_by_itself(admin_client, planted_rows, root, rf):
    """Nothing but the field: no form, list or display of ours knows of it."""
    plain = type("PlainAdmin", (admin.ModelAdmin,), {"list_display": ("tenant", "access_key_secret"), "fields": None})
    page = plain(OssConfig, admin.site)
    row = OssConfig.objects.get()
    request = rf.get("/")
    request.user, request.session = root, admin_client.session
    secret = secret_of(OssConfig, "access_key_secret")
    for permitted in (True, False):
        page.has_change_permission = lambda request, obj=None, permitted=permitted: permitted
        page.has_view_permission = lambda request, obj=None: True
        for answer in (page.change_view(request, str(row.pk)), page.changelist_view(request)):
            text = answer.render().text
            assert secret not in text
            assert "…" in text
    form = page.get_form(request, row)({"tenant": row.tenant_id, "mode": "custom", "driver": "s3"}, instance=row)
    form.is_valid()
    form.save()
    assert OssConfig.objects.get().access_key_secret == secret  # blank keeps it
    assert timezone.now()
