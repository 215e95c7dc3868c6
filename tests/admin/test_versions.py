"""An old form undoes nothing newer: on every page of the admin, the rows below it and edited lists included, and by API."""

import html
import re
from typing import Any

import pytest
from django import forms
from django.contrib import admin
from django.db import models
from django.urls import get_resolver, reverse

from aiservices.credentials.models import GeminiKey, SoraToken
from billing.budgets.models import Budget
from billing.catalog.models import AIModel, BillingPrice, BillingRule, LevelConfig
from billing.ledger.models import Account
from billing.monitoring.models import AlertThreshold
from storage.models import StorageUsage
from tenants.models import Tenant, User
from tenants.webhooks.models import Webhook
from tests.admin.conftest import confirm_password
from waule.core.admin import WauleAdmin
from waule.core.admin.versions import VERSIONS, shown

pytestmark = pytest.mark.once  # the database makes no difference


def fields_of(page: str) -> dict[str, Any]:
    """What a browser would send: every named control of the form, as it stands."""
    body = page[page.index('method="post" id="') :]
    body = body[: body.index("</form>")]
    sent: dict[str, Any] = {}
    for tag in re.findall(r"<input\b[^>]*>", body):
        attributes = dict(re.findall(r'(\w+)="([^"]*)"', tag))
        name, kind = attributes.get("name"), attributes.get("type", "text")
        if (
            not name
            or (name.startswith("_") and name != VERSIONS)
            or "__prefix__" in name
            or kind in ("submit", "button", "file")
        ):
            continue
        if kind in ("checkbox", "radio") and not re.search(r"\bchecked\b", tag):
            continue
        sent.setdefault(name, []).append(html.unescape(attributes.get("value", "on" if kind in ("checkbox", "radio") else "")))
    for name, text in re.findall(r'<textarea\b[^>]*name="([^"]+)"[^>]*>(.*?)</textarea>', body, re.DOTALL):
        if "__prefix__" not in name:
            sent[name] = [html.unescape(text.removeprefix("\n"))]
    for attributes, options in re.findall(r"<select\b([^>]*)>(.*?)</select>", body, re.DOTALL):
        name = re.search(r'name="([^"]+)"', attributes)
        if name and "__prefix__" not in name[1]:
            chosen = [
                re.search(r'value="([^"]*)"', option) for option in re.findall(r"<option\b[^>]*\bselected\b[^>]*>", options)
            ]
            first = re.search(r'<option\b[^>]*value="([^"]*)"', options)
            values = [html.unescape(found[1]) for found in chosen if found]
            sent[name[1]] = values or ([] if "multiple" in attributes or first is None else [html.unescape(first[1])])
    return sent


def change(row: models.Model, name: str) -> None:
    """Writes another value into a column, as somebody else would meanwhile."""
    field = row._meta.get_field(name)
    old = getattr(row, name)
    if isinstance(field, models.BooleanField):
        new: Any = not old
    elif field.choices:
        new = next(
            value for value, _label in field.flatchoices if value not in (old, "", None) and (name != "level" or value == "VIP")
        )
    elif isinstance(field, models.IntegerField):
        new = (old or 0) + 7
    elif isinstance(field, models.JSONField):
        new = {"ratios": ["1:1"]}
    elif isinstance(field, models.DecimalField):
        new = (old or 0) + 1
    else:
        new = f"{old or ''}x"[-60:] if not isinstance(field, models.URLField) else f"{old}x"
    type(row)._base_manager.filter(pk=row.pk).update(**{name: new})


@pytest.fixture
def rows(admin_client, history) -> dict[type[models.Model], models.Model]:
    return rows_of_every_page(admin_client, history)


def rows_of_every_page(admin_client, history) -> dict[type[models.Model], models.Model]:
    """One row for every page of the admin that changes rows."""
    confirm_password(admin_client)
    model = AIModel.objects.get()
    rule = BillingRule.objects.create(name="painter", model=model, billing_type="PER_IMAGE", base_credits=5)
    BillingPrice.objects.create(rule=rule, dimension="resolution", value="2K", credits=9)
    StorageUsage.objects.create(tenant=history, quota_bytes=10)
    AlertThreshold.objects.create(account=Account.objects.get(tenant=history, mode="live"), low_balance=5)
    Webhook.objects.create(tenant=history, url="https://93.184.216.34/hook")
    LevelConfig.objects.get_or_create(level="VIP", defaults={"max_concurrency": 3})
    Budget.objects.create(tenant=history, period="day", limit_credits=100)
    found = {}
    for cls, page in admin.site._registry.items():
        request = admin_client.get(reverse("admin:index")).wsgi_request
        row = cls._default_manager.order_by("pk").last() if cls is not User else User.objects.get(username="user0")
        row = history if cls is Tenant else row
        if row is not None and page.has_change_permission(request, row):
            found[cls] = row
    return found


