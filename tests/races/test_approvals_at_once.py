"""One request, decided by many at once: it is done once, or not at all."""

from collections import Counter
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import Group

from billing.approvals.errors import ApprovalOver
from billing.approvals.models import ApprovalRequest
from billing.approvals.services import approve, ask, look_after, reject
from billing.ledger.models import Account, LedgerEntry
from billing.reconciliation.checks import reconcile
from billing.redemption.models import RedemptionBatch, RedemptionCode
from tenants.models import AuditEntry, Tenant, User
from tests.at_once import at_once

APPROVERS = 8
ROUNDS = 6


@pytest.fixture
def approvers(cloned_db: Any) -> list[User]:
    users = [User.objects.create_user(f"finance{number}", is_staff=True) for number in range(APPROVERS + 1)]
    for user in users:
        user.groups.add(Group.objects.get(name="finance"))
    return users


def outcomes_of(acts: list[Any]) -> Counter[str]:
    """What became of each act, all begun at the same moment."""

    def outcome(number: int) -> str:
        try:
            acts[number]()
            return "done"
        except ApprovalOver:
            return "over"

    return Counter(at_once(len(acts), outcome))


def asked(asker: User, acme: Tenant, number: int, **more: Any) -> ApprovalRequest:
    account = Account.objects.get(tenant=acme, mode="live")
    fields = {"kind": ApprovalRequest.Kind.GRANT, "credits": 700, "params": {"kind": "GIFT"}, "account_id": account.id} | more
    return ask(reason="x", asker=asker, idempotency_key=f"r-{number}", **fields)


def test_of_many_approvers_one_moves_the_credits(acme: Tenant, approvers: list[User]) -> None:
    for number in range(ROUNDS):
        row = asked(approvers[-1], acme, number)
        outcomes = outcomes_of([partial(approve, request_id=row.id, approver=user) for user in approvers[:-1]])
        assert outcomes == {"done": 1, "over": APPROVERS - 1}
    account = Account.objects.get(tenant=acme, mode="live")
    assert account.balance == 1000 + 700 * ROUNDS
    assert LedgerEntry.objects.filter(account=account, amount=700).count() == ROUNDS
    assert AuditEntry.objects.filter(action="approval.approve").count() == ROUNDS
    assert reconcile().ok


def test_approved_and_rejected_at_once_is_one_of_them(acme: Tenant, approvers: list[User]) -> None:
    for number in range(ROUNDS):
        row = asked(approvers[-1], acme, number)
        acts: list[Any] = [partial(approve, request_id=row.id, approver=user) for user in approvers[0:4]]
        acts += [partial(reject, request_id=row.id, approver=user, reason="no") for user in approvers[4:8]]
        assert outcomes_of(acts) == {"done": 1, "over": APPROVERS - 1}
    states = Counter(ApprovalRequest.objects.values_list("state", flat=True))
    assert set(states) <= {"done", "rejected"} and states.total() == ROUNDS
    assert Account.objects.get(tenant=acme, mode="live").balance == 1000 + 700 * states["done"]
    told = Counter(AuditEntry.objects.filter(action__in=["approval.approve", "approval.reject"]).values_list("action", flat=True))
    assert told == {
        key: count for key, count in (("approval.approve", states["done"]), ("approval.reject", states["rejected"])) if count
    }


def test_one_batch_of_codes_is_made(acme: Tenant, approvers: list[User]) -> None:
    params = {"batch": "Fair", "codes": 5, "credits": 50, "uses": 1, "expiresAt": "", "output": "page"}
    row = asked(approvers[-1], acme, 1, kind=ApprovalRequest.Kind.REDEMPTION, credits=250, params=params, account_id=None)
    shown: list[Any] = []
    acts = [lambda user=user: shown.append(approve(request_id=row.id, approver=user)[1]) for user in approvers[:-1]]
    assert outcomes_of(acts) == {"done": 1, "over": APPROVERS - 1}
    assert (len(shown), len(shown[0].codes), RedemptionBatch.objects.count(), RedemptionCode.objects.count()) == (1, 5, 1, 5)


def test_workers_that_finish_one_at_once_do_it_once(acme: Tenant, approvers: list[User]) -> None:
    for number in range(ROUNDS):
        row = asked(approvers[-1], acme, number)
        ApprovalRequest.objects.filter(id=row.id).update(
            state="approved", decided_by=approvers[0], decided_at="2020-01-01T00:00:00Z"
        )
        assert outcomes_of([look_after] * 4) == {"done": 4}
    assert Account.objects.get(tenant=acme, mode="live").balance == 1000 + 700 * ROUNDS
    assert set(ApprovalRequest.objects.values_list("state", flat=True)) == {"done"}


def test_a_request_that_is_sent_many_times_is_kept_once(acme: Tenant, approvers: list[User]) -> None:
    made: list[Any] = []
    assert outcomes_of([lambda: made.append(asked(approvers[0], acme, 1).id)] * APPROVERS) == {"done": APPROVERS}
    assert len(set(made)) == 1 and ApprovalRequest.objects.count() == 1
    assert AuditEntry.objects.filter(action="approval.ask").count() == 1
