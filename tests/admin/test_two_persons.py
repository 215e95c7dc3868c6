"""Above a limit one person asks and another one approves: nothing moves before that, and then once."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from aiservices.generations.models import Generation
from aiservices.periodic_tasks import IN_DATABASE
from billing.approvals.models import ApprovalRequest
from billing.approvals.services import EXPIRES_AFTER, LEFT_AFTER, execute, look_after
from billing.catalog.usage import UsageRequest
from billing.ledger.models import Account, Charge, LedgerEntry, Refund
from billing.redemption.models import RedemptionBatch, RedemptionCode
from billing.services import charge
from tenants.models import AuditEntry, User
from tenants.principal import Principal
from tests.aiservices.unknown_outcomes import an_unknown
from tests.callers import confirm_password
from tests.catalog import priced_model

State = ApprovalRequest.State
KEY = re.compile(r'name="idempotency_key" value="([^"]+)"')
CODE = re.compile(r"(?:[0-9A-HJKMNP-TV-Z]{5}-){3}[0-9A-HJKMNP-TV-Z]{5}")


def person(name: str, group: str = "finance") -> Client:
    """A member of a ready group, who has just given the password again."""
    user, made = User.objects.get_or_create(username=name, defaults={"is_staff": True})
    if made:
        user.groups.add(Group.objects.get(name=group))
    client = Client()
    client.force_login(user)
    confirm_password(client)
    return client


@pytest.fixture(autouse=True)
def limit(settings):
    settings.APPROVAL_ABOVE_CREDITS = 100


@pytest.fixture
def ann(any_database):
    return person("ann")


@pytest.fixture
def bob(any_database):
    return person("bob")


@pytest.fixture
def account(acme):
    return Account.objects.get(tenant=acme, mode="live")


@pytest.fixture
def paid(acme):
    """A charge of 300 credits."""
    priced_model(base=300)
    made = charge(target=Principal("tenant", str(acme.pk)), use=UsageRequest(model="flash"), actor="test").charge
    return Charge.objects.get(id=made.id)


def send(client: Client, page: str, **fields):
    """Fills in a page and confirms it, as a person does."""
    shown = client.get(page).text
    found = KEY.search(shown)
    form = {"reason": "invoice 17", "confirmed": "1", **({"idempotency_key": found[1]} if found else {}), **fields}
    return client.post(page, form)


def money(name: str, *args) -> str:
    return reverse(f"admin:billing_{name}", args=args)


def decision(row: ApprovalRequest, verb: str = "approve") -> str:
    return reverse(f"admin:billing_approvalrequest_{verb}", args=[row.pk])


def actions() -> list[tuple[str, str]]:
    rows = AuditEntry.objects.filter(action__startswith="approval.").order_by("id")
    return list(rows.values_list("action", "actor"))


def test_a_grant_waits_for_another_person_and_happens_once(ann, bob, account):
    page = money("grant", account.pk)
    assert "second person" in ann.get(page).text  # before anything is typed
    preview = ann.post(page, {"credits": "500", "kind": "RECHARGE", "reason": "invoice 17", "idempotency_key": "x" * 8})
    assert "Ask for approval" not in preview.text  # a broken key is an error of the form
    key = KEY.search(ann.get(page).text)[1]
    form = {"credits": "500", "kind": "RECHARGE", "reason": "invoice 17", "idempotency_key": key}
    preview = ann.post(page, form).text
    assert "Ask for approval" in preview and "a second person with the same right" in preview
    assert not ApprovalRequest.objects.exists()
    for _twice in range(2):  # a double click
        assert ann.post(page, form | {"confirmed": "1"}).status_code == 302
    row = ApprovalRequest.objects.get()
    account.refresh_from_db()
    assert (row.state, row.credits, row.kind, row.account_id, account.balance) == ("pending", 500, "grant", account.pk, 1000)
    assert row.expires_at - row.asked_at == EXPIRES_AFTER
    shown = bob.get(decision(row)).text
    assert "500" in shown and "invoice 17" in shown and "ann" in shown and "Recharge" in shown
    for _twice in range(2):
        bob.post(decision(row))
    row.refresh_from_db()
    account.refresh_from_db()
    assert (row.state, row.decided_by.username, row.result, account.balance) == ("done", "bob", {"balance": 1500}, 1500)
    entry = LedgerEntry.objects.get(account=account, kind="RECHARGE")
    assert (entry.actor, entry.description, entry.idempotency_key) == ("admin:ann", "invoice 17", f"approval-{row.pk}")
    assert actions() == [("approval.ask", "admin:ann"), ("approval.approve", "admin:bob")]
    assert AuditEntry.objects.get(action="credits.grant", actor="admin:ann").reason == "invoice 17"
    listed = bob.get(reverse("admin:billing_approvalrequest_changelist")).text
    assert "Approved and done" in listed and "Acme" in listed
    page = bob.get(decision(row, "change")).text
    assert "/approve/" not in page and "1,500" in page and f"object=billing.approvalrequest:{row.pk}" in page


@pytest.mark.parametrize("credits", [100, 101])
def test_the_limit_itself_passes_and_one_more_does_not(ann, account, credits):
    send(ann, money("grant", account.pk), credits=str(credits), kind="GIFT")
    account.refresh_from_db()
    assert (account.balance, ApprovalRequest.objects.count()) == ((1100, 0) if credits == 100 else (1000, 1))


def test_without_a_limit_nobody_is_asked(ann, account, settings):
    settings.APPROVAL_ABOVE_CREDITS = 0
    assert "second person" not in ann.get(money("grant", account.pk)).text
    send(ann, money("grant", account.pk), credits="50000", kind="GIFT")
    account.refresh_from_db()
    assert (account.balance, ApprovalRequest.objects.count()) == (51000, 0)


def test_credits_taken_away_count_as_those_given(ann, bob, account):
    send(ann, money("adjust", account.pk), credits="-400")
    account.refresh_from_db()
    assert account.balance == 1000
    bob.post(decision(ApprovalRequest.objects.get()))
    account.refresh_from_db()
    assert account.balance == 600
    assert AuditEntry.objects.get(action="credits.adjust").actor == "admin:ann"


def test_a_refund(ann, bob, paid):
    send(ann, money("refund", paid.pk), credits="300")
    assert not Refund.objects.exists()
    bob.post(decision(ApprovalRequest.objects.get()))
    paid.refresh_from_db()
    assert (paid.refunded, Refund.objects.get().actor) == (300, "admin:ann")
    note = AuditEntry.objects.get(action="credits.refund")
    assert (note.actor, note.target_id, note.after["credits"]) == ("admin:ann", str(paid.pk), 300)


@pytest.mark.parametrize(("how", "state", "left"), [("worked", "succeeded", (700, 0)), ("failed", "failed", (1000, 0))])
def test_a_settlement(ann, bob, acme, account, how, state, left):
    row = an_unknown(acme, credits=300)
    page = reverse("admin:aiservices_generation_settle", args=[row.pk, how])
    shown = ann.get(page).text
    assert "Ask for approval" in shown and "a second person with the same right" in shown
    send(ann, page)
    row.refresh_from_db()
    assert row.state == "unknown"
    asked = ApprovalRequest.objects.get()
    bob.post(decision(asked))
    for each in (row, account, asked):
        each.refresh_from_db()
    assert (row.state, (account.balance, account.held), asked.result["settled"]) == (state, left, 1)
    assert AuditEntry.objects.get(action="generation.settle").actor == "admin:ann"


def test_many_settlements_count_together(ann, bob, acme, account):
    rows = [an_unknown(acme, credits=60) for _each in range(2)]
    session = ann.session
    session["settle_selected"] = [str(row.pk) for row in rows]
    session.save()
    send(ann, reverse("admin:aiservices_generation_settle_many"), how="failed")
    asked = ApprovalRequest.objects.get()
    assert (asked.credits, Generation.objects.filter(state="unknown").count()) == (120, 2)
    bob.post(decision(asked))
    asked.refresh_from_db()
    assert (asked.result, Generation.objects.filter(state="failed").count()) == ({"settled": 2, "skipped": 0, "credits": 120}, 2)


def test_codes_count_by_all_that_they_give_and_are_shown_to_the_approver(ann, bob):
    page = reverse("admin:billing_redemptionbatch_add")
    fields = {"name": "Fair", "count": "3", "credits": "20", "uses": "2", "output": "page"}  # 120 credits together
    assert "second person" in ann.get(page).text
    assert not CODE.search(send(ann, page, **fields).text)
    row = ApprovalRequest.objects.get()
    assert (row.credits, RedemptionBatch.objects.count()) == (120, 0)
    shown = bob.post(decision(row))
    codes = set(CODE.findall(shown.text))
    assert (len(codes), "no-store" in shown["Cache-Control"], RedemptionCode.objects.count()) == (3, True, 3)
    assert RedemptionBatch.objects.get().created_by == "admin:ann"
    again = bob.post(decision(row), follow=True)
    assert not CODE.search(again.text) and RedemptionCode.objects.count() == 3
    row.refresh_from_db()
    assert row.state == "done" and not any(code in str(row.result) + str(row.params) for code in codes)
    send(ann, page, **fields | {"name": "Small", "uses": "1"})  # 60
    assert RedemptionBatch.objects.filter(name="Small").exists()


def asked(ann, account, credits="500") -> ApprovalRequest:
    send(ann, money("grant", account.pk), credits=credits, kind="GIFT")
    return ApprovalRequest.objects.latest("id")


def test_who_asked_never_decides(ann, account):
    row = asked(ann, account)
    assert "/approve/" not in ann.get(decision(row, "change")).text
    User.objects.filter(username="ann").update(is_superuser=True)
    for verb in ("approve", "reject"):
        for answer in (ann.get(decision(row, verb)), ann.post(decision(row, verb), {"reason": "x"})):
            assert answer.status_code == 403
    row.refresh_from_db()
    assert row.state == "pending"


@pytest.mark.parametrize("group", ["operator", "auditor"])
def test_who_lacks_the_right_does_not_decide_and_is_not_asked_for_a_password(ann, account, group):
    row, other = asked(ann, account), person("other", group)
    confirm_password(other, seconds_ago=301)
    assert other.get(decision(row, "change")).status_code == 200  # it may be seen
    for verb in ("approve", "reject"):
        assert other.post(decision(row, verb), {"reason": "x"}).status_code == 403
    row.refresh_from_db()
    assert row.state == "pending"


def test_the_right_is_that_of_what_is_asked(ann, account, any_database):
    """Who may grant but not adjust approves grants alone."""
    clerk = person("clerk", "auditor")
    User.objects.get(username="clerk").user_permissions.add(Permission.objects.get(codename="grant_credits"))
    send(ann, money("adjust", account.pk), credits="500")
    assert clerk.post(decision(ApprovalRequest.objects.latest("id"))).status_code == 403
    assert clerk.post(decision(asked(ann, account))).status_code == 302
    account.refresh_from_db()
    assert account.balance == 1500


def test_deciding_asks_for_the_password_again(ann, bob, account):
    row = asked(ann, account)
    confirm_password(bob, seconds_ago=301)
    for verb in ("approve", "reject"):
        for answer in (bob.get(decision(row, verb)), bob.post(decision(row, verb), {"reason": "x"})):
            assert answer["Location"].startswith(reverse("admin:confirm_password"))
    row.refresh_from_db()
    account.refresh_from_db()
    assert (row.state, account.balance) == ("pending", 1000)


def test_a_page_that_is_read_decides_nothing(ann, bob, account):
    row = asked(ann, account)
    bob.get(decision(row) + "?confirmed=1&reason=x")
    row.refresh_from_db()
    assert row.state == "pending"


def test_a_rejection_takes_a_reason_and_is_for_good(ann, bob, account):
    row = asked(ann, account)
    assert bob.post(decision(row, "reject"), {"reason": "  "}).status_code == 200
    bob.post(decision(row, "reject"), {"reason": "no such invoice"})
    answer = bob.post(decision(row), follow=True)
    assert "It was decided before: Rejected" in answer.text
    row.refresh_from_db()
    account.refresh_from_db()
    assert (row.state, row.decision_reason, account.balance) == ("rejected", "no such invoice", 1000)
    assert AuditEntry.objects.get(action="approval.reject").reason == "no such invoice"
    assert "no such invoice" in ann.get(decision(row, "change")).text


@pytest.mark.parametrize("cleaned_up", [True, False])
def test_what_nobody_decides_expires(ann, bob, account, cleaned_up):
    row = asked(ann, account)
    assert look_after in [task.run for task in IN_DATABASE]
    look_after()
    assert ApprovalRequest.objects.get().state == "pending"
    ApprovalRequest.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    if cleaned_up:
        look_after()
        look_after()
        assert actions() == [("approval.ask", "admin:ann"), ("approval.expire", "worker")]
    assert "Expired" in bob.get(reverse("admin:billing_approvalrequest_changelist")).text
    for verb in ("approve", "reject"):  # also where no worker has noticed yet
        assert "It was decided before: Expired" in bob.post(decision(row, verb), {"reason": "x"}, follow=True).text
    row.refresh_from_db()
    account.refresh_from_db()
    assert (row.state, account.balance) == ("expired" if cleaned_up else "pending", 1000)


@pytest.mark.parametrize("loss", ["rights", "switched off", "no staff", "deleted"])
def test_who_asked_must_still_be_allowed_to(ann, bob, account, loss):
    row = asked(ann, account)
    user = User.objects.get(username="ann")
    if loss == "rights":
        user.groups.clear()
    elif loss == "deleted":
        ApprovalRequest.objects.update(asked_by=None)  # as SET_NULL leaves it
    else:
        User.objects.filter(pk=user.pk).update(**({"is_active": False} if loss == "switched off" else {"is_staff": False}))
    bob.post(decision(row))
    row.refresh_from_db()
    account.refresh_from_db()
    assert (row.state, account.balance) == ("pending", 1000)


@pytest.mark.parametrize("who", ["ann", "bob"])
def test_rights_are_looked_at_again_when_it_is_done(ann, bob, account, who):
    """Between the approval and a worker that finishes it, one of the two has lost the right."""
    row = asked(ann, account)
    left_behind(row)
    User.objects.get(username=who).groups.clear()
    look_after()
    row.refresh_from_db()
    account.refresh_from_db()
    assert (row.state, account.balance) == ("failed", 1000)
    assert actions()[-1] == ("approval.fail", "worker")


def left_behind(row: ApprovalRequest) -> None:
    """As a process leaves it that dies right after the approval."""
    ApprovalRequest.objects.filter(pk=row.pk).update(
        state="approved", decided_by=User.objects.get(username="bob"), decided_at=timezone.now() - LEFT_AFTER
    )
    row.refresh_from_db()


def test_what_a_crash_cut_off_is_finished_once(ann, bob, account):
    row = asked(ann, account)
    left_behind(row)
    ApprovalRequest.objects.update(decided_at=timezone.now())
    look_after()
    assert ApprovalRequest.objects.get().state == "approved"  # its process may still be at it
    left_behind(row)
    look_after()
    left_behind(row)  # it died after the grant, before it was noted
    look_after()
    execute(row)  # and its process was only slow
    row.refresh_from_db()
    account.refresh_from_db()
    assert (row.state, account.balance) == ("done", 1500)
    assert LedgerEntry.objects.filter(account=account, kind="GIFT", amount=500).count() == 1


def test_a_worker_makes_no_codes_that_nobody_would_see(ann, bob, any_database):
    page = reverse("admin:billing_redemptionbatch_add")
    send(ann, page, name="Fair", count="3", credits="500", uses="1", output="page")
    row = ApprovalRequest.objects.get()
    left_behind(row)
    look_after()
    row.refresh_from_db()
    assert (row.state, RedemptionBatch.objects.count()) == ("failed", 0)
    assert "Ask again" in bob.get(decision(row, "change")).text


def test_what_the_ledger_refuses_is_told_and_kept(ann, bob, account):
    send(ann, money("adjust", account.pk), credits="-900")
    row = ApprovalRequest.objects.get()
    send(ann, money("adjust", account.pk), credits="-100")
    send(ann, money("adjust", account.pk), credits="-100")
    answer = bob.post(decision(row), follow=True)
    assert "Not enough credits" in answer.text
    row.refresh_from_db()
    account.refresh_from_db()
    assert (row.state, account.balance) == ("failed", 800)


def test_internal_callers_and_commands_are_not_held_up(internal, acme, account):
    """They are programs of the operator: see docs/operations.md."""
    body = {"targetType": "tenant", "targetId": str(acme.pk), "credits": 5000, "type": "GIFT", "reason": "x"}
    status, answer = internal.post("/internal/billing/grant", body, key="g-1")
    assert status == 200, answer
    account.refresh_from_db()
    assert (account.balance, ApprovalRequest.objects.count()) == (6000, 0)
