"""An outcome that nobody knows is ended by staff: once, with a reason, by who may."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.urls import reverse

from aiservices.generations.models import Generation
from billing.catalog.usage import UsageRequest
from billing.ledger.models import Account, Charge, Hold
from billing.services import hold, mark_unknown
from tenants.models import AuditEntry, User
from tenants.principal import Principal
from tests.aiservices.unknown_outcomes import an_unknown
from tests.callers import confirm_password

REASON = "Seen in the provider's console"


@pytest.fixture
def unknown(acme) -> Generation:
    return an_unknown(acme)


def address(generation: Generation, how: str) -> str:
    return reverse("admin:aiservices_generation_settle", args=[generation.pk, how])


def credits() -> tuple[int, int]:
    return Account.objects.values_list("balance", "held").get(tenant__name="Acme", mode="live")


@pytest.mark.parametrize(
    ("how", "state", "left"), [("worked", "succeeded", (985, 0)), ("failed", "failed", (1000, 0))], ids=["worked", "failed"]
)
def test_it_is_ended_once_and_noted(admin_client, unknown, how, state, left):
    assert address(unknown, how) in admin_client.get(reverse("admin:aiservices_generation_change", args=[unknown.pk])).text
    assert "15 held credits" in admin_client.get(address(unknown, how)).text
    assert credits() == (1000, 15)  # looking at it moves nothing
    assert admin_client.post(address(unknown, how), {"reason": REASON}).status_code == 302
    other = "failed" if how == "worked" else "worked"
    for again in (how, other):  # a double click, and a change of mind
        answer = admin_client.post(address(unknown, again), {"reason": "again"}, follow=True)
        assert "It had ended before" in answer.text
    unknown.refresh_from_db()
    assert (unknown.state, credits(), unknown.flags) == (state, left, ["settled_by_operator"])
    noted = AuditEntry.objects.get(action="generation.settle")
    assert (noted.actor, noted.reason, noted.address, noted.target_id) == ("admin:root", REASON, "127.0.0.1", str(unknown.pk))
    assert (noted.before, noted.after) == ({"state": "unknown", "creditsHeld": 15}, {"state": state})
    page = admin_client.get(reverse("admin:aiservices_generation_change", args=[unknown.pk])).text
    assert "/settle/" not in page


def test_a_reason_is_needed(admin_client, unknown):
    answer = admin_client.post(address(unknown, "worked"), {"reason": "  "})
    assert (answer.status_code, credits()) == (200, (1000, 15))
    assert not AuditEntry.objects.filter(action="generation.settle").exists()


@pytest.mark.parametrize(("group", "status"), [("finance", 302), ("operator", 403), ("auditor", 403)])
def test_only_finance_may(client, unknown, group, status):
    staff = User.objects.create_user("staff", is_staff=True)
    staff.groups.add(Group.objects.get(name=group))
    client.force_login(staff)
    confirm_password(client)
    assert client.post(address(unknown, "failed"), {"reason": REASON}).status_code == status
    assert credits() == ((1000, 0) if status == 302 else (1000, 15))
    assert client.get(address(unknown, "perhaps")).status_code == (404 if status == 302 else 403)


def test_unknown_outcomes_are_a_list_of_their_own(admin_client, unknown):
    Generation.objects.create(type="image", tenant=unknown.tenant, model=unknown.model, prompt="a known cat", state="succeeded")
    listed = admin_client.get(f"{reverse('admin:aiservices_generation_changelist')}?state__exact=unknown").text
    assert "a whale" in listed
    assert "a known cat" not in listed


def test_two_operators_at_once_make_one_ending(cloned_db, unknown):
    """Each round another outcome: one operator ends it, the other is told."""
    staff = [User.objects.create_superuser(f"root{number}") for number in range(4)]
    target, use = Principal("tenant", str(unknown.tenant_id)), UsageRequest(model=unknown.model.model_id)
    outcomes = [unknown]
    for _round in range(4):
        held = hold(target=target, use=use, actor="test").hold
        mark_unknown(hold_id=str(held.id), actor="test")
        outcomes.append(
            Generation.objects.create(
                type="image",
                tenant=unknown.tenant,
                model=unknown.model,
                prompt="x",
                state="unknown",
                outcome="unknown",
                hold_id=held.id,
            )
        )

    def end(number: int) -> str:
        try:
            client = Client()
            client.force_login(staff[number % 4])
            confirm_password(client)
            how = ("worked", "failed")[number % 2]
            return client.post(address(outcomes[number // 4], how), {"reason": REASON}, follow=True).text
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as operators:
        pages = list(operators.map(end, range(4 * len(outcomes))))
    assert (
        sum("Done." in page for page in pages) == len(outcomes) == AuditEntry.objects.filter(action="generation.settle").count()
    )
    assert sum("You have changed nothing." in page for page in pages) == 3 * len(outcomes)
    charged = Charge.objects.count()
    assert Generation.objects.filter(state="succeeded").count() == charged
    assert Hold.objects.filter(state="released").count() == len(outcomes) - charged
    assert credits() == (1000 - 15 * charged, 0)
