"""What pages say: words beside codes, no tuple, no internal code alone, nothing offered that would be refused."""

import html
import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone, translation

from aiservices.credentials.models import CredentialLease, GeminiKey
from aiservices.generations.models import Generation
from billing.catalog.models import AIModel
from billing.ledger.models import Charge, LedgerEntry
from billing.monitoring.models import Alert, ReconcileRun
from gateway_client import addresses
from storage.models import OssConfig
from storage.quota_field import QuotaField, size_in_words
from tenants import audit
from tenants.admin.permissions import permission_in_words
from tenants.admin.words import action_in_words, actor_in_words
from tenants.models import AuditEntry, User
from tenants.webhooks.models import OutboxMessage
from tests.admin.conftest import GEMINI_SECRET
from waule.site.unfold_strings import ADDRESSES, SCRIPT_TEXTS

pytestmark = pytest.mark.once  # the database makes no difference

APPS = ("tenants", "billing", "storage", "aiservices")
NUMBERED_NAMES = {"name"}  # credentials of `history` are called 0, 1 and 2
TUPLE = re.compile(r"\(&#x27;|\(&quot;\w+&quot;, ")


@pytest.fixture
def everything(history):
    """Rows of what `history` has not: messages, alerts, reconciliation runs."""
    for state in ("pending", "delivered", "failed"):
        OutboxMessage.objects.create(tenant=history, kind="video.failed", payload={}, state=state)
    Alert.objects.create(key="balance:1", kind="balance.low", is_raised=True, raised_at=timezone.now())
    timestamp = timezone.now()
    counts = {"accounts": 1, "entries": 1, "holds": 1, "charges": 1, "problem_count": 0}
    ReconcileRun.objects.create(started_at=timestamp, finished_at=timestamp, ok=True, **counts)
    return history


def test_no_page_shows_a_tuple(admin_client, everything):
    for model in [each for each in admin.site._registry if each._meta.app_label in APPS]:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        pages = [reverse(f"{name}_changelist")]
        pages += [reverse(f"{name}_change", args=[row.pk]) for row in model._default_manager.all()[:1]]
        for page in pages:
            shown = re.sub(r"<(script|pre)\b.*?</\1>", "", admin_client.get(page).text, flags=re.DOTALL)
            assert TUPLE.search(shown) is None, page


def test_short_lists_can_be_sorted(admin_client):
    for model, model_admin in admin.site._registry.items():
        if getattr(model_admin, "is_large", True) is False and model._meta.app_label in (*APPS, "auth"):
            assert model_admin.sortable_by is None, model
            assert (
                "9999999999"
                not in admin_client.get(reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")).text
            )


def test_what_was_delivered_has_no_next_try(admin_client, everything):
    page = admin_client.get(reverse("admin:tenants_outboxmessage_changelist")).text
    cells = [re.sub(r"<.*?>|\s", "", cell) for cell in re.findall(r'<td class="field-shown_next.*?</td>', page, re.DOTALL)]
    assert len(cells) == 3
    assert cells.count("–") == 2
    assert "Video failed" in page


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("credits.grant", "Credits: granted"),
        ("key.revoke", "API key: revoked"),
        ("credential.pull", "Credential: updated from the service"),
        ("login.failed", "Login failed"),
        ("x.y", "x.y"),
    ],
)
def test_actions_in_words(action, words):
    with translation.override("en"):
        assert action_in_words(action) == words


def test_actors_in_words():
    with translation.override("en"):
        assert [actor_in_words(each) for each in ("admin:root", "command", "", "odd")] == [
            "Staff: root",
            "Command line",
            "–",
            "odd",
        ]


def test_the_history_of_an_object_is_what_the_audit_log_keeps(admin_client, history):
    model = AIModel.objects.get()
    audit.record(actor="command", action="model.disable", target=model, reason="too dear")
    audit.record(actor="command", action="tenant.create", target=history, reason="another")
    answer = admin_client.get(reverse("admin:billing_aimodel_history", args=[model.pk]), follow=True)
    (entry,) = answer.context["cl"].result_list
    assert (entry.action, entry.target_id) == ("model.disable", str(model.pk))
    assert "Model: switched off" in answer.text