def test_every_page_that_changes_rows_refuses_an_old_form(admin_client, rows):
    tried = 0
    assert {Tenant, User, AIModel, BillingRule, LevelConfig, GeminiKey, SoraToken, Webhook} <= set(rows)
    for cls, row in rows.items():
        address = reverse(f"admin:{cls._meta.app_label}_{cls._meta.model_name}_change", args=[row.pk])
        page = admin_client.get(address)
        sent = fields_of(page.text)
        assert VERSIONS in sent, cls
        form = page.context["adminform"].form
        below = [each for formset in page.context["inline_admin_formsets"] for each in formset.formset.initial_forms]
        for each in (form, *below):
            for name in each.versions:
                column = next((field for field in each._meta.model._meta.concrete_fields if field.name == name), None)
                if (
                    column is None
                    or column.is_relation
                    or not isinstance(
                        column, models.BooleanField | models.CharField | models.TextField | models.IntegerField | models.JSONField
                    )
                ):
                    continue
                if column.get_internal_type() == "BinaryField" or column.unique:
                    continue
                kept = type(each.instance)._base_manager.filter(pk=each.instance.pk)
                old = kept.values_list(name, flat=True).get()
                change(each.instance, name)
                theirs = kept.values().get()
                answer = admin_client.post(address, sent)
                assert answer.status_code == 200, (cls, name)
                assert "Somebody else has changed this meanwhile" in answer.text, (cls, name)
                assert kept.values().get() == theirs, (cls, name)
                kept.update(**{name: old})
                tried += 1
    assert tried > 40, tried


def test_what_nobody_else_has_changed_is_saved(admin_client, rows, history):
    address = reverse("admin:tenants_tenant_change", args=[history.pk])
    sent = fields_of(admin_client.get(address).text)
    assert admin_client.post(address, sent | {"name": "Acme renamed"}).status_code == 302
    assert Tenant.objects.get(pk=history.pk).name == "Acme renamed"


def test_an_older_form_does_not_switch_a_model_on_again(admin_client, rows):
    model = rows[AIModel]
    address = reverse("admin:billing_aimodel_change", args=[model.pk])
    older, newer = fields_of(admin_client.get(address).text), fields_of(admin_client.get(address).text)
    newer.pop("is_active")
    saved = admin_client.post(address, newer | {"disabled_reason": "broken"})
    assert saved.status_code == 302, saved.context["adminform"].form.errors
    refused = admin_client.post(address, older | {"name": "A new name"})
    assert refused.status_code == 200
    assert "It is “No” now; you entered “Yes”" in refused.text
    assert "It is “broken” now; you entered “–”" in refused.text
    model.refresh_from_db()
    assert (model.is_active, model.name) == (False, "Painter")
    # having seen both, the reader decides
    again = fields_of(refused.text) | {"name": "A new name"}
    assert admin_client.post(address, again).status_code == 302
    model.refresh_from_db()
    assert (model.is_active, model.name) == (True, "A new name")


def test_a_secret_that_was_replaced_meanwhile_is_a_conflict_and_stays_hidden(admin_client, rows):
    key = rows[GeminiKey]
    address = reverse("admin:aiservices_geminikey_change", args=[key.pk])
    sent = fields_of(admin_client.get(address).text)
    key.secret = "AIza-replaced-by-somebody-else"
    key.save()
    refused = admin_client.post(address, sent | {"secret": "AIza-typed-in-the-older-form"})
    assert "Somebody else has changed this meanwhile" in refused.text
    assert "replaced-by" not in refused.text
    assert "typed-in" not in refused.text
    key.refresh_from_db()
    assert key.secret == "AIza-replaced-by-somebody-else"


def test_a_damaged_form_saves_nothing(admin_client, rows, history):
    address = reverse("admin:tenants_tenant_change", args=[history.pk])
    sent = fields_of(admin_client.get(address).text) | {"name": "other"}
    for damaged in ("[", "[]", '{"tenants.tenant:x": 1}', "[" * 100_000):
        assert admin_client.post(address, sent | {VERSIONS: damaged}).status_code == 200
    assert Tenant.objects.get(pk=history.pk).name == "Acme"


