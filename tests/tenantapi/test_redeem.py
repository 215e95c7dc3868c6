"""Redemption codes: made once, shown once, redeemed once, and not to be guessed."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models import F
from django.utils import timezone

from billing.ledger.models import Account, Kind, LedgerEntry
from billing.redemption.models import Redemption, RedemptionBatch, RedemptionCode, WrongCode
from billing.redemption.services import close_batch, create_codes
from tenants.models import AuditEntry, Tenant, User
from tests.callers import Api, api_of_tenant

V1, API = "/v1/redeem", "/api/redeem"


def made(**more: Any) -> list[str]:
    return create_codes(**({"count": 1, "credits": 250, "actor": "test"} | more)).codes


def balance(owner: Tenant | User, mode: str = "live") -> int:
    own = {"tenant": owner, "mode": mode} if isinstance(owner, Tenant) else {"user": owner}
    return Account.objects.get(**own).balance


def test_a_tenant_redeems_a_code_by_its_key(as_acme: Api, acme: Tenant) -> None:
    (code,) = made(batch="Launch")
    assert as_acme.post(V1, {"code": code}) == (200, {"credits": 250, "balance": 1250})
    entry = LedgerEntry.objects.get(kind=Kind.REDEEM)
    assert (entry.amount, entry.account.tenant, entry.description) == (250, acme, f"Launch …{code[-5:]}")
    assert Redemption.objects.get().entry == entry


def test_a_user_redeems_a_code_by_its_token(as_alice: Api, alice: User) -> None:
    (code,) = made()
    assert as_alice.post(API, {"code": code}) == (200, {"success": True, "credits": 250, "balance": 1250})


@pytest.mark.parametrize("typed", [str.lower, lambda code: code.replace("-", ""), lambda code: f" {code.replace('0', 'o')} "])
def test_a_code_is_read_as_people_type_it(as_acme: Api, typed: Any) -> None:
    (code,) = made()
    assert as_acme.post(V1, {"code": typed(code)})[0] == 200


def test_only_hashes_are_kept(db: None) -> None:
    (code,) = made()
    kept = json.dumps([list(RedemptionCode.objects.values()), list(AuditEntry.objects.values())], default=str)
    assert code not in kept
    assert code.replace("-", "") not in kept
    assert re.fullmatch(r"(?:[0-9A-HJKMNP-TV-Z]{5}-){3}[0-9A-HJKMNP-TV-Z]{5}", code)


def test_unknown_used_and_expired_codes(as_acme: Api, birch: Tenant) -> None:
    (once,), (old,), (closed,) = made(), made(expires_at=timezone.now() + timedelta(days=1)), made(batch="closed")
    close_batch(batch_id=RedemptionBatch.objects.get(name="closed").id, reason="leaked", actor="test")
    assert api_of_tenant(birch).post(V1, {"code": once})[0] == 200
    RedemptionBatch.objects.filter(expires_at__isnull=False).update(expires_at=timezone.now() - timedelta(seconds=1))
    answers = [as_acme.post(V1, {"code": code}) for code in ("ABCDE-ABCDE-ABCDE-ABCDE", once, old, closed)]
    told = [(status, answer["error"]["code"]) for status, answer in answers]
    assert told == [(404, "code_unknown"), (409, "code_used"), (410, "code_expired"), (410, "code_expired")]


def test_users_are_told_in_their_own_shape(as_alice: Api) -> None:
    status, answer = as_alice.post(API, {"code": "nobody's"})
    assert (status, answer["success"], answer["code"], answer["details"]) == (404, False, "code_unknown", {})


def test_a_code_of_several_uses_is_for_several_tenants_once_each(as_acme: Api, birch: Tenant, alice: User, as_alice: Api) -> None:
    (code,) = made(uses=2)
    assert [as_acme.post(V1, {"code": code})[0] for _time in range(2)] == [200, 409]
    assert api_of_tenant(birch).post(V1, {"code": code})[0] == 200
    assert as_alice.post(API, {"code": code})[1]["code"] == "code_used"
    assert RedemptionCode.objects.get().used == 2


def test_two_codes_of_one_batch_are_for_two_tenants(as_acme: Api, acme: Tenant, birch: Tenant) -> None:
    first, second = made(count=2)
    assert as_acme.post(V1, {"code": first})[0] == 200
    assert as_acme.post(V1, {"code": second})[0] == 409
    assert (balance(acme), RedemptionCode.objects.filter(used=0).count()) == (1250, 1)
    assert api_of_tenant(birch).post(V1, {"code": second})[0] == 200


def test_after_five_wrong_codes_the_next_one_waits(as_acme: Api, birch: Tenant, as_alice: Api) -> None:
    (code,) = made()
    assert {as_acme.post(V1, {"code": f"WRONG{number}"})[0] for number in range(5)} == {404}
    status, answer = as_acme.post(V1, {"code": code})
    assert (status, answer["error"]["code"]) == (429, "rate_limited")
    assert 3500 < int(as_acme.last["Retry-After"]) <= 3601
    assert as_alice.post(API, {"code": "WRONG"})[0] == 404  # another's tries are its own
    WrongCode.objects.update(at=F("at") - timedelta(minutes=55))
    assert as_acme.post(V1, {"code": code})[0] == 429
    WrongCode.objects.update(at=F("at") - timedelta(minutes=5))
    assert as_acme.post(V1, {"code": code})[0] == 200


def test_used_codes_are_not_wrong_codes(as_acme: Api) -> None:
    (code,) = made()
    assert [as_acme.post(V1, {"code": code})[0] for _time in range(8)] == [200] + [409] * 7


def test_a_key_makes_a_redemption_a_replay(as_acme: Api, acme: Tenant) -> None:
    first, second = made()[0], made()[0]
    answers = [as_acme.post(V1, {"code": first}, key="k") for _time in range(2)]
    assert answers[0] == answers[1] == (200, {"credits": 250, "balance": 1250})
    assert as_acme.last["Idempotent-Replayed"] == "true"
    assert as_acme.post(V1, {"code": second}, key="k")[1]["error"]["code"] == "idempotency_key_reused"
    assert balance(acme) == 1250


def test_a_test_key_redeems_nothing(acme: Tenant) -> None:
    (code,) = made()
    status, answer = api_of_tenant(acme, "test").post(V1, {"code": code})
    assert (status, answer["error"]["code"], RedemptionCode.objects.get().used) == (403, "forbidden", 0)


@pytest.mark.parametrize("body", [{}, {"code": ""}, {"code": 5}, {"code": "x" * 65}, {"code": None}, {"code": ["x"]}])
def test_what_is_no_code_is_400(as_acme: Api, as_alice: Api, body: Any) -> None:
    assert as_acme.post(V1, body)[1]["error"]["code"] == "invalid_request"
    assert as_alice.post(API, body)[1]["code"] == "invalid_request"


# --- the command ---------------------------------------------------------------------------------------------------


def command(capsys: Any, *arguments: str) -> Any:
    call_command("create_redemption_codes", *arguments, "--json")
    return json.loads(capsys.readouterr().out)


def test_the_command_prints_them_once(db: None, capsys: Any, as_acme: Api) -> None:
    told = command(capsys, "3", "--credits", "40", "--batch", "Fair")
    assert (told["batch"], told["credits"], len(set(told["codes"]))) == ("Fair", 40, 3)
    assert as_acme.post(V1, {"code": told["codes"][0]}) == (200, {"credits": 40, "balance": 1040})


def test_a_batch_without_a_name_gets_one(db: None, capsys: Any) -> None:
    names = {command(capsys, "1", "--credits", "1")["batch"] for _time in range(2)}
    assert len(names) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["0", "--credits", "1"],
        ["10001", "--credits", "1"],
        ["1", "--credits", "0"],
        ["1", "--credits", str(2**53)],
        ["1", "--credits", "1", "--uses", "0"],
        ["1", "--credits", "1", "--expires", "2020-01-01T00:00:00Z"],
        ["1", "--credits", "1", "--batch", "x" * 101],
        ["1", "--credits", "1", "--batch", "taken"],
    ],
)
def test_what_the_command_refuses_makes_nothing(db: None, arguments: list[str]) -> None:
    made(batch="taken")
    with pytest.raises(CommandError):
        call_command("create_redemption_codes", *arguments)
    assert RedemptionBatch.objects.count() == 1