@pytest.mark.parametrize(("typed", "size"), [("10 GB", 10 << 30), ("500mb", 500 << 20), ("1.5 KB", 1536), ("", None), ("0", 0)])
def test_a_quota_is_read_with_its_unit(typed, size):
    assert QuotaField(required=False).clean(typed) == size


@pytest.mark.parametrize("typed", ["10", "-1", "ten", "10 XB", "9999999 PB"])
def test_a_quota_without_a_unit_is_refused(typed):
    from django.forms import ValidationError

    with pytest.raises(ValidationError):
        QuotaField(required=False).clean(typed)


def test_a_size_reads_back_as_it_was_typed():
    for size in (0, 1, 99, 1536, 10 << 30, (1 << 40) + 1):
        assert QuotaField().to_python(size_in_words(size)) == size


def test_what_would_be_refused_is_not_offered_for_confirmation(admin_client, history):
    charge = Charge.objects.order_by("pk").first()
    refund = reverse("admin:billing_refund", args=[charge.pk])
    key = {"idempotency_key": "9b2f0c6e-7c0a-4b07-8e9d-111111111111", "reason": "x"}
    answer = admin_client.post(refund, key | {"credits": "999"})
    assert "Not more than 6 credits are possible." in answer.text
    assert 'name="confirmed" value="1"' not in answer.text
    adjust = reverse("admin:billing_adjust", args=[charge.account_id])
    for credits in ("-101", "0"):
        answer = admin_client.post(adjust, key | {"credits": credits})
        assert 'name="confirmed" value="1"' not in answer.text, credits
    assert 'name="confirmed" value="1"' in admin_client.post(adjust, key | {"credits": "-100"}).text


def test_a_charge_with_nothing_left_has_no_refund_form(admin_client, history):
    charge = Charge.objects.order_by("pk").first()
    Charge.objects.filter(pk=charge.pk).update(refunded=7)
    answer = admin_client.get(reverse("admin:billing_refund", args=[charge.pk]), follow=True)
    assert answer.redirect_chain[0][0] == reverse("admin:billing_charge_change", args=[charge.pk])
    assert "Nothing is left to refund." in answer.text


def test_empty_lists_ask_to_add_only_what_can_be_added(admin_client, db):
    refunds = admin_client.get(reverse("admin:billing_refund_changelist")).text
    assert "No entries yet" in refunds
    assert "Add the first one" not in refunds
    assert "Add the first one" in admin_client.get(reverse("admin:tenants_tenant_changelist")).text
    assert "No results found" in admin_client.get(reverse("admin:billing_refund_changelist") + "?q=x").text


def test_a_bucket_that_is_not_used_says_so(admin_client, history):
    config = OssConfig.objects.get()
    page = reverse("admin:storage_ossconfig_change", args=[config.pk])
    assert "This bucket is not used" not in admin_client.get(page).text
    OssConfig.objects.update(mode="platform")
    assert "This bucket is not used" in admin_client.get(page).text


def test_the_end_before_the_beginning_is_said_beside_the_field(admin_client, history):
    account = LedgerEntry.objects.first().account_id
    query = {"since_0": "2026-11-02", "since_1": "00:00", "until_0": "2026-11-01", "until_1": "00:00"}
    form = admin_client.get(reverse("admin:billing_statement", args=[account]), query).context["form"]
    assert form.errors == {"until": ["The end lies before the beginning."]}


