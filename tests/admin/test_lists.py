"""Every list and page opens, tells no secret, and asks no more of the database when there are more rows."""

import csv
import io
from uuid import uuid4

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from aiservices.credentials.models import GeminiKey, SoraToken
from billing.budgets.models import Budget
from billing.catalog.models import AIModel, BillingRule, CatalogVersion, LevelConfig
from billing.ledger.closings import LedgerArchive
from billing.ledger.models import Account, LedgerEntry
from billing.monitoring.models import Alert, AlertThreshold, ReconcileRun
from storage.models import OssConfig, StoredObject
from tenants.models import ApiKey, AuditEntry, Level, Tenant, User
from tenants.webhooks.models import OutboxMessage, Webhook
from tests.admin.conftest import SECRETS, make_history
from tests.admin.pages import address

REGISTERED = [model for model in admin.site._registry if model._meta.app_label in ("tenants", "billing", "storage", "aiservices")]
HISTORY = ["account", "ledgerentry", "charge", "hold", "refund", "auditentry", "generation", "storedobject"]


def test_nothing_is_missing():
    names = {model._meta.model_name for model in admin.site._registry}
    assert {"user", "group", "tenant", "apikey", "aimodel", "soratoken", "geminikey", "ossconfig", *HISTORY} <= names
    assert "totpdevice" not in names  # its page would show the secret


@pytest.mark.parametrize("model", REGISTERED, ids=lambda model: model._meta.model_name)
def test_a_list_and_its_pages_open_without_secrets(admin_client, history, model):
    pages = [address(model), f"{address(model)}?q=acme", f"{address(model)}?q=1"]
    pages += [address(model, "change", row.pk) for row in model._default_manager.all()[:1]]
    for page in pages:
        answer = admin_client.get(page)
        assert answer.status_code == 200, page
        for secret in SECRETS:
            assert secret not in answer.text
        assert "<script>alert" not in answer.text


@pytest.mark.parametrize("model", REGISTERED, ids=lambda model: model._meta.model_name)
def test_a_list_asks_no_more_for_more_rows(admin_client, root, model):
    make_rest(make_history(2), 2)
    assert model._default_manager.count() >= 2
    admin_client.get(address(model))
    with CaptureQueriesContext(connection) as few:
        admin_client.get(address(model))
    make_more()
    assert model._default_manager.count() >= 5
    with CaptureQueriesContext(connection) as many:
        admin_client.get(address(model))
    assert len(many) <= len(few) <= 12, "\n".join(query["sql"][:200] for query in many)


def make_more() -> None:
    AIModel.objects.filter(model_id="painter").update(model_id="older")
    StoredObject.objects.filter(object_key__isnull=False).update(object_key=None)
    for row in User.objects.filter(username__startswith="user"):
        User.objects.filter(pk=row.pk).update(username=f"old-{row.pk}")
    for cls, field in ((ApiKey, "key_hash"), (GeminiKey, "fingerprint"), (SoraToken, "fingerprint")):
        for row in cls.objects.all():
            cls.objects.filter(pk=row.pk).update(**{field: str(row.pk)})
    LevelConfig.objects.all().delete()
    make_rest(make_history(8), 8)


def make_rest(tenant: Tenant, count: int) -> None:
    """Rows of the tables that a tenant's history leaves empty."""
    now = timezone.now()
    levels = [Level.USER, Level.VIP, Level.SVIP, Level.INTERNAL, Level.ADMIN]
    for number in range(count):
        other = Tenant.objects.create(name=f"Other {number}")
        account, _ = Account.objects.get_or_create(tenant=other, mode="live")
        AlertThreshold.objects.create(account=account, low_balance=5)
        Budget.objects.create(tenant=other, period="day", limit_credits=100)
        Alert.objects.create(key=f"balance.low:{account.pk}", kind="balance.low", raised_at=now, tenant=other)
        Webhook.objects.create(tenant=other, url="https://example.com/hook", secret="whsec")
        OutboxMessage.objects.create(tenant=other, kind="video.completed", payload={})
        OssConfig.objects.create(tenant=other, mode="custom", bucket="other", access_key_secret="sealed")
        ReconcileRun.objects.create(started_at=now, finished_at=now, ok=True, accounts=1, entries=1, holds=0, charges=0)
        AIModel.objects.create(model_id=f"{tenant.pk}-{number}", name="Model", provider="sandbox", type="IMAGE_GENERATION")
        BillingRule.objects.create(name="Rule", node_type=f"{tenant.pk}-{number}", billing_type="image")
        CatalogVersion.objects.create(number=CatalogVersion.objects.count() + 1000, author="root", document={})
        Group.objects.create(name=f"{tenant.pk} {number}")
        numbers = dict.fromkeys(("size_bytes", "accounts", "entries", "credits"), 1)
        month = f"2020-{LedgerArchive.objects.count() + 1:02}"
        LedgerArchive.objects.create(month=month, until=now, created_at=now, file=f"{month}.jsonl.gz", **numbers)
    for level in levels[:count]:
        LevelConfig.objects.get_or_create(level=level)


