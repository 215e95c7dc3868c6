"""The ledger against a model of it in plain Python: random steps, the same answers, the same figures, after every step.

The model below is written from the rules alone. It knows two prices (7 a request, 10 a second), three accounts and one day;
it imports none of the arithmetic that it checks.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule, run_state_machine_as_test

from billing.catalog.models import LevelConfig
from billing.errors import HoldEnded
from billing.ledger.models import Account, DailyUsage
from billing.reconciliation.checks import reconcile
from billing.services import expire_holds, mark_unknown
from tenants.models import Tenant, User
from tests.callers import Internal
from tests.catalog import permit, priced_model

STEPS = 50
RUNS = 45
FLASH_PRICE, FILM_PRICE = 7, 10
DAILY_LIMIT, FREE_A_DAY, AT_ONCE = 6, 2, 3

keys = st.sampled_from([None, None, "a", "b", "c"])
some_key = st.sampled_from(["a", "b", "c", "d", "e"])
uses = st.one_of(st.just(("flash", None)), st.tuples(st.just("film"), st.integers(1, 9)))
names = st.sampled_from(["acme", "vera", "alice"])


class Refused(Exception):
    def __init__(self, status: int, code: str, **details: Any) -> None:
        super().__init__(code)
        self.status, self.code, self.details = status, code, details


@dataclass
class Holder:
    """What the model knows of an account. `is_member` uses flash freely, a little; `at_once` None: no limit."""

    kind: str
    id: str
    is_counted: bool = False
    is_member: bool = False
    at_once: int | None = None
    balance: int = 0
    held: int = 0
    entries: int = 0
    uses: int = 0
    free_uses: int = 0
    open_holds: int = 0
    first_answers: dict[tuple[str, str], tuple[Any, Any]] = field(default_factory=dict)

    @property
    def spendable(self) -> int:
        return self.balance - self.held

    def move(self, credits: int) -> None:
        if credits:
            self.balance += credits
            self.entries += 1

    def count(self, use: "Use", by: int) -> None:
        self.uses += by * use.is_counted
        self.free_uses += by * (use.is_counted and use.is_free)

    def admit(self, model: str, seconds: int | None) -> "Use":
        is_counted = self.is_counted and model == "flash"
        if is_counted and self.uses >= DAILY_LIMIT:
            raise Refused(429, "daily_limit")
        if self.at_once is not None and self.open_holds >= self.at_once:
            raise Refused(429, "concurrency_limit")
        if is_counted and self.is_member and self.free_uses < FREE_A_DAY:
            return Use(self, model, 0, True, is_counted)
        credits = FLASH_PRICE if model == "flash" else FILM_PRICE * (seconds or 0)
        if credits > self.spendable:
            raise Refused(402, "insufficient_credits", required=credits, available=self.spendable)
        return Use(self, model, credits, False, is_counted)


@dataclass
class Use:
    """A hold or a charge of the model."""

    holder: Holder
    model: str
    credits: int
    is_free: bool
    is_counted: bool
    id: str = ""
    state: str = "held"
    is_unknown: bool = False
    refunded: int = 0
    shortfall: int = 0
    is_given_back: bool = False
    ending: Any = None  # the first answer of its ending, or of its full refund


class BooksAgainstModel(RuleBasedStateMachine):
    holds: Any = Bundle("holds")
    charges: Any = Bundle("charges")

    def __init__(self) -> None:
        super().__init__()
        self.internal = Internal()

    @initialize(credits=st.sampled_from([0, 30, 200]))
    def open_accounts(self, credits: int) -> None:
        made = Counter[str]()
        made["n"] = User.objects.count()
        self.purses = {
            "acme": Holder("tenant", str(Tenant.objects.create(name="Acme", enabled_models=["*"]).id)),
            "vera": Holder(
                "user",
                str(User.objects.create(username=f"vera{made['n']}", level="VIP").id),
                is_counted=True,
                is_member=True,
            ),
            "alice": Holder(
                "user",
                str(User.objects.create(username=f"alice{made['n']}", level="USER").id),
                is_counted=True,
                at_once=AT_ONCE,
            ),
        }
        for name in self.purses:
            if credits:
                self.grant(name, credits, "opening")

    # --- asking and comparing -------------------------------------------------------------------------------------

    def ask(self, path: str, body: Any, key: str | None = None) -> tuple[int, Any]:
        status, answer = self.internal.post(f"/internal/billing/{path}", body, key=key)
        return status, answer

    @property
    def was_replayed(self) -> bool:
        return self.internal.last.headers.get("Idempotent-Replayed") == "true"

    def must_refuse(self, given: tuple[int, Any], rejection: Refused) -> None:
        status, answer = given
        assert (status, answer["code"]) == (rejection.status, rejection.code), given
        assert answer["success"] is False
        assert rejection.details.items() <= answer["details"].items(), given

    def is_replay(self, holder: Holder, operation: str, key: str | None, body: Any, given: tuple[int, Any]) -> bool:
        """Whether the key was used before; then this answer is compared here."""
        if key is None or (operation, key) not in holder.first_answers:
            return False
        first_body, first = holder.first_answers[operation, key]
        if first_body != body:
            self.must_refuse(given, Refused(422, "idempotency_key_reused"))
        else:
            answer = {name: value for name, value in given[1].items() if name != "expiresAt"}
            assert (given[0], answer, self.was_replayed) == (*first, True), given
        return True

    def remember(self, holder: Holder, operation: str, key: str | None, body: Any, given: tuple[int, Any]) -> None:
        assert not self.was_replayed
        if key is not None:
            answer = {name: value for name, value in given[1].items() if name not in ("expiresAt", "status")}
            holder.first_answers[operation, key] = (body, (given[0], answer))

    def body(self, name: str, use: tuple[str, int | None]) -> dict[str, Any]:
        holder = self.purses[name]
        made = {"targetType": holder.kind, "targetId": holder.id, "modelId": use[0], "operation": "test"}
        return made | ({"duration": use[1]} if use[1] is not None else {})

    # --- the verbs ------------------------------------------------------------------------------------------------

    @rule(name=names, credits=st.integers(1, 60), key=some_key)
    def grant(self, name: str, credits: int, key: str) -> None:
        holder = self.purses[name]
        body = {
            "targetType": holder.kind,
            "targetId": holder.id,
            "credits": credits,
            "type": "GIFT",
            "reason": "welcome",
        }
        given = self.ask("grant", body, key)
        if self.is_replay(holder, "grant", key, credits, given):
            return
        holder.move(credits)
        assert (given[0], given[1]["balance"]) == (200, holder.spendable), given
        self.remember(holder, "grant", key, credits, given)

    def compare_charge(
        self, name: str, use: tuple[str, int | None], key: str | None, given: tuple[int, Any], *, is_item: bool = False
    ) -> Use | None:
        holder = self.purses[name]
        if is_item and key is not None and ("charge", key) in holder.first_answers:
            first_body, first = holder.first_answers["charge", key]
            if first_body != use:
                self.must_refuse(given, Refused(422, "idempotency_key_reused"))
            else:
                expected = first[1] | {"status": 200, "replayed": True}
                assert given[1] == expected, given
            return None
        if not is_item and self.is_replay(holder, "charge", key, use, given):
            return None
        try:
            made = holder.admit(*use)
        except Refused as rejection:
            self.must_refuse(given, rejection)
            assert (given[1]["creditsCharged"], given[1]["isFreeUsage"]) == (0, False)
            return None
        holder.move(-made.credits)
        holder.count(made, 1)
        made.state = "charged"
        answer = given[1]
        assert given[0] == 200, given
        assert (answer["creditsCharged"], answer["isFreeUsage"]) == (made.credits, made.is_free), given
        assert answer["balance"] == holder.spendable, given
        made.id = answer["chargeId"]
        self.remember(holder, "charge", key, use, given)
        return made

    @rule(target=charges, name=names, use=uses, key=keys)
    def charge(self, name: str, use: tuple[str, int | None], key: str | None) -> Any:
        made = self.compare_charge(name, use, key, self.ask("charge", self.body(name, use), key))
        return made if made else multiple()

    @rule(target=charges, items=st.lists(st.tuples(names, uses, keys), min_size=1, max_size=6))
    def charge_batch(self, items: list[Any]) -> Any:
        sent = [self.body(name, use) | ({"idempotencyKey": key} if key else {}) for name, use, key in items]
        status, answer = self.ask("charges/batch", {"charges": sent})
        assert (status, len(answer["results"])) == (200, len(items))
        compared = [
            self.compare_charge(name, use, key, (result["status"], result), is_item=True)
            for (name, use, key), result in zip(items, answer["results"], strict=True)
        ]
        return multiple(*[made for made in compared if made])

    @rule(name=names, use=uses)
    def estimate(self, name: str, use: tuple[str, int | None]) -> None:
        status, answer = self.ask("estimate", self.body(name, use))
        assert status == 200
        try:
            made = self.purses[name].admit(*use)
        except Refused as rejection:
            assert (answer["allowed"], answer.get("code")) == (False, rejection.code), answer
        else:
            assert (answer["allowed"], answer["credits"], answer["isFreeUsage"]) == (True, made.credits, made.is_free), answer

    @rule(target=holds, name=names, use=uses, key=keys)
    def hold(self, name: str, use: tuple[str, int | None], key: str | None) -> Any:
        holder = self.purses[name]
        given = self.ask("holds", self.body(name, use), key)
        if self.is_replay(holder, "hold", key, use, given):
            return multiple()
        try:
            made = holder.admit(*use)
        except Refused as rejection:
            self.must_refuse(given, rejection)
            return multiple()
        holder.held += made.credits
        holder.open_holds += 1
        holder.count(made, 1)
        made.id = given[1]["holdId"]
        assert given[0] == 201, given
        assert (given[1]["creditsHeld"], given[1]["isFreeUsage"]) == (made.credits, made.is_free), given
        assert given[1]["balance"] == holder.spendable, given
        self.remember(holder, "hold", key, use, given)
        return made

    def end(self, ended: Use, state: str) -> None:
        ended.state = state
        ended.holder.held -= ended.credits
        ended.holder.open_holds -= not ended.is_unknown
        if state != "captured":
            ended.holder.count(ended, -1)

    def has_ended(self, ended: Use, state: str, given: tuple[int, Any]) -> bool:
        """Whether the hold had ended before; then this answer is compared here."""
        if ended.state == "held":
            return False
        if ended.state == state:
            assert (*given, self.was_replayed) == (*ended.ending, True), given
        else:
            self.must_refuse(given, Refused(409, "invalid_state", state=ended.state))
        return True

    @rule(target=charges, hold=holds, seconds=st.none() | st.integers(1, 30))
    def capture(self, hold: Use, seconds: int | None) -> Any:
        given = self.ask(f"holds/{hold.id}/capture", {} if seconds is None else {"duration": seconds})
        if self.has_ended(hold, "captured", given):
            return multiple()
        final = hold.credits
        if seconds is not None and hold.model == "film":
            final = FILM_PRICE * seconds
        self.end(hold, "captured")
        taken = min(final, hold.holder.spendable)
        hold.holder.move(-taken)
        made = Use(hold.holder, hold.model, taken, hold.is_free, hold.is_counted, state="charged", shortfall=final - taken)
        answer = given[1]
        made.id = answer["chargeId"]
        assert given[0] == 200, given
        assert (answer["creditsCharged"], answer["shortfall"]) == (taken, made.shortfall), given
        assert answer["creditsReleased"] == max(0, hold.credits - taken), given
        assert answer["balance"] == hold.holder.spendable, given
        hold.ending = given
        return made

    @rule(hold=holds)
    def release(self, hold: Use) -> None:
        given = self.ask(f"holds/{hold.id}/release", {"reason": "not needed"})
        if self.has_ended(hold, "released", given):
            return
        self.end(hold, "released")
        assert given == (200, {"success": True, "creditsReleased": hold.credits, "balance": hold.holder.spendable})
        hold.ending = given

    @rule(hold=holds)
    def time_passes(self, hold: Use) -> None:
        with connection.cursor() as cursor:
            parameter = hold.id if connection.vendor == "postgresql" else hold.id.replace("-", "")
            cursor.execute("UPDATE billing_hold SET expires_at = %s WHERE id = %s", ["2020-01-01 00:00:00+00:00", parameter])
        if hold.state == "held" and not hold.is_unknown:
            self.end(hold, "expired")

    @rule(hold=holds)
    def nobody_knows(self, hold: Use) -> None:
        if hold.state != "held":
            with pytest.raises(HoldEnded):
                mark_unknown(hold_id=hold.id, actor="test")
            return
        mark_unknown(hold_id=hold.id, actor="test")
        hold.holder.open_holds -= not hold.is_unknown
        hold.is_unknown = True

    @rule(charge=charges, credits=st.none() | st.integers(1, 40), key=some_key, is_keyed=st.booleans())
    def refund(self, charge: Use, credits: int | None, key: str, is_keyed: bool) -> None:
        sent = {"chargeId": charge.id, "reason": "failed"} | ({"credits": credits} if credits else {})
        used_key = key if credits or is_keyed else None
        given = self.ask("refund", sent, used_key)
        if self.is_replay(charge.holder, "refund", used_key, (charge.id, credits), given):
            return
        left = charge.credits - charge.refunded
        if credits is None and charge.ending is not None:
            assert (*given, self.was_replayed) == (*charge.ending, True), given
            return
        if credits is not None and credits > left:
            self.must_refuse(given, Refused(409, "refund_exceeds_charge"))
            return
        moved = left if credits is None else credits
        charge.refunded += moved
        charge.holder.move(moved)
        if charge.refunded == charge.credits and not charge.is_given_back:
            charge.is_given_back = True
            charge.holder.count(charge, -1)
        expected = {
            "success": True,
            "creditsRefunded": moved,
            "totalRefunded": charge.refunded,
            "balance": charge.holder.spendable,
        }
        assert given == (200, expected)
        if credits is None:
            charge.ending = given
        self.remember(charge.holder, "refund", used_key, (charge.id, credits), given)

    # --- looking --------------------------------------------------------------------------------------------------

    @rule(hold=holds)
    def look_at_hold(self, hold: Use) -> None:
        status, answer = self.internal.get(f"/internal/billing/holds/{hold.id}")
        assert (status, answer["state"], answer["creditsHeld"]) == (200, hold.state, hold.credits)

    @rule(charge=charges)
    def look_at_charge(self, charge: Use) -> None:
        status, answer = self.internal.get(f"/internal/billing/charges/{charge.id}")
        state = "refunded" if charge.is_given_back else "partially_refunded" if charge.refunded else "charged"
        assert (status, answer["state"], answer["totalRefunded"]) == (200, state, charge.refunded)
        assert (answer["creditsCharged"], answer["shortfall"]) == (charge.credits, charge.shortfall)

    @invariant()
    def balances_agree(self) -> None:
        for holder in getattr(self, "purses", {}).values():
            status, answer = self.internal.get(f"/internal/billing/balance?targetType={holder.kind}&targetId={holder.id}")
            assert (status, answer) == (200, {"balance": holder.spendable, "held": holder.held})

    @rule()
    def keep_house(self) -> None:
        """After this the rows say what readers were told before."""
        expire_holds()
        for holder in self.purses.values():
            account = Account.objects.get(mode="live", **{holder.kind: holder.id})
            assert (account.balance, account.held, account.last_seq) == (
                holder.balance,
                holder.held,
                holder.entries,
            )
            counted = [(row.uses, row.free_uses) for row in DailyUsage.objects.filter(account=account)]
            assert counted in ([(holder.uses, holder.free_uses)], [] if not holder.uses else None)
        report = reconcile()
        assert report.ok, report.problems

    def teardown(self) -> None:
        if hasattr(self, "purses"):
            self.keep_house()


def test_the_books_do_what_the_model_does(cloned_db: Any) -> None:
    flash = priced_model("flash", base=FLASH_PRICE)
    priced_model("film", base=FILM_PRICE, billing_type="PER_DURATION")
    permit("VIP", flash, daily_limit=DAILY_LIMIT, is_free_for_member=True, free_daily_limit=FREE_A_DAY)
    permit("USER", flash, daily_limit=DAILY_LIMIT)
    LevelConfig.objects.filter(level="USER").update(max_concurrency=AT_ONCE)
    run_state_machine_as_test(
        BooksAgainstModel,
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