def test_a_generation_tells_its_story(admin_client, history):
    first, second, other = Generation.objects.order_by("pk")
    Generation.objects.filter(pk=second.pk).update(prompt=first.prompt, created_at=first.created_at + timedelta(seconds=1))
    Generation.objects.filter(pk=first.pk).update(
        request_id="req-17", completed_at=timezone.now(), error_code="upstream_error", started_at=timezone.now(), attempt=2
    )
    OutboxMessage.objects.create(id=first.pk, tenant=history, kind="video.failed", payload={})
    credential, gone = GeminiKey.objects.first(), uuid.uuid4()
    for pk, outcome, said in ((credential.pk, "quota_exhausted", "You exceeded your quota"), (gone, "ok", "")):
        CredentialLease.objects.create(
            provider="gemini", credential_id=pk, generation_id=first.pk, created_at=first.created_at, expires_at=timezone.now(),
            ended_at=first.created_at + timedelta(seconds=4.2), outcome=outcome, message=said,
        )  # fmt: skip
    page = admin_client.get(reverse("admin:aiservices_generation_change", args=[first.pk])).text
    story = page[page.index('id="generation-story"') :]
    for told in ("req-17", "Charged", "Refunded", "attempt 2", "The provider failed", "Video failed", "has paid 6 credits"):
        assert told in story, told
    for told in (credential.masked, "Quota exhausted · 4.2 s", "You exceeded your quota", "a deleted credential", "Ok · 4.2 s"):
        assert told in story, told
    assert "7 were charged and 1 refunded." in story
    assert "paid 6" in story  # the near-twin
    assert GEMINI_SECRET not in story
    assert reverse("admin:billing_refund", args=[first.charge_id]) in story
    assert reverse("admin:aiservices_generation_change", args=[second.pk]) in story
    assert reverse("admin:aiservices_generation_change", args=[other.pk]) not in story
    assert reverse("admin:billing_refund", args=[first.charge_id]) in page


def test_a_generations_page_asks_no_more_for_more_attempts_and_twins(admin_client, history):
    def queries() -> list[str]:
        with CaptureQueriesContext(connection) as found:
            assert admin_client.get(reverse("admin:aiservices_generation_change", args=[first.pk])).status_code == 200
        return [query["sql"] for query in found]

    def add(number: int) -> None:
        key = GeminiKey.objects.create(name=f"{number}", secret=f"more-{number}", fingerprint=f"more-{number}", masked="…")
        lease = {"provider": "gemini", "credential_id": key.pk, "generation_id": first.pk, "outcome": "ok"}
        CredentialLease.objects.create(**lease, created_at=now, ended_at=now, expires_at=now)
        twin = {"type": first.type, "tenant": history, "model": first.model, "prompt": first.prompt, "created_at": now}
        Generation.objects.create(**twin, state="failed")

    first, now = Generation.objects.order_by("pk").first(), timezone.now()
    add(0)
    few = queries()
    for number in range(1, 10):
        add(number)
    many = queries()
    assert len(many) == len(few) <= 22, "\n".join(query[:160] for query in many)


def test_dates_are_written_one_way(admin_client, history):
    entry = AuditEntry.objects.first()
    written = timezone.localtime(entry.at).strftime("%Y-%m-%d %H:%M:%S")
    for language in ("en", "zh-hans"):
        page = admin_client.get(reverse("admin:tenants_auditentry_changelist"), headers={"accept-language": language})
        assert written in page.text, language


def test_fields_that_say_nothing_are_marked_for_the_page_to_hide(admin_client, history):
    page = admin_client.get(reverse("admin:billing_simulator")).text
    assert 'data-applies-to="PER_CHARACTER"' in page
    assert "data-billing-types" in page
    form = admin_client.get(reverse("admin:billing_billingrule_add")).text
    assert re.search(r'x-show="[^"]*PER_DURATION[^"]*billing_type', form)


def test_webhooks_of_keys_are_pointed_out_beside_those_of_tenants(admin_client, history):
    page = reverse("admin:tenants_webhook_changelist")
    assert "webhook_url__isempty=0" not in admin_client.get(page).text
    history.api_keys.filter(name="key 1").update(webhook_url="https://example.com/hook")
    assert "webhook_url__isempty=0" in admin_client.get(page).text
    keys = admin_client.get(reverse("admin:tenants_apikey_changelist") + "?webhook_url__isempty=0").context["cl"].result_list
    assert [key.name for key in keys] == ["key 1"]