@pytest.mark.parametrize("name", HISTORY)
def test_history_is_read_only(admin_client, history, name):
    model = next(each for each in REGISTERED if each._meta.model_name == name)
    row = model._default_manager.first()
    assert admin_client.get(address(model, "add")).status_code == 403
    assert admin_client.post(address(model, "delete", row.pk), {"post": "yes"}).status_code == 403
    assert admin_client.post(address(model, "change", row.pk), {}).status_code == 403
    count = model._default_manager.count()
    admin_client.post(address(model), {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"})
    assert model._default_manager.count() == count


def test_a_list_is_paged_by_key(admin_client, history):
    newest = list(LedgerEntry.objects.filter(kind="CONSUME").order_by("-pk").values_list("pk", flat=True))
    base = address(LedgerEntry)

    def page(query):
        return admin_client.get(base + query, follow=True).context["cl"]

    site = admin.site._registry[LedgerEntry]
    size, site.list_per_page = site.list_per_page, 2
    try:
        first = page("?kind__exact=CONSUME")
        assert [row.pk for row in first.result_list] == newest[:2]
        assert not first.newer_url
        second = page(first.older_url)
        assert [row.pk for row in second.result_list] == newest[2:]
        assert not second.older_url
        again = page(second.newer_url)
        assert [row.pk for row in again.result_list] == newest[:2]
        assert not again.newer_url
        for mangled in ("x", "1e9", str(2**70), "%00"):
            assert [row.pk for row in page(f"?before={mangled}&kind__exact=CONSUME").result_list] == newest[:2]
    finally:
        site.list_per_page = size


def test_a_list_never_counts_the_rows_that_a_filter_leaves(admin_client, history):
    with CaptureQueriesContext(connection) as queries:
        admin_client.get(address(LedgerEntry), {"kind__exact": "CONSUME"})
    assert not [query for query in queries if "COUNT(" in query["sql"] and "ledgerentry" in query["sql"]]


def test_a_search_asks_only_for_what_there_is(admin_client, history):
    """An OR of columns makes the planner read a table of millions from its newest row on."""
    charge = LedgerEntry.objects.filter(kind="CONSUME").first().charge
    for term, count in ((str(charge.pk), 1), ("acme", 3), ("nobody of that name", 0), (str(uuid4()), 0)):
        with CaptureQueriesContext(connection) as queries:
            shown = admin_client.get(address(LedgerEntry), {"q": term, "kind__exact": "CONSUME"}).context["cl"]
        assert shown.result_count == count, term
        assert not [query for query in queries if "ledgerentry" in query["sql"] and " OR " in query["sql"]], term


def test_values_of_a_filter_are_found_without_reading_every_row(admin_client, history):
    AuditEntry.objects.bulk_create([AuditEntry(actor="test", action=f"made.{number % 3}") for number in range(9)])
    with CaptureQueriesContext(connection) as queries:
        page = admin_client.get(address(AuditEntry)).text
    assert all(f"action=made.{number}" in page for number in range(3))
    assert not [query for query in queries if "DISTINCT" in query["sql"]]


def test_csv_is_harmless_and_has_no_secrets(admin_client, history):
    answer = admin_client.get(address(LedgerEntry, "export"), {"kind__exact": "CONSUME"})
    rows = list(csv.DictReader(io.StringIO(answer.getvalue().decode("utf-8-sig"))))
    assert len(rows) == 3
    assert rows[0]["description"] == "'=HYPERLINK(1)"
    assert rows[0]["amount"] == "-7"
    assert "no-store" in answer["Cache-Control"]
    for model in REGISTERED:
        text = admin_client.get(address(model, "export")).getvalue().decode()
        assert not [secret for secret in SECRETS if secret in text]
        assert "key_hash" not in text
        assert "password" not in text.splitlines()[0]


def test_selected_rows_as_csv(admin_client, history):
    row = LedgerEntry.objects.first()
    answer = admin_client.post(address(LedgerEntry), {"action": "export_selected", "_selected_action": [row.pk]})
    assert len(answer.getvalue().decode().splitlines()) == 2


def test_csv_needs_the_permission_to_view(client, history):
    from tenants.models import User

    client.force_login(User.objects.create_user("clerk", password="x", is_staff=True))
    assert client.get(address(LedgerEntry, "export")).status_code == 403


def test_the_first_page(admin_client, history):
    answer = admin_client.get(reverse("admin:index"))
    assert answer.status_code == 200
    assert "<script>alert" not in answer.text
    assert "Acme" in answer.text
