"""An old form undoes nothing newer: on every page of the admin, the rows below it and edited lists included, and by API."""

import html
import re
from typing import Any

import pytest
from django import forms
from django.contrib import admin
from django.db import models
from django.urls import reverse

from aiservices.credentials.models import GeminiKey, SoraToken
from billing.catalog.models import AIModel, BillingRule, LevelConfig
from tenants.models import Tenant, User
from tenants.webhooks.models import Webhook
from tests.admin.forms import changes_of_every_address, fields_of, patches, rows_of_every_page
from waule.core.admin import WauleAdmin
from waule.core.admin.versions import VERSIONS, shown

pytestmark = pytest.mark.once  # the database makes no difference


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


@pytest.fixture
def patched(rows) -> dict[str, tuple[models.Model, dict[str, Any], dict[str, Any]]]:
    return changes_of_every_address(rows)


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