# --- Chinese throughout ----------------------------------------------------------------------------------------------

CHINESE = {"accept-language": "zh-hans"}
OWN_PAGES = ("index", "ai_services", "billing_simulator", "password_change", "second_factor_setup", "tenants_user_add")
UNSPOKEN = re.compile(
    r"<!DOCTYPE html>|<!--.*?-->|<(script|style|pre|code|textarea|template)\b.*?</\1>"
    r'|<span [^>]*class="[^"]*(?:material-symbols-outlined|waule-mask)[^"]*"[^>]*>.*?</span>',
    re.DOTALL,
)
# Names of products and formats, and what `history` and `everything` made up.
NAMES = re.compile(
    r"waule|manage\.py \w+|Sora|Gemini|OpenAI|OSS|API|CSV|JSON|YAML|URL|Webhook|LDAP|SHA-256|S?VIP|Ctrl|Control|Mac|Command|esc"
    r"|English|[Aa]cme|[Pp]ainter|sandbox|Tenant \d|root|user\d|key \d|batch [\w-]+|a test"
    r"|</?script>|alert\(\d\)|a whale|=HYPERLINK"
    r"|https?://\S+|[\w.]+@\S+|wk_\S+|…\w+|zh-hans|[0-9a-f]{8}-[0-9a-f-]+|[0-9a-f]{8,}|[A-Z_]{6,}|/\S+|\w+\*{3,}|\b\w+[:.]\S+"
)


def pages_of_everything() -> list[str]:
    """Every list, the form to add a row, and the page of a row of each kind."""
    pages = [reverse(f"admin:{name}") for name in OWN_PAGES]
    for model in admin.site._registry:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        pages += [reverse(f"{name}_changelist"), reverse(f"{name}_add")]
        pages += [reverse(f"{name}_change", args=[row.pk]) for row in model._default_manager.all()[:1]]
    return pages


def texts_of(page: str) -> set[str]:
    shown = re.sub(r"<[a-zA-Z/](?:\"[^\"]*\"|'[^']*'|[^>\"'])*>", "\n", UNSPOKEN.sub("\n", page))
    return {html.unescape(line).strip() for line in shown.split("\n")}


def test_no_page_is_half_english_in_chinese(admin_client, everything):
    english = {}
    for page in pages_of_everything():
        answer = admin_client.get(page, headers=CHINESE, follow=True)
        for text in texts_of(answer.text) if answer.status_code == 200 else ():
            if re.search(r"[A-Za-z]{3}", NAMES.sub("", text)):
                english.setdefault(text, page)
    assert english == {}


def test_every_permission_has_its_chinese(db):
    product = re.compile(r"Sora|Gemini|API|AI|Webhook")
    for permission in Permission.objects.select_related("content_type"):
        with translation.override("zh-hans"):
            said = permission_in_words(permission)
        assert re.search("[A-Za-z]", product.sub("", said)) is None, said
        with translation.override("en"):
            assert permission_in_words(permission).endswith(f"| {permission.name}")


def test_permissions_and_groups_are_named_in_the_readers_language(admin_client, client, root):
    auditors = Group.objects.get(name="auditor")
    page = reverse("admin:auth_group_change", args=[auditors.pk])
    shown = admin_client.get(page, headers=CHINESE).text
    assert "计费 | 可以退还扣费" in shown
    assert "Can " not in shown
    root.groups.add(auditors)
    person = admin_client.get(reverse("admin:tenants_user_change", args=[root.pk]), headers=CHINESE).text
    assert "审计员" in person
    staff = User.objects.create_user("reader", is_staff=True)
    staff.groups.add(auditors)
    client.force_login(staff)
    shown = client.get(page, headers=CHINESE).text
    assert "计费 | 可以查看 扣费" in shown
    assert "Can " not in shown
    assert "审计员" in client.get(reverse("admin:tenants_user_change", args=[staff.pk]), headers=CHINESE).text


