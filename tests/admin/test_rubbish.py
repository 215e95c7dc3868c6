"""Whatever staff's browsers send, in whatever field: a page says no, and none is a 500."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib import admin
from django.db import models, transaction
from django.test import Client, RequestFactory
from django.urls import reverse
from unfold.contrib.filters.admin import AutocompleteSelectFilter

from billing.catalog.models import BillingRule
from tenants.models import ApiKey, Tenant, User
from tests.admin.pages import LISTED, address
from tests.catalog import image_model
from waule.core.admin.base import MAX_NEW_ROWS

VALUES = (
    *(
        "abc",
        "-1",
        "0",
        str(2**31),
        str(2**63),
        str(2**70),
        "1e400",
        "NaN",
        "None",
        "null",
        "[]",
        "{}",
        "true",
        "'",
        '"><script>',
    ),
    *("00000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-00000000000g", "９", "中文", "\U0001f433", "a" * 5000),
    *("\x00", "a\x00b", "\r\n", "\u202e", "9999-99-99", "10000-01-01"),
)
UNREADABLE = "%ff%fe"  # no UTF-8
ALWAYS = ("abc", "\x00", str(2**70))
_id = {"ids": lambda model: model._meta.model_name}


@pytest.fixture(autouse=True)
def answers_500(admin_client: Client) -> None:
    """A view that breaks is an answer here too."""
    admin_client.raise_request_exception = False


def some_of(model: type[models.Model], every: int = 6) -> list[str]:
    """A share of the values, another one for each model, and those that break most."""
    return [*ALWAYS, *VALUES[LISTED.index(model) % every :: every]]


def seen(answer: Any, what: Any) -> None:
    assert answer.status_code < 500, what


def fields_of(client: Client, page: str) -> list[str]:
    """Every field that a page's form sends, its inlines' and their hidden ones too."""
    context = client.get(page).context or {}
    if "adminform" not in context:
        return []
    form = context["adminform"].form
    names = [form.add_prefix(name) for name in form.fields]
    for inline in context["inline_admin_formsets"]:
        formset = inline.formset
        for each in (formset.management_form, *formset.forms, formset.empty_form):
            names += [each.add_prefix(name).replace("__prefix__", "0") for name in each.fields]
    return names


def filled_in(client: Client, page: str) -> dict[str, str]:
    """What the page's form sends where nobody has typed anything."""
    context = client.get(page).context
    form = context["adminform"].form
    sent = {form.add_prefix(name): form[name].value() for name in form.fields}
    for inline in context["inline_admin_formsets"]:
        for each in (inline.formset.management_form, *inline.formset.forms):
            sent |= {each.add_prefix(name): each[name].value() for name in each.fields}
    return {name: str(value) for name, value in sent.items() if value is not None and value is not False}


@pytest.mark.parametrize("model", LISTED, **_id)
def test_forms(admin_client: Client, history: Tenant, model: type[models.Model]) -> None:
    """Filled in by their address, sent with rubbish in every field, and with rubbish in one field among good ones."""
    row = model._default_manager.first()
    pages = [address(model, "add")]
    if row is not None:
        pages.append(reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[row.pk]))
    for page in pages:
        names = fields_of(admin_client, page)
        good = filled_in(admin_client, page) if names else {}
        values = some_of(model, 24) if names else []
        for number, value in enumerate(values):
            seen(admin_client.get(page, dict.fromkeys(names, value)), (page, value))
            for sent in (dict.fromkeys(names, value), *(good | {name: value} for name in names[number :: len(values)])):
                with transaction.atomic():
                    seen(admin_client.post(page, sent), (page, value, sent))
                    transaction.set_rollback(True)


@pytest.mark.once
@pytest.mark.parametrize(("page", "there"), [("add", 0), ("change", 3)])
def test_of_rows_below_a_form_no_more_are_read_than_may_be_new(admin_client: Client, page: str, there: int) -> None:
    rule = BillingRule.objects.get(model=image_model(prices={"1K": 20, "2K": 30, "4K": 40}))
    form = address(BillingRule, page, *([rule.pk] if there else []))
    answer = admin_client.post(form, filled_in(admin_client, form) | {"prices-TOTAL_FORMS": str(2**31)})
    (formset,) = [each.formset for each in answer.context["inline_admin_formsets"]]
    assert len(formset.forms) == there + MAX_NEW_ROWS
    assert f"{there + MAX_NEW_ROWS} forms" in str(formset.non_form_errors())


