"""`/console/`: a tenant's people see and do what is their tenant's, and nothing else."""

import re
import uuid
from typing import Any

import pytest
from django.test import Client
from django.utils import translation

from aiservices.generations.models import Generation
from billing.catalog.usage import UsageRequest
from billing.ledger.models import Account
from billing.redemption.services import create_codes
from billing.services import charge, refund
from tenants.admin.words import problem_in_words
from tenants.models import ApiKey, Tenant, TenantMember, User
from tenants.principal import Principal
from tenants.services import add_member, create_api_key
from tenants.webhooks.models import OutboxMessage
from tests.books import give
from tests.catalog import priced_model
from tests.console.addresses import console_addresses, ids_of

PASSWORD = "alice-password"
LISTS = ("aiservices/generation", "tenants/apikey", "billing/ledgerentry", "tenants/outboxmessage", "tenants/tenantmember")


def confirm(client: Client) -> None:
    assert client.post("/console/confirm-password/", {"password": PASSWORD}).status_code == 302


def with_role(client: Client, role: str) -> Client:
    TenantMember.objects.update(role=role)
    return client


def test_another_tenants_ids_are_404_everywhere(owner: Client, birch: Tenant, acme: Tenant) -> None:
    from tests.books import give

    give(birch, 5)
    theirs = ids_of(birch)
    walked = 0
    for address in console_addresses(theirs):
        if any(value in address for value in theirs.values() if len(value) > 8) or re.search(r"/ledgerentry/\d+/", address):
            walked += 1
            for method in ("get", "post"):
                assert getattr(owner, method)(address).status_code in (403, 404, 405), address  # 403: the act is nobody's
    assert walked >= 15
    for name in (
        "aiservices/generation",
        "tenants/apikey",
        "billing/ledgerentry",
        "tenants/outboxmessage",
        "tenants/tenantmember",
    ):
        for page in ("", "export.csv"):
            answer = owner.get(f"/console/{name}/{page}")
            text = b"".join(answer.streaming_content) if answer.streaming else answer.content
            assert not any(value.encode() in text for value in theirs.values() if len(value) > 8), name
            assert b"theirs" not in text


def test_own_pages_open_and_stay_in_the_console(owner: Client, acme: Tenant) -> None:
    own = ids_of(acme)
    opened = 0
    for address in console_addresses(own):
        if "/logout/" in address or "/tenant/" in address or "/password_change" in address or "/autocomplete/" in address:
            continue
        answer = owner.get(address)
        assert answer.status_code in (200, 302, 403, 404), address
        if answer.status_code == 200 and "text/html" in answer["Content-Type"]:
            opened += 1
            assert not re.search(rb'(?:href|action)="/admin/(?!i18n)', answer.content), address
    assert opened >= 18


def test_who_is_no_member_does_not_get_in(acme: Tenant, vera: User, root: User) -> None:
    for username, password in (("vera", "vera-password"), ("root", "root-password")):
        client = Client()
        assert client.post("/console/login/", {"username": username, "password": password}).status_code == 200
        client.force_login(User.objects.get(username=username), backend="django.contrib.auth.backends.ModelBackend")
        assert client.get("/console/").status_code == 302
    assert Client().get("/console/aiservices/generation/").status_code == 302


def test_a_member_of_a_tenant_that_is_off_does_not_get_in(owner: Client, acme: Tenant) -> None:
    assert owner.get("/console/").status_code == 200
    Tenant.objects.update(is_active=False)
    assert owner.get("/console/").status_code == 302


def test_a_member_is_no_operator(owner: Client) -> None:
    assert owner.get("/admin/").status_code == 302


def test_the_first_picture(owner: Client, acme: Tenant) -> None:
    model = priced_model("sandbox-image")
    form = {"model": str(model.pk), "prompt": "a red bicycle", "size": "", "idempotency_key": str(uuid.uuid4())}
    for _twice in range(2):
        answer = owner.post("/console/try/", form)
        assert answer.status_code == 200
        assert b'id="made-1"' in answer.content
    made = Generation.objects.get()
    assert (made.tenant_id, made.state, made.credits_charged) == (acme.pk, "succeeded", 7)
    assert Account.objects.get(tenant=acme, mode="live").balance == 993
    assert b"a red bicycle" in owner.get("/console/aiservices/generation/").content
    bad = owner.post("/console/try/", form | {"size": "huge", "idempotency_key": str(uuid.uuid4())})
    assert bad.status_code == 200
    assert Generation.objects.count() == 1


