"""Servers die between an approval and what it approves, and before that is noted: it is done once, whoever repeats it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse

from aiservices.generations.models import Generation
from billing.approvals.models import ApprovalRequest
from billing.approvals.services import ask, look_after
from billing.catalog.usage import UsageRequest
from billing.ledger.models import Account, Charge, Refund
from billing.reconciliation.checks import reconcile
from billing.redemption.models import RedemptionBatch, RedemptionCode
from billing.services import charge
from tenants.models import AuditEntry, Tenant, User
from tenants.principal import Principal
from tests.aiservices.unknown_outcomes import an_unknown
from tests.callers import confirm_password
from tests.catalog import priced_model
from tests.live import LiveWaule

pytestmark = pytest.mark.slow
POINTS = ("approval.approved", "approval.executed")
Kind = ApprovalRequest.Kind
Asked = tuple[int, dict[str, Any], tuple[int, int]]  # credits, parameters, the account afterwards


def a_grant(acme: Tenant) -> Asked:
    return 500, {"kind": "GIFT"}, (1500, 0)


def an_adjustment(acme: Tenant) -> Asked:
    return -400, {}, (600, 0)


def a_refund(acme: Tenant) -> Asked:
    priced_model(base=300)
    made = charge(target=Principal("tenant", str(acme.pk)), use=UsageRequest(model="flash"), actor="test").charge
    return 300, {"charge": str(made.id)}, (1000, 0)


def a_settlement(acme: Tenant) -> Asked:
    rows = [an_unknown(acme), an_unknown(acme)]
    return 30, {"generations": [str(row.pk) for row in rows], "charge": True}, (970, 0)


def codes(acme: Tenant) -> Asked:
    return 500, {"codes": 5, "credits": 100, "uses": 1, "expiresAt": None, "batch": "Fair"}, (1000, 0)


MOVES: dict[Kind, Callable[[Tenant], Asked]] = {
    Kind.GRANT: a_grant,
    Kind.ADJUST: an_adjustment,
    Kind.REFUND: a_refund,
    Kind.SETTLE: a_settlement,
    Kind.REDEMPTION: codes,
}

NOTES = {  # in the audit log, of what was approved
    Kind.GRANT: "credits.grant",
    Kind.ADJUST: "credits.adjust",
    Kind.REFUND: "credits.refund",
    Kind.SETTLE: "generation.settle",
}


def finance(name: str) -> User:
    user = User.objects.create_user(name, is_staff=True)
    user.groups.add(Group.objects.get(name="finance"))
    return user


def cookies_of(user: User) -> dict[str, str]:
    """A session of theirs, with the password just given."""
    client = Client()
    client.force_login(user)
    confirm_password(client)
    return {name: morsel.value for name, morsel in client.cookies.items()}


def approve(waule: LiveWaule, row: ApprovalRequest, cookies: dict[str, str]) -> Any:
    token = "x" * 32
    page = reverse("admin:billing_approvalrequest_approve", args=[row.pk])
    form = {"csrfmiddlewaretoken": token}
    return waule.request("POST", page, data=form, cookies={**cookies, "csrftoken": token}, headers={"Referer": waule.url + page})


def test_every_kind_is_killed() -> None:
    assert set(MOVES) == set(Kind)


@pytest.mark.parametrize("kind", MOVES, ids=str)
@pytest.mark.parametrize("point", POINTS)
def test_killed_around_the_execution(live_waule: LiveWaule, acme: Tenant, kind: Kind, point: str) -> None:
    ann, bob = finance("ann"), finance("bob")
    credits, params, left = MOVES[kind](acme)
    account = Account.objects.get(tenant=acme, mode="live")
    has_account = kind in (Kind.GRANT, Kind.ADJUST)
    row = ask(
        kind=kind,
        credits=credits,
        params=params,
        reason="invoice 17",
        asker=ann,
        idempotency_key="a-1",
        account_id=account.pk if has_account else None,
    )
    before = (Account.objects.get(pk=account.pk).balance, Account.objects.get(pk=account.pk).held)
    cookies = cookies_of(bob)
    live_waule.environ["WAULE_TEST_FAIL_POINT"] = point
    with pytest.raises(Exception, match=r"(?i)connection|remote|reset"):
        approve(live_waule, row, cookies)
    row.refresh_from_db()
    account.refresh_from_db()
    assert row.state == "approved"
    assert (account.balance, account.held) == (left if point == "approval.executed" else before)
    live_waule.restart(WAULE_TEST_FAIL_POINT="")
    again = approve(live_waule, row, cookies)  # whoever presses the button again moves nothing
    assert again.status_code in (200, 302), again.text
    look_after()  # its process may still be at it
    row.refresh_from_db()
    assert row.state == "approved"
    ApprovalRequest.objects.update(decided_at=row.decided_at - timedelta(hours=1))
    for _twice in range(2):
        look_after()
    row.refresh_from_db()
    account.refresh_from_db()
    assert (row.state, account.balance, account.held) == ("failed" if kind == Kind.REDEMPTION else "done", *left)
    happened_once(kind, point, row)
    assert reconcile().ok


def happened_once(kind: Kind, point: str, row: ApprovalRequest) -> None:
    """What the ledger, the rows and the audit log say of it."""
    assert AuditEntry.objects.filter(action="approval.approve").count() == 1
    made = NOTES.get(kind)
    if made:
        expected = 2 if kind == Kind.SETTLE else 1
        assert AuditEntry.objects.filter(action=made, actor="admin:ann").count() == expected
    if kind == Kind.REFUND:
        assert (Refund.objects.count(), Charge.objects.get().refunded) == (1, 300)
    if kind == Kind.SETTLE:
        assert set(Generation.objects.values_list("state", flat=True)) == {"succeeded"}
        assert (Charge.objects.count(), row.result["settled"] + row.result["skipped"]) == (2, 2)
    if kind == Kind.REDEMPTION:  # nobody has seen the codes: the batch is closed by hand, and asked for again
        was_made = point == "approval.executed"
        assert (RedemptionBatch.objects.count(), RedemptionCode.objects.count()) == ((1, 5) if was_made else (0, 0))
