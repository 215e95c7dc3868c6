"""Lists as one person wants them: columns, kept filters, date ranges; and the audit log in words."""

from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from billing.ledger.models import Account, Charge
from billing.services import grant
from tenants import audit
from tenants.admin.words import changes_in_words
from tenants.models import AuditEntry, Tenant, User
from tenants.principal import Principal
from tests.archive.conftest import History
from tests.books import body
from tests.callers import confirm_password
from tests.catalog import priced_model

CHARGES = "admin:billing_charge_changelist"
OWN = "admin:billing_charge_own_list"


def columns_of(client: Any, name: str) -> list[str]:
    return [str(column) for column in client.get(reverse(name)).context["cl"].list_display if column != "action_checkbox"]


def test_columns_are_kept_for_one_person_alone(admin_client: Any, history: Tenant, client: Any) -> None:
    everything = columns_of(admin_client, CHARGES)
    form = admin_client.get(reverse(OWN)).context["form"]
    offered = [name for name, _label in form.fields["columns"].choices]
    assert everything[0] not in offered and set(offered) == set(everything[1:])
    admin_client.post(reverse(OWN), {"columns": offered[:2]})
    assert columns_of(admin_client, CHARGES) == [everything[0], *offered[:2]]
    other = User.objects.create_superuser("olga", password="x")
    client.force_login(other)
    assert columns_of(client, CHARGES) == everything
    admin_client.post(reverse(OWN), {"columns": []})
    assert columns_of(admin_client, CHARGES) == everything[:1]
    admin_client.post(reverse(OWN), {"columns": offered})
    assert columns_of(admin_client, CHARGES) == everything


def test_columns_that_are_no_more_show_the_whole_list(admin_client: Any, history: Tenant) -> None:
    User.objects.filter(username="root").update(list_preferences={"admin:billing.charge": {"columns": ["long_gone"]}})
    assert len(columns_of(admin_client, CHARGES)) > 2
    User.objects.filter(username="root").update(list_preferences={"admin:billing.charge": "nonsense"})
    assert admin_client.get(reverse(CHARGES)).status_code == 200


def test_filters_are_kept_used_and_removed(admin_client: Any, history: Tenant) -> None:
    url = f"{reverse(OWN)}?since=24h&before=1"
    assert admin_client.get(url).context["form"].initial["query"] == "since=24h"
    columns = [name for name, _label in admin_client.get(url).context["form"].fields["columns"].choices]
    answer = admin_client.post(reverse(OWN), {"columns": columns, "name": "今天", "query": "since=24h"})
    assert answer["Location"] == f"{reverse(CHARGES)}?since=24h"
    page = admin_client.get(reverse(CHARGES)).content.decode()
    assert 'href="?since=24h"' in page and "今天" in page
    assert admin_client.get(f"{reverse(CHARGES)}?since=24h").status_code == 200
    admin_client.post(reverse(OWN), {"columns": columns, "removed": ["今天"]})
    assert "今天" not in admin_client.get(reverse(CHARGES)).content.decode()


def test_a_list_keeps_a_bounded_number_of_filters(admin_client: Any, history: Tenant) -> None:
    filters = [{"name": str(number), "query": "since=1h"} for number in range(20)]
    User.objects.filter(username="root").update(list_preferences={"admin:billing.charge": {"filters": filters}})
    answer = admin_client.post(reverse(OWN), {"columns": [], "name": "one more", "query": "since=1h"})
    assert "at most 20 filters" in answer.content.decode()
    assert admin_client.post(reverse(OWN), {"columns": [], "name": "7", "query": "since=7d"}).status_code == 302


def test_a_list_of_ones_own_needs_the_permission_to_view(client: Any, history: Tenant) -> None:
    client.force_login(User.objects.create_user("nobody", password="x", is_staff=True))
    assert client.get(reverse(OWN)).status_code == 403


# --- date ranges -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["billing_ledgerentry", "billing_charge", "tenants_auditentry", "aiservices_generation"])
def test_lists_have_date_ranges(admin_client: Any, history: Tenant, name: str) -> None:
    field = "at" if name == "tenants_auditentry" else "created_at"
    today = timezone.localtime()
    url = reverse(f"admin:{name}_changelist")

    def count(since: Any, until: Any) -> int:
        answer = admin_client.get(f"{url}?{field}_from={since:%Y-%m-%d}&{field}_to={until:%Y-%m-%d}")
        assert answer.status_code == 200
        return len(answer.context["cl"].result_list)

    assert count(today, today) >= 3
    assert count(today - timedelta(days=9), today - timedelta(days=2)) == 0
    assert count(today + timedelta(days=2), today + timedelta(days=9)) == 0
    for bad in ("x", "2026-99-99", "9999-12-31", "0001-01-01", ""):
        assert admin_client.get(f"{url}?{field}_from={bad}&{field}_to={bad}", follow=True).status_code == 200