def test_what_can_be_made_here_is_offered_first(owner: Client, settings: Any) -> None:
    settings.OPENAI_API_KEY = ""
    for number, provider in enumerate(("doubao", "gemini", "openai", "sandbox", "sora")):
        model = priced_model(f"{number}-{provider}")
        model.provider = provider
        model.save()

    def offered() -> list[str]:
        page = owner.get("/console/try/").content.decode()
        return [name.partition("-")[2].lower() for name in re.findall(r"<option value=.[0-9a-f-]{36}.[^>]*>\s*(\d-\w+)", page)]

    assert offered()[0] == "sandbox"
    assert "3-sandbox" in owner.get("/console/").content.decode()
    settings.OPENAI_API_KEY = "sk-test-0123456789"
    assert offered() == ["openai", "sandbox", "doubao", "gemini", "sora"]


def test_a_live_key_asks_for_the_password_and_is_shown_once(owner: Client, acme: Tenant) -> None:
    form = {"name": "server", "mode": "live", "scopes": ["read", "generate"], "budget_day": "50"}
    asked = owner.post("/console/tenants/apikey/new/", form)
    assert asked["Location"].startswith("/console/confirm-password/")
    assert ApiKey.objects.count() == 0
    confirm(owner)
    text = re.search(rb"wk_live_\w{36}", owner.post("/console/tenants/apikey/new/", form).content)
    assert text is not None
    key = ApiKey.objects.get()
    assert (key.tenant, key.scopes) == (acme, ["read", "generate"])
    assert Client().get("/v1/balance", headers={"Authorization": f"Bearer {text[0].decode()}"}).json()["balance"] == 1000
    assert text[0] not in owner.get(f"/console/tenants/apikey/{key.pk}/change/").content
    assert owner.post(f"/console/tenants/apikey/{key.pk}/revoke/").status_code == 302
    assert ApiKey.objects.get().revoked_at is not None


def test_a_code_is_redeemed_once(owner: Client, acme: Tenant) -> None:
    (code,) = create_codes(count=1, credits=25, actor="test").codes
    form = {"code": code, "idempotency_key": str(uuid.uuid4())}
    assert owner.post("/console/redeem/", form).status_code == 302
    assert owner.post("/console/redeem/", form).status_code == 302
    assert Account.objects.get(tenant=acme, mode="live").balance == 1025
    assert owner.post("/console/redeem/", form | {"idempotency_key": str(uuid.uuid4())}).status_code == 200
    assert Account.objects.get(tenant=acme, mode="live").balance == 1025


def test_members(owner: Client, acme: Tenant, alice: User, vera: User) -> None:
    assert owner.post("/console/tenants/tenantmember/new/", {"username": "vera", "role": "billing"}).status_code == 302
    member = TenantMember.objects.get(user=vera)
    assert (member.tenant, member.role) == (acme, "billing")
    assert owner.post("/console/tenants/tenantmember/new/", {"username": "nobody", "role": "billing"}).status_code == 200
    for already in ("vera", "alice"):  # and alice is the last owner
        refused = owner.post("/console/tenants/tenantmember/new/", {"username": already, "role": "developer"})
        assert "is a member already" in refused.content.decode()
    assert TenantMember.objects.get(tenant=acme, user=alice).role == "owner"
    assert owner.post(f"/console/tenants/tenantmember/{member.pk}/role/", {"role": "developer"}).status_code == 302
    assert TenantMember.objects.get(user=vera).role == "developer"
    own = TenantMember.objects.get(user=alice)
    assert owner.post(f"/console/tenants/tenantmember/{own.pk}/remove/").status_code == 403
    assert owner.post(f"/console/tenants/tenantmember/{member.pk}/remove/").status_code == 302
    assert not TenantMember.objects.filter(user=vera).exists()


@pytest.mark.parametrize(
    ("role", "refused"),
    [
        ("developer", ["redeem/", "tenants/tenantmember/new/"]),
        ("billing", ["try/", "tenants/apikey/new/", "tenants/tenantmember/new/"]),
    ],
)
def test_roles(owner: Client, acme: Tenant, role: str, refused: list[str]) -> None:
    key, _text = create_api_key(tenant=acme, name="k", actor="test")
    with_role(owner, role)
    pages = ["try/", "redeem/", "tenants/apikey/new/", "tenants/tenantmember/new/", "usage/", "prices/", "statement/", ""]
    for page in pages:
        assert owner.get(f"/console/{page}").status_code == (403 if page in refused else 200), page
    if role == "billing":
        assert owner.post(f"/console/tenants/apikey/{key.pk}/revoke/").status_code == 403


def test_a_member_of_two_tenants_changes_between_them(owner: Client, acme: Tenant, birch: Tenant, alice: User) -> None:
    assert owner.post(f"/console/tenant/{birch.pk}/").status_code == 404
    add_member(tenant=birch, user=alice, role="billing", actor="test")
    assert b"Acme" in owner.get("/console/").content
    assert owner.post(f"/console/tenant/{birch.pk}/").status_code == 302
    assert owner.get("/console/try/").status_code == 403  # the role there


