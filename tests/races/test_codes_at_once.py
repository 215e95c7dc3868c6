"""One code, wanted by many at once."""

from collections import Counter
from typing import Any

from billing.ledger.models import Account, Kind, LedgerEntry
from billing.redemption.models import Redemption, RedemptionCode, WrongCode
from billing.redemption.services import create_codes
from tenants.models import Tenant
from tenants.services import create_api_key
from tests.at_once import at_once
from tests.races.calls import books_are_right

CALLERS = 50


def redeem(waule: Any, key: str, code: str) -> Any:
    return waule.post("/v1/redeem", {"code": code}, headers={"Authorization": f"Bearer {key}"})


def test_a_code_is_redeemed_once_by_50_callers_of_one_tenant(waule: Any, acme: Tenant) -> None:
    _key, text = create_api_key(tenant=acme, actor="test")
    (code,) = create_codes(count=1, credits=250, uses=5, actor="test").codes
    answers = at_once(CALLERS, lambda _n: redeem(waule, text, code))
    assert Counter(answer.status_code for answer in answers) == {200: 1, 409: CALLERS - 1}
    assert {answer.json()["error"]["code"] for answer in answers if answer.status_code == 409} == {"code_used"}
    assert Account.objects.get(tenant=acme, mode="live").balance == 1250
    assert (RedemptionCode.objects.get().used, Redemption.objects.count()) == (1, 1)
    assert books_are_right(waule)


def test_the_three_uses_of_a_code_go_to_three_of_50_tenants(waule: Any, acme: Tenant) -> None:
    tenants = [Tenant.objects.create(name=f"Tenant {number}") for number in range(CALLERS)]
    keys = [create_api_key(tenant=tenant, actor="test")[1] for tenant in tenants]
    (code,) = create_codes(count=1, credits=250, uses=3, actor="test").codes
    answers = at_once(CALLERS, lambda number: redeem(waule, keys[number], code))
    assert Counter(answer.status_code for answer in answers) == {200: 3, 409: CALLERS - 3}
    assert sum(LedgerEntry.objects.filter(kind=Kind.REDEEM).values_list("amount", flat=True)) == 750
    assert (RedemptionCode.objects.get().used, Redemption.objects.count()) == (3, 3)
    assert books_are_right(waule)


def test_no_more_than_five_of_50_guesses_are_looked_at(waule: Any, acme: Tenant) -> None:
    _key, text = create_api_key(tenant=acme, actor="test")
    answers = at_once(CALLERS, lambda number: redeem(waule, text, f"GUESS-{number}"))
    assert Counter(answer.status_code for answer in answers) == {404: 5, 429: CALLERS - 5}
    assert WrongCode.objects.count() == 5
