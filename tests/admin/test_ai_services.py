"""The page "AI services": what it tells, to whom, at what cost; and its buttons, which call the verbs."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from aiservices.credentials import pool
from aiservices.credentials.models import GeminiKey, SoraToken
from aiservices.generations.models import Generation
from aiservices.monitoring.models import HealthCheck, Service
from aiservices.monitoring.services_page import credentials as shown_credentials
from aiservices.monitoring.services_page.credentials import MAX_CREDENTIALS, MAX_TROUBLED, TROUBLES, section
from aiservices.monitoring.services_page.generations import MAX_MODELS, Uses, today
from aiservices.monitoring.services_page.services import services
from billing.catalog.models import AIModel
from tenants.models import AuditEntry, User
from tests.admin.conftest import GEMINI_SECRET, SORA_SECRET
from tests.aiservices.credential_rows import access_token, key, token
from tests.aiservices.pasted_lines import LINES, OTHER, G, H

PAGE = "/admin/ai-services/"


def act(row, name):
    return reverse(f"admin:aiservices_{row._meta.model_name}_{name}", args=[row.pk])


def said(answer):
    return " ".join(str(message) for message in answer.context["messages"])


@pytest.fixture
def gemini(settings, httpserver):
    settings.GEMINI_API_URL = httpserver.url_for("/v1beta")
    return httpserver


def staff(*permissions):
    user = User.objects.create_user("clerk", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


# --- what it tells -------------------------------------------------------------------------------------------------


def test_the_figures_of_today(admin_client, history, settings):
    model = AIModel.objects.get()
    for type_, state in [("video", "succeeded"), ("video", "failed"), ("image", "unknown"), ("image", "running")]:
        Generation.objects.create(type=type_, tenant=history, model=model, prompt="x", state=state)
    cache.clear()
    day = today()
    assert (day.images, day.videos, day.errors) == (3, 1, 2)
    assert (day.unknown, day.images_under_way, day.videos_under_way) == (1, 1, 0)
    assert day.by_model == {model.pk: Uses(good=4, bad=2)}
    assert f"{day.success_percent:.1f}" == "66.7"
    assert "66.7%" in admin_client.get(PAGE).text


def test_a_services_last_hours(db):
    now = timezone.now().replace(minute=30)
    for hours, status, latency_ms in [(0, "ok", 100), (0, "down", 900), (5, "degraded", 300), (30, "down", 7)]:
        HealthCheck.objects.create(
            service="gemini", status=status, latency_ms=latency_ms, checked_at=now - timedelta(hours=hours)
        )
    seen = next(each for each in services() if each.service.name == "gemini")
    assert [(place, hour.status) for place, hour in enumerate(seen.hours) if hour.status] == [(18, "degraded"), (23, "down")]
    assert seen.hours[23].latency_ms == 500
    assert (round(seen.up_percent, 1), round(seen.mean_ms)) == (66.7, 433)


@pytest.mark.parametrize("language,words", [("en", ["is down", "3 tokens are waiting"]), ("zh-hans", ["不可用", "3 个令牌"])])
def test_a_service_that_is_down_is_said(admin_client, settings, language, words):
    now = timezone.now()
    HealthCheck.objects.create(service="sora", status="ok", checked_at=now - timedelta(hours=2))
    Service.objects.create(name="sora", status="down", message="The upstream did not accept the request.", checked_at=now)
    for _number in range(3):
        token(to_push=["fields"], push_error="The upstream did not accept the request.")
    page = admin_client.get(PAGE, headers={"Accept-Language": language}).text
    for word in words:
        assert word in page
    assert section("sora", is_service_down=True).troubled == []
    assert len(section("sora").troubled) == 3


def test_what_needs_a_hand(db, monkeypatch):
    monkeypatch.setattr(shown_credentials, "MAX_TROUBLED", 20)
    now = timezone.now()
    cases = {
        "given_up": token("a", state="invalid"),
        "refused": token("b", state="invalid", cooling_until=now + timedelta(minutes=5)),
        "quota": token("q", state="quota_exhausted", cooling_until=now + timedelta(minutes=5)),
        "expired": token("c", expires_at=now - timedelta(days=1)),
        "missing": token("d", is_missing_there=True),
        "conflict": token("e", conflict={"remark": {"here": "x", "there": "y"}}),
        "not_pushed": token("f", to_push=["add"], push_error="refused"),
        "quota_back": token("g", is_active=False, is_probably_quota=True, cooling_until=now - timedelta(hours=1)),
        "failing": token("h", recent="ooqrrqqo"),
        "expires_soon": token("i", expires_at=now + timedelta(days=1)),
    }
    assert list(cases) == list(TROUBLES)
    for well in ({}, {"is_active": False, "state": "invalid"}, {"recent": "oooooqqrr"}, {"state": "cooling"}):
        token("well", **well)
    token("gone", is_deleted=True, is_active=True, state="invalid")
    found = section("sora")
    assert found.counts["troubled"] == len(cases)
    assert [seen.row.pk for seen in found.troubled] == [row.pk for row in cases.values()]
    for name, seen in zip(cases, found.troubled, strict=True):
        assert seen.trouble.startswith(str(TROUBLES[name]))


def test_a_dying_key_is_on_the_page(admin_client):
    key("well")
    dying = key("dying", state="invalid", last_error="The AI service refused our credential.")
    page = admin_client.get(PAGE)
    assert [seen.row.pk for section in page.context["sections"] for seen in section["troubled"]] == [dying.pk]
    assert "Replace its secret or delete it." in page.text
    listed = admin_client.get(reverse("admin:aiservices_geminikey_changelist"), {"hand": "yes"})
    assert list(listed.context["cl"].result_list) == [dying]


def test_it_asks_no_more_for_more_rows(admin_client):
    def fill(count):
        now = timezone.now()
        for number in range(count):
            token(f"t{number}", state="invalid"), key(f"k{number}", state="invalid")
            AIModel.objects.create(model_id=f"m{AIModel.objects.count()}", name="M", provider="sandbox", type="IMAGE_GENERATION")
            HealthCheck.objects.create(service="sora", status="ok", checked_at=now - timedelta(minutes=number))

    fill(1)
    Service.objects.create(name="sora", status="down", checked_at=timezone.now())
    admin_client.get(PAGE)
    cache.clear()
    with CaptureQueriesContext(connection) as few:
        assert admin_client.get(PAGE).status_code == 200
    fill(MAX_MODELS + 3)
    cache.clear()
    with CaptureQueriesContext(connection) as many:
        page = admin_client.get(PAGE)
    assert len(many) <= len(few) <= 20, "\n".join(query["sql"][:160] for query in many)
    assert [len(section["rows"]) for section in page.context["sections"]] == [MAX_CREDENTIALS] * 2
    assert [len(section["troubled"]) for section in page.context["sections"]] == [MAX_TROUBLED] * 2
    assert len(page.context["models"]) == MAX_MODELS
    assert "All 34 of them" in page.text


def test_no_secret_is_on_it(admin_client, history):
    for address in (PAGE, "/admin/ai-services/paste/sora/", act(GeminiKey.objects.first(), "test")):
        page = admin_client.get(address)
        assert page.status_code == 200
        assert GEMINI_SECRET not in page.text and SORA_SECRET not in page.text
        assert "no-store" in page["Cache-Control"]


# --- who may -------------------------------------------------------------------------------------------------------


def test_everyone_sees_what_they_may(client, history):
    client.force_login(staff("view_geminikey"))
    page = client.get(PAGE)
    assert [section["provider"] for section in page.context["sections"]] == ["gemini"]
    assert (page.context["services"], page.context["models"], page.context["cards"]) == (None, None, [])
    assert "/test/" not in page.text and "paste" not in page.text
    assert "/admin/ai-services/" in client.get("/admin/").text


def test_nobody_else_sees_it(client, db):
    client.force_login(staff("view_tenant"))
    assert client.get(PAGE).status_code == 403
    assert "/admin/ai-services/" not in client.get("/admin/").text
    client.logout()
    assert client.get(PAGE).status_code == 302


def test_acts_need_their_permissions_and_a_post(client, history):
    client.force_login(staff("view_geminikey", "view_soratoken", "view_aimodel", "view_service"))
    one, model = GeminiKey.objects.first(), AIModel.objects.get()
    addresses = [act(one, name) for name in ("test", "enable", "disable")]
    addresses += [reverse(f"admin:billing_aimodel_switch_{name}", args=[model.pk]) for name in ("on", "off")]
    addresses += [f"{PAGE}{name}/" for name in ("check", "sync", "paste/sora", "paste/gemini")]
    for address in addresses:
        assert client.post(address, {"reason": "x", "secrets": "abcdefgh"}).status_code == 403, address
    assert not AuditEntry.objects.exclude(action__in=["key.revoked", "user.create", "login"]).exists()
    User.objects.filter(username="clerk").update(is_superuser=True)
    for name in ("check", "sync"):
        assert client.get(f"{PAGE}{name}/").status_code == 405
    for address in addresses[:5]:
        assert client.get(address).status_code == 200  # asks; changes nothing
    assert not AuditEntry.objects.exclude(action__in=["key.revoked", "user.create", "login"]).exists()


def test_the_ready_operator_may_all_of_it(client, history, gemini):
    user = staff()
    user.groups.add(Group.objects.get(name="operator"))
    client.force_login(user)
    gemini.expect_request("/v1beta/models").respond_with_json({"models": []})
    assert client.post(f"{PAGE}check/").status_code == 302
    page = client.get(PAGE).text
    for name in ("check/", "sync/", "paste/sora/", "paste/gemini/"):
        assert f"{PAGE}{name}" in page


# --- one at a time -------------------------------------------------------------------------------------------------


def test_a_key_is_tested_disabled_and_enabled(admin_client, gemini):
    one = key("one")
    gemini.expect_oneshot_request("/v1beta/models", headers={"x-goog-api-key": one.secret.reveal()}).respond_with_json(
        {"models": []}
    )
    answer = admin_client.post(act(one, "test"), {"next": PAGE}, follow=True)
    assert answer.redirect_chain == [(PAGE, 302)]
    assert f"one {one.masked} works" in said(answer)
    rejection = {"error": {"code": 400, "message": "API key not valid.", "details": [{"reason": "API_KEY_INVALID"}]}}
    gemini.expect_oneshot_request("/v1beta/models").respond_with_json(rejection, status=400)
    answer = admin_client.post(act(one, "test"), {"next": PAGE}, follow=True, headers={"Accept-Language": "zh-hans"})
    assert "不可用" in said(answer) and "provider" not in said(answer)
    one.refresh_from_db()
    assert (one.state, one.last_error.isascii()) == ("invalid", True)
    assert "required" in admin_client.post(act(one, "disable"), {"reason": ""}).text
    one.refresh_from_db()
    assert one.is_active
    admin_client.post(act(one, "disable"), {"reason": "leaked"})
    one.refresh_from_db()
    assert (one.is_active, one.disabled_reason) == (False, "leaked")
    answer = admin_client.post(act(one, "enable"), {"next": "https://elsewhere.example/"})
    assert answer["Location"] == reverse("admin:aiservices_geminikey_change", args=[one.pk])
    one.refresh_from_db()
    assert one.is_active
    rows = AuditEntry.objects.filter(action__startswith="credential.").order_by("id")
    noted = rows.values_list("action", "actor", "reason", "address")
    assert [entry[0] for entry in noted] == ["credential.test", "credential.test", "credential.disable", "credential.enable"]
    assert {entry[1] for entry in noted} == {"admin:root"} and noted[2][2:] == ("leaked", "127.0.0.1")


def test_a_tokens_switch_reaches_the_service_or_waits(admin_client, sora):
    sora.put(access_token("anna@example.com"), email="anna@example.com")
    answer = admin_client.post(f"{PAGE}sync/")
    assert "anna@example.com" in answer.text
    one = SoraToken.objects.get()
    admin_client.post(act(one, "disable"), {"reason": "slow"})
    assert sora.tokens[1]["is_active"] is False
    sora.stop()
    answer = admin_client.post(act(one, "enable"), {"next": PAGE}, follow=True)
    assert "will be pushed to the Sora service as soon as it answers" in said(answer)
    assert sora.tokens[1]["is_active"] is False
    answer = admin_client.post(f"{PAGE}sync/", follow=True)
    assert "cannot be asked, nothing was changed" in said(answer)
    sora.start()
    assert "anna@example.com" in admin_client.post(f"{PAGE}sync/").text
    assert sora.tokens[1]["is_active"] is True
    assert "in step already" in admin_client.post(f"{PAGE}sync/").text


def test_a_form_tells_the_service_after_its_transaction(
    admin_client,
    sora,
    django_capture_on_commit_callbacks,
):
    sora.put(access_token("anna@example.com"), email="anna@example.com")
    admin_client.post(f"{PAGE}sync/")
    form = {"email": "anna@example.com", "remark": "by a form", "is_active": "on", "video_enabled": "on", "weight": "1"}
    form |= dict.fromkeys(("max_in_flight", "daily_limit", "image_concurrency", "video_concurrency"), "-1") | {"priority": "0"}
    with django_capture_on_commit_callbacks(execute=True):
        answer = admin_client.post(act(SoraToken.objects.get(), "change"), form)
        assert answer.status_code == 302, answer.context["errors"]
        assert sora.paths("PUT") == []
    assert sora.tokens[1]["remark"] == "by a form"
    assert SoraToken.objects.get().is_in_step


def test_a_token_that_the_service_lost_is_added_anew(admin_client, sora):
    secret = access_token("anna@example.com")
    admin_client.post(f"{PAGE}paste/sora/", {"secrets": secret})
    sora.tokens.clear()
    assert "Missing at the Sora service" in admin_client.post(f"{PAGE}sync/").text
    form = dict.fromkeys(("max_in_flight", "daily_limit", "image_concurrency", "video_concurrency"), "-1")
    form |= {"secret": secret, "weight": "1", "priority": "0", "is_active": "on"}
    answer = admin_client.post(reverse("admin:aiservices_soratoken_add"), form)
    assert answer.status_code == 302, answer.context["errors"]
    admin_client.post(f"{PAGE}sync/")
    assert sora.by_secret(secret) is not None
    assert SoraToken.objects.get().is_in_step


def test_a_sync_shows_conflicts(admin_client, sora):
    sora.put(access_token("anna@example.com"), email="anna@example.com")
    admin_client.post(f"{PAGE}sync/")
    SoraToken.objects.update(remark="ours", to_push=["fields"])
    sora.tokens[1]["remark"] = "theirs"
    page = admin_client.post(f"{PAGE}sync/").text
    assert "here ours, there theirs" in page
    assert sora.tokens[1]["remark"] == "ours"


def test_a_model_is_switched(admin_client, history):
    model = AIModel.objects.get()
    off, on = (reverse(f"admin:billing_aimodel_switch_{name}", args=[model.pk]) for name in ("off", "on"))
    past = {"reason": "maintenance", "until_0": "2020-01-01", "until_1": "00:00", "next": PAGE}
    assert "lies in the future" in admin_client.post(off, past).text
    answer = admin_client.post(off, past | {"until_0": "2099-01-01"}, follow=True)
    assert "Painter is off." in said(answer) and "maintenance" in answer.text and "admin:root" in answer.text
    model.refresh_from_db()
    assert (model.is_active, model.disabled_until.year) == (False, 2098 if model.disabled_until.month == 12 else 2099)
    admin_client.post(on)
    model.refresh_from_db()
    assert (model.is_active, model.disabled_reason, model.disabled_until) == (True, "", None)
    assert list(AuditEntry.objects.order_by("id").values_list("action", flat=True))[-2:] == ["model.disable", "model.enable"]


# --- many at once --------------------------------------------------------------------------------------------------


def test_forty_are_pasted_with_three_duplicates(admin_client):
    secrets = [f"AIzaPasted{number:02}abcdefghij" for number in range(40)]
    secrets[10], secrets[20], secrets[30] = secrets[1], secrets[2], secrets[3]
    secrets[35] = "has spaces in it 12345"
    pasted = "\n".join(["# from the console", "", *secrets])
    page = admin_client.post(f"{PAGE}paste/gemini/", {"secrets": pasted})
    lines = page.context["lines"]
    assert [count for _name, count, _colour in page.context["counts"]] == [36, 3, 1]
    assert [line["number"] for line in lines if line["name"] == "duplicate"] == [13, 23, 33]
    assert [(line["number"], line["why"]) for line in lines if line["name"] == "invalid"] == [
        (38, "It cannot be told which part of this line is the secret. Paste the secret alone, without spaces.")
    ]
    assert lines[0]["masked"] == "…ghij"
    assert GeminiKey.objects.count() == 36
    assert not [secret for secret in secrets if secret in page.text]
    assert AuditEntry.objects.get(action="credential.import").actor == "admin:root"


@pytest.mark.parametrize("pasted", ["", "# nothing\n", "\n".join(f"AIzaPasted{number:05}" for number in range(1001))])
def test_what_cannot_be_pasted_is_not_shown_again(admin_client, pasted):
    page = admin_client.post(f"{PAGE}paste/gemini/", {"secrets": pasted})
    assert page.status_code == 200 and page.context["form"].errors
    assert "AIzaPasted" not in page.text
    assert not GeminiKey.objects.exists()


def test_pasted_tokens_reach_the_service(admin_client, sora):
    secrets = [access_token(f"user{number}@example.com") for number in range(3)]
    page = admin_client.post(f"{PAGE}paste/sora/", {"secrets": "\n".join([*secrets, secrets[0]])})
    assert [count for _name, count, _colour in page.context["counts"]] == [3, 1, 0]
    assert (page.context["waiting"], len(sora.tokens)) == (0, 3)
    sora.stop()
    page = admin_client.post(f"{PAGE}paste/sora/", {"secrets": access_token("late@example.com")})
    assert page.context["waiting"] == 1
    assert admin_client.get(f"{PAGE}paste/openai/").status_code == 404


def bulk(client, name, rows, **more):
    data = {"action": f"{name}_selected", "_selected_action": [row.pk for row in rows], **more}
    return client.post(reverse(f"admin:aiservices_{rows[0]._meta.model_name}_changelist"), data, follow=True)


def test_many_are_disabled_after_a_confirmation(admin_client):
    rows = [key(f"k{number}") for number in range(3)]
    page = bulk(admin_client, "disable", rows[:2])
    assert "2 credentials" in page.text and rows[0].masked in page.text
    assert GeminiKey.objects.filter(is_active=True).count() == 3
    assert "required" in bulk(admin_client, "disable", rows[:2], post="yes", reason="").text
    answer = bulk(admin_client, "disable", rows[:2], post="yes", reason="spring clean")
    assert "2 are disabled." in said(answer)
    assert list(GeminiKey.objects.filter(disabled_reason="spring clean").order_by("name")) == rows[:2]
    assert "1 is enabled." in said(bulk(admin_client, "enable", rows[:1], post="yes"))
    answer = bulk(admin_client, "delete", rows, post="yes")
    assert GeminiKey.objects.count() == 0
    assert AuditEntry.objects.filter(action="credential.delete").count() == 3


def test_many_are_tested(admin_client, gemini):
    good, bad = key("good"), key("bad")
    gemini.expect_request("/v1beta/models", headers={"x-goog-api-key": good.secret.reveal()}).respond_with_json({"models": []})
    gemini.expect_request("/v1beta/models", headers={"x-goog-api-key": bad.secret.reveal()}).respond_with_json({}, status=403)
    told = said(bulk(admin_client, "test", [good, bad], post="yes"))
    assert f"good {good.masked} works" in told and f"bad {bad.masked} does not work" in told
    assert list(GeminiKey.objects.order_by("name").values_list("state", flat=True)) == ["invalid", "ready"]


def test_bulk_acts_need_the_permission(client, db):
    client.force_login(staff("view_geminikey"))
    one = key("one")
    bulk(client, "disable", [one], post="yes", reason="x")
    one.refresh_from_db()
    assert one.is_active


def test_lines_that_are_no_bare_secrets(admin_client):
    page = admin_client.post("/admin/ai-services/paste/gemini/", {"secrets": "\n".join(["# ours", *LINES])})
    text = page.content.decode()
    assert [key.name for key in GeminiKey.objects.order_by("id")] == ["frankfurt", "", ""]
    assert 'data-line="4"' in text and "a number" in text and "cut or hidden" in text
    assert not any(secret in text for secret in (G, H, OTHER))


def test_a_key_is_used_again_now(admin_client):
    one = key("one")
    lease = pool.lease(provider="gemini", model="gemini-3-pro-image")
    pool.report(lease.lease_id, "quota_exhausted", 3600, "402: Prepaid credit <b>is used up</b>.")
    page = admin_client.get(PAGE).content.decode()
    assert "quota or its balance is used up" in page
    assert "402: Prepaid credit &lt;b&gt;is used up&lt;/b&gt;." in page and "Last attempts: Quota exhausted" in page
    form = admin_client.get(act(one, "change")).content.decode()
    assert "gemini-3-pro-image" in form and "402: Prepaid credit &lt;b&gt;is used up&lt;/b&gt;." in form
    assert "This cannot be undone" in admin_client.get(act(one, "use_again")).text
    assert "This field is required" in admin_client.post(act(one, "use_again"), {"reason": " "}).text
    assert not AuditEntry.objects.filter(action="credential.use_again").exists()
    assert admin_client.post(act(one, "use_again"), {"reason": "bought more"}).status_code == 302
    assert AuditEntry.objects.get(action="credential.use_again").reason == "bought more"
    one.refresh_from_db()
    assert (one.state, one.cooling_until) == ("ready", None)
    pool.report(pool.lease(provider="gemini", model="m").lease_id, "rate_limited", 60, is_of_model=True)
    assert "Use again now" in admin_client.get(act(one, "change")).content.decode()


def test_models_that_end_soon_are_shown_as_such(admin_client):
    on = timezone.now().date() + timedelta(days=12)
    AIModel.objects.create(
        model_id="old", name="Old", provider="gemini", type="IMAGE_GENERATION", retires_at=on, replaced_by="new"
    )
    page = admin_client.get(PAGE).text
    assert f"Its provider ends it on {on.isoformat()}." in page and "Replaced by new." in page