def test_a_charges_entries_are_found_and_no_other_tenants(owner: Client, acme: Tenant, birch: Tenant) -> None:
    model = priced_model("seven")
    give(birch, 100)
    made = {
        tenant: charge(target=Principal("tenant", str(tenant.id)), use=UsageRequest(model=model.model_id), actor="test").charge.id
        for tenant in (acme, birch)
    }
    refund(charge_id=str(made[acme]), credits=None, reason="test", actor="test")
    rows = owner.get("/console/billing/ledgerentry/", {"q": str(made[acme])}).context["cl"].result_list
    assert [(row.kind, row.amount) for row in rows] == [("REFUND", 7), ("CONSUME", -7)]
    for unknown in (str(made[birch]), str(uuid.uuid4())):
        assert not owner.get("/console/billing/ledgerentry/", {"q": unknown}).context["cl"].result_list


def test_the_statement_downloads(owner: Client) -> None:
    answer = owner.get("/console/statement/?csv=1")
    assert answer["Content-Type"].startswith("text/csv")
    assert b"opening balance" in b"".join(answer.streaming_content)


@pytest.mark.parametrize("address", ["nothing-here/", "webhook/delete/", "tenants/apikey/x/change/"])
def test_a_page_that_is_missing_says_so_in_the_readers_language_and_leads_home(owner: Client, address: str) -> None:
    answer = owner.get(f"/console/{address}", headers={"Accept-Language": "zh-hans"})
    assert answer.status_code == 404
    with translation.override("zh-hans"):
        assert translation.gettext("There is nothing here.") in answer.content.decode()
    assert 'href="/console/"' in answer.content.decode()


def test_a_page_that_is_forbidden_says_so_too(owner: Client) -> None:
    answer = with_role(owner, "billing").get("/console/webhook/edit/")
    assert answer.status_code == 403
    assert "You are not allowed to do this." in answer.content.decode()


@pytest.mark.parametrize("address", ["/console/", "/admin/", "/"])
def test_a_name_that_the_server_does_not_go_by_is_told(owner: Client, address: str) -> None:
    answer = owner.get(address, headers={"Host": "elsewhere.example", "Accept-Language": "zh-hans"})
    assert answer.status_code == 400
    assert "elsewhere.example" in answer.content.decode()
    assert "ALLOWED_HOSTS" in answer.content.decode()
    told = Client().get("/internal/billing/balance", headers={"Host": "elsewhere.example"})
    assert told.status_code == 400
    assert "elsewhere.example" in told.json()["error"]


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_a_page_that_breaks_names_the_line_of_the_log(owner: Client, settings: Any, language: str) -> None:
    settings.BILLING_TIME_ZONE = "Nowhere/At all"
    owner.raise_request_exception = False
    answer = owner.get("/console/statement/", headers={"Accept-Language": language})
    page = answer.content.decode()
    assert answer.status_code == 500
    with translation.override(language):
        assert translation.gettext("Something went wrong on our side.") in page
    assert f'<html lang="{language}">' in page
    assert answer["X-Request-Id"] in page
    assert 'href="/console/statement/"' in page


@pytest.mark.parametrize("address", ["/console/login/", "/admin/login/"])
def test_a_form_that_was_open_for_too_long_is_loaded_again(db: None, address: str) -> None:
    answer = Client(enforce_csrf_checks=True).post(address, {"username": "alice", "password": "x"})
    assert answer.status_code == 403
    assert "Load it again, and send it once more." in answer.content.decode()
    assert f'href="{address}"' in answer.content.decode()


@pytest.mark.parametrize("page", [page for page in LISTS if page != "tenants/tenantmember"])
def test_a_list_counts_no_rows_of_others(owner: Client, acme: Tenant, page: str) -> None:
    ids_of(acme)
    ids_of(Tenant.objects.create(name="Beta"))
    shown = owner.get(f"/console/{page}/").context["cl"]
    assert shown.total == (len(shown.result_list), True)


def test_what_failed_is_said_in_words(owner: Client, acme: Tenant) -> None:
    model = priced_model("flash")
    made = Generation.objects.create(type="image", tenant=acme, model=model, state="failed", error_code="status_503", progress=40)
    message = OutboxMessage.objects.create(tenant=acme, kind="alert.balance.low", payload={}, state="failed")
    message.attempts.create(problem="not_reached", host="hooks.example.com")
    shown = owner.get(f"/console/aiservices/generation/{made.pk}/change/").content.decode()
    assert "The provider answered with status 503" in shown
    assert "40 %" in shown
    assert "The provider answered with status 503" in owner.get("/console/").content.decode()
    shown = owner.get(f"/console/tenants/outboxmessage/{message.pk}/change/").content.decode()
    assert "hooks.example.com" in shown
    assert str(problem_in_words("not_reached")) in shown