def test_the_forms_of_staff_still_save_groups_and_permissions(admin_client, root):
    auditors, charge = Group.objects.get(name="auditor"), Permission.objects.get(codename="refund_charge")
    page = reverse("admin:auth_group_change", args=[auditors.pk])
    versions = {name: value for name, value in hidden_fields(admin_client.get(page).text).items() if "version" in name}
    answer = admin_client.post(page, versions | {"name": "auditor", "permissions": [charge.pk]})
    assert answer.status_code == 302, answer.context["adminform"].form.errors
    assert list(auditors.permissions.all()) == [charge]


def hidden_fields(page: str) -> dict[str, str]:
    inputs = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page)
    return {name: html.unescape(value) for name, value in inputs}


def test_scripts_are_given_their_texts_in_chinese(admin_client):
    shown = admin_client.get(reverse("admin:jsi18n"), headers=CHINESE).text
    for text in SCRIPT_TEXTS:
        with translation.override("zh-hans"):
            assert translation.gettext(text) != text
            assert json.dumps(translation.gettext(text)) in shown, text


def test_why_an_address_is_not_called_can_be_translated():
    source = Path(addresses.__file__).read_text()
    told = {addresses.NOT_PUBLIC, *re.findall(r'Forbidden\("([^"]+)"\)', source)}
    assert len(told) > 5
    assert told <= set(ADDRESSES)


def test_deleting_a_group_names_no_rows_that_merely_join(admin_client):
    page = admin_client.get(reverse("admin:auth_group_delete", args=[Group.objects.get(name="auditor").pk])).text
    assert "auditor" in page
    assert "relationship" not in page


def test_pages_are_called_by_words(admin_client, everything):
    charge = Charge.objects.order_by("pk").first()
    Charge.objects.filter(pk=charge.pk).update(operation="image_generation")
    entry = AuditEntry.objects.create(
        actor="command", action="credits.refund", target_name="image_generation 7", reason="upstream_error",
        after={"expiresAt": "2026-12-30T10:32:55.278819+00:00", "scopes": ["read"]},
    )  # fmt: skip
    for row, words in (
        (charge, "图片生成 7"),
        (entry, "积分：已退款 · 图片生成 7"),
        (Alert.objects.first(), "余额过低"),
        (OutboxMessage.objects.get(state="pending"), "视频失败"),
    ):
        address = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
        shown = admin_client.get(address, headers=CHINESE)
        assert words in shown.text, row
        assert re.search(rf"<title>\s*{words} \|", shown.text), row
    shown = admin_client.get(reverse("admin:tenants_auditentry_changelist"), headers=CHINESE).text
    written = timezone.localtime(datetime(2026, 12, 30, 10, 32, 55, tzinfo=UTC)).strftime("%Y-%m-%d %H:%M:%S")
    for words in ("图片生成 7", "提供商出错", written):
        assert words in shown, words
    assert "upstream_error" not in shown


def test_numbers_end_where_the_next_one_ends(admin_client, everything):
    """Whatever column of a list holds numbers alone is aligned by the stylesheet, its heading as well."""
    css = (settings.BASE_DIR / "waule/static/waule/admin.css").read_text()
    left: set[str] = set()
    number = re.compile(r"[+−-]?\d[\d,.]*(\s?([KMGT]?B|bytes|字节))?")
    for model in admin.site._registry:
        page = admin_client.get(reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")).text
        columns: dict[str, list[str]] = {}
        for name, cell in re.findall(r'<td class="(?:[^"]*\s)?field-(\w+)[^"]*".*?>(.*?)</td>', page, re.DOTALL):
            columns.setdefault(name, []).append(html.unescape(re.sub(r"<[^>]*>", "", cell)).replace("\xa0", " ").strip())
        numbers = {name for name, cells in columns.items() if all(number.fullmatch(cell) for cell in cells)} - NUMBERED_NAMES
        left |= {name for name in numbers if not all(re.search(rf"\.{part}-{name}\b", css) for part in ("field", "column"))}
    assert left == set()