@pytest.mark.parametrize("damaged", ["1", "no-key", "9" * 99])
def test_a_conflict_over_a_row_that_is_none_is_told(db, damaged):
    """The value that was typed is shown beside the newer one, also where it can be no key."""
    assert shown(forms.ModelChoiceField(Tenant.objects.all()), damaged) == damaged


def test_a_list_that_is_edited_as_a_whole_is_guarded_too(admin_client, rows, monkeypatch):
    page = admin.site._registry[AIModel]
    monkeypatch.setattr(page, "list_editable", ("is_active",))
    monkeypatch.setattr(page, "list_display", ("name", "is_active"))
    address = reverse("admin:billing_aimodel_changelist")
    text = admin_client.get(address).text
    sent = {
        "form-TOTAL_FORMS": "1",
        "form-INITIAL_FORMS": "1",
        "form-0-id": str(rows[AIModel].pk),
        "form-0-is_active": "on",
        "_save": "Save",
        VERSIONS: html.unescape(re.search(rf'name="{VERSIONS}" value="([^"]+)"', text)[1]),
    }
    AIModel.objects.update(is_active=False)
    refused = admin_client.post(address, sent)
    assert refused.status_code == 200
    assert not AIModel.objects.get().is_active
    AIModel.objects.update(is_active=True)
    assert (
        admin_client.post(address, {name: value for name, value in sent.items() if name != "form-0-is_active"}).status_code == 302
    )
    assert not AIModel.objects.get().is_active


def test_every_page_stands_on_what_compares_versions():
    for cls, page in admin.site._registry.items():
        assert isinstance(page, WauleAdmin), cls


# --- by API --------------------------------------------------------------------------------------------------------


def patches() -> set[str]:
    """Every address that takes a PATCH."""
    found = set()

    def walk(patterns: Any, prefix: str) -> None:
        for pattern in patterns:
            if hasattr(pattern, "url_patterns"):
                walk(pattern.url_patterns, prefix + str(pattern.pattern))
            elif (getattr(pattern.callback, "actions", None) or {}).get("patch") == "partial_update":
                found.add(re.sub(r"<[^>]+>", "*", prefix + str(pattern.pattern)))

    walk(get_resolver().url_patterns, "/")
    return found


@pytest.fixture
def patched(rows) -> dict[str, tuple[models.Model, dict[str, Any], dict[str, Any]]]:
    return changes_of_every_address(rows)


def changes_of_every_address(rows) -> dict[str, tuple[models.Model, dict[str, Any], dict[str, Any]]]:
    """For each address: the row, what somebody else sends, and what we send."""
    found = {}
    for base in ("/internal/", "/api/admin/ai-services/"):
        found[f"{base}gemini/keys/*"] = (rows[GeminiKey], {"priority": 4}, {"weight": 3})
        found[f"{base}sora/tokens/*"] = (rows[SoraToken], {"remark": "theirs"}, {"remark": "ours"})
        found[f"{base}models/*"] = (rows[AIModel], {"isActive": False, "reason": "theirs"}, {"isActive": True})
    return found


def test_a_patch_of_an_older_version_is_a_conflict(patched, admin_client, internal, settings):
    settings.SORA_API_URL = "http://127.0.0.1:9"
    assert patches() <= set(patched), "a PATCH without a version"
    for address, (row, theirs, ours) in patched.items():
        is_internal = address.startswith("/internal")
        patch = Patch(internal.client if is_internal else admin_client, address.replace("*", str(row.pk)))
        patch.headers = {"X-Internal-Secret": internal.secret} if is_internal else {}
        version = patch(theirs).json()["version"]
        assert patch(theirs | {"version": version}).status_code == 200
        newer = patch(
            {
                name: value + 1 if value == 4 else f"{value}!" if isinstance(value, str) else value
                for name, value in theirs.items()
            }
        ).json()["version"]
        assert newer != version, address
        for refused in (patch(ours | {"version": version}), patch(ours, **{"If-Match": f'"{version}"'})):
            assert (refused.status_code, refused.json()["code"]) == (409, "conflict"), address
            assert refused.json()["details"]["version"] == newer
        accepted = patch(ours, **{"If-Match": f'"{newer}"'})
        assert accepted.status_code == 200, accepted.json()
        assert accepted["ETag"] == f'"{accepted.json()["version"]}"'


class Patch:
    """Sends PATCHes to one address."""

    headers: dict[str, str]

    def __init__(self, client: Any, address: str) -> None:
        self.client, self.address = client, address

    def __call__(self, body: dict[str, Any], **headers: str) -> Any:
        return self.client.patch(self.address, body, "application/json", headers=self.headers | headers)