@pytest.mark.parametrize("model", LISTED, **_id)
def test_an_address_with_rubbish_for_a_key(admin_client: Client, history: Tenant, model: type[models.Model]) -> None:
    about = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    for value in some_of(model):
        text = value.replace("\r\n", "x")[:900]
        for page in ("change", "delete", "history"):
            found = reverse(f"{about}_{page}", args=[admin.utils.quote(text)])
            seen(admin_client.get(found), (page, value))
            seen(admin_client.post(found, {"post": "yes"}), (page, value))


@pytest.mark.parametrize("model", LISTED, **_id)
def test_actions_on_rubbish(admin_client: Client, history: Tenant, model: type[models.Model]) -> None:
    page = address(model)
    context = admin_client.get(page).context
    actions = [name for name, _label in context["action_form"].fields["action"].choices] if context.get("action_form") else []
    for value in some_of(model, 24):
        for action in (*actions, value):
            chosen: dict[str, Any] = {"action": action, "_selected_action": [value], "index": value if action == value else "0"}
            with transaction.atomic():
                seen(admin_client.post(page, chosen | {"post": "yes"}), (action, value))
                seen(admin_client.post(page, {"_save": "Save", "form-TOTAL_FORMS": value, "form-0-id": value}), value)
                transaction.set_rollback(True)


def test_no_autocomplete_asks_the_database_for_what_is_no_key(admin_client: Client) -> None:
    """Every one that a page or a list's filter has: Django's own widget would break."""
    walked = 0
    request = RequestFactory().get("/")
    request.user = User.objects.get()
    for model_admin in admin.site._registry.values():
        for each in (model_admin, *model_admin.get_inline_instances(request)):
            for name in each.get_autocomplete_fields(request):
                field = each.formfield_for_dbfield(each.model._meta.get_field(name), request)
                for value in VALUES:
                    assert "selected>" not in field.widget.render(name, value)
                walked += 1
        filters = [each[1] for each in model_admin.get_list_filter(request) if isinstance(each, tuple)]
        assert AutocompleteSelectFilter not in filters, model_admin
    assert walked >= 6


def related() -> Iterator[models.Field]:
    """Every field that points to a model which the admin shows."""
    for model in LISTED:
        for field in model._meta.get_fields():
            if field.related_model in admin.site._registry and not field.auto_created:
                yield field


@pytest.mark.parametrize("field", list(related()), ids=str)
def test_autocompletes(admin_client: Client, history: Tenant, field: models.Field) -> None:
    source = {"app_label": field.model._meta.app_label, "model_name": field.model._meta.model_name, "field_name": field.name}
    for name in ("term", "page", *source):
        for value in some_of(field.model) if name == "term" else ALWAYS:
            seen(admin_client.get(reverse("admin:autocomplete"), {"term": "a", **source, name: value}), (name, value))
        query = "&".join(f"{each}={quote(text)}" for each, text in source.items())
        seen(admin_client.get(f"{reverse('admin:autocomplete')}?{name}={UNREADABLE}&{query}"), name)


def other_pages(history: Tenant) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Pages with forms of their own, with the fields that they read."""
    account, key = history.accounts.first(), ApiKey.objects.first()
    assert account is not None and key is not None
    yield reverse("admin:billing_simulator"), ("model", "owner", "operation", "duration", "quantity", "resolution", "level")
    yield reverse("admin:aiservices_rehearsal"), ("catalog", "days", "file")
    yield reverse("admin:tenants_apikey_webhook", args=[key.pk]), ("url", "secret", "new_secret")
    for verb in ("grant", "adjust"):
        yield (
            reverse(f"admin:billing_{verb}", args=[account.pk]),
            ("credits", "kind", "reason", "idempotency_key", "next"),
        )
    yield reverse("admin:search"), ("s", "extended", "page")
    yield reverse("admin:confirm_password"), ("code", "next")
    yield reverse("admin:second_factor_setup"), ("code", "key", "next")
    yield reverse("admin:login"), ("username", "next")  # without a password none is hashed


def test_other_pages(admin_client: Client, history: Tenant) -> None:
    for page, names in other_pages(history):
        for name in names:
            for value in (*ALWAYS, VALUES[len(page + name) % len(VALUES)]):
                seen(admin_client.get(page, {name: value}), (page, name, value))
                with transaction.atomic():
                    seen(admin_client.post(page, {each: value if each == name else "1" for each in names}), (page, name, value))
                    transaction.set_rollback(True)