def test_a_date_range_finds_the_day_among_many(admin_client: Any) -> None:
    tenant = Tenant.objects.create(name="Acme")
    ledger = History(Account.objects.get(tenant=tenant, mode="live"), priced_model())
    now = timezone.now()
    for ago in range(400, 0, -5):
        ledger.post(1, "GIFT", now - timedelta(days=ago))
    day = timezone.localtime(now - timedelta(days=200))
    url = reverse("admin:billing_ledgerentry_changelist")
    answer = admin_client.get(f"{url}?created_at_from={day:%Y-%m-%d}&created_at_to={day + timedelta(days=5):%Y-%m-%d}")
    assert [row.seq for row in answer.context["cl"].result_list] == [42, 41]


# --- the audit log in words ------------------------------------------------------------------------------------------


def test_changes_are_told_with_both_values() -> None:
    assert changes_in_words("budget.change", {"limit_credits": 1000}, {"limit_credits": 2500}) == [
        "limit in credits: 1,000 → 2,500"
    ]
    assert changes_in_words("credits.grant", None, {"credits": 500, "balance": 1500}) == ["credits: +500", "can be spent: 1,500"]
    assert changes_in_words("credits.adjust", None, {"credits": -5}) == ["credits: -5"]
    assert changes_in_words("tenant.change", {"is_active": True, "name": "A"}, {"is_active": False, "name": "A"}) == [
        "active: Yes → No"
    ]
    assert changes_in_words("x.change", {"gone": 1}, {}) == ["gone: 1 → –"]
    assert changes_in_words("x.change", None, ["a", 2]) == ["a, 2"]
    assert changes_in_words("x.change", None, None) == []


def test_the_audit_log_is_filtered_by_person_object_and_day(admin_client: Any) -> None:
    tenant = Tenant.objects.create(name="Acme")
    audit.record(actor="admin:root", action="tenant.change", target=tenant, before={"name": "Old"}, after={"name": "Acme"})
    audit.record(actor="gateway", action="credits.grant", target_type="billing.account", target_id="9", after={"credits": 5})
    url, today = reverse("admin:tenants_auditentry_changelist"), timezone.localtime()

    def shown(query: str) -> list[str]:
        return [row.action for row in admin_client.get(f"{url}?{query}").context["cl"].result_list]

    assert "tenant.change" in shown("actor=admin:root") and "credits.grant" not in shown("actor=admin:root")
    assert shown(f"object=tenants.tenant:{tenant.pk}&at_from={today:%Y-%m-%d}") == ["tenant.change"]
    page = admin_client.get(f"{url}?object=tenants.tenant:{tenant.pk}").content.decode()
    assert "Old → Acme" in page


def test_api_and_command_acts_are_in_the_audit_log(acme: Tenant, internal: Any, client: Any, root: User) -> None:
    priced_model()
    charge = internal.post("/internal/billing/charge", body(acme))[1]["chargeId"]
    internal.post("/internal/billing/refund", {"chargeId": charge, "reason": "too dark"})
    entry = AuditEntry.objects.get(action="credits.refund")
    assert (entry.actor, entry.target_id, entry.reason) == ("gateway", charge, "too dark")
    assert entry.before == {"refunded": 0} and entry.after == {"credits": 7, "refunded": 7, "balance": 1000}
    internal.post("/internal/billing/refund", {"chargeId": charge, "reason": "too dark"})  # a replay moves nothing
    assert AuditEntry.objects.filter(action="credits.refund").count() == 1
    grant(target=Principal("tenant", str(acme.id)), credits=3, kind="GIFT", reason="hello", actor="command")
    assert AuditEntry.objects.filter(action="credits.grant", actor="command").exists()
    # In the admin the same verb notes it, once.
    client.force_login(root)
    confirm_password(client)
    other = Charge.objects.get(id=internal.post("/internal/billing/charge", body(acme))[1]["chargeId"])
    url = reverse("admin:billing_refund", args=[other.id])
    form = client.get(url).context["form"]
    data = {"credits": 7, "reason": "r", "confirmed": "1", "idempotency_key": str(form["idempotency_key"].value())}
    client.post(url, data)
    assert AuditEntry.objects.filter(action="credits.refund", target_id=str(other.id)).count() == 1
