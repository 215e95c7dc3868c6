"""The workload: callers that repeat each call with its key until it is answered, and know what the answer must be."""

import threading
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import requests

from tests.chaos.model import CODE_CREDITS, PRICE, VIDEO_SECONDS, Account, Disagreement, Lease, Shared, expect
from tests.chaos.schedule import Step
from tests.chaos.world import World
from tests.settings import INTERNAL_SECRET

RETRY_SECONDS = 180  # everything is mended long before
CALL_SECONDS = 15
PAUSE_SECONDS = 0.1
HOLD_SECONDS = 60  # of a hold that nobody ends
NOT_NOW = (0, 503)  # 0: no answer at all
FATES = ("made", "fails")  # what the provider is to make of an order
OUTCOMES = ("ok", "ok", "ok", "error", "rate_limited")  # of a lease


class Caller(threading.Thread):
    """Makes its steps one after another until `until` (monotonic). `failure` says what was wrong, if anything."""

    def __init__(self, number: int, world: World, shared: Shared, steps: Iterator[Step], until: float) -> None:
        super().__init__(daemon=True, name=f"caller-{number}")
        self.number, self.world, self.shared, self.steps, self.until = number, world, shared, steps, until
        self.account = Account()
        self.tenant = world.tenants[number]
        self.target = {"targetType": "tenant", "targetId": self.tenant["id"]}
        self.session = requests.Session()
        self.session.trust_env = False
        self.failure: BaseException | None = None
        self.made = self.retries = 0

    def run(self) -> None:
        try:
            for step in self.steps:
                if time.monotonic() > self.until:
                    break
                getattr(self, step.verb)(step)
                self.made += 1
            for hold_id in list(self.account.holds):
                self._end(hold_id, "release")
        except BaseException as failure:
            self.failure = failure

    # --- asking ----------------------------------------------------------------------------------------------------

    def ask(self, path: str, body: Any, *, key: str = "", allowed: tuple[int, ...] = (200, 201)) -> tuple[int, dict[str, Any]]:
        """The answer, asked for until there is one of the allowed statuses."""
        is_internal = path.startswith("/internal/")
        headers = {"X-Internal-Secret": INTERNAL_SECRET} if is_internal else {"Authorization": f"Bearer {self.tenant['apiKey']}"}
        headers |= {"Idempotency-Key": key} if key else {}
        deadline = time.monotonic() + RETRY_SECONDS
        while True:
            try:
                answer = self.session.post(self.world.url + path, json=body, headers=headers, timeout=CALL_SECONDS)
                status, said = answer.status_code, answer.json()
            except (requests.RequestException, ValueError):
                status, said = 0, {}
            if status in allowed:
                self.shared.count("calls")
                return status, said
            if status not in NOT_NOW or time.monotonic() > deadline:
                raise Disagreement(f"{path} {body} {key}: {status} {said}")
            self.shared.count("retries")
            self.retries += 1
            time.sleep(PAUSE_SECONDS)

    def ask_twice(self, path: str, body: Any, *, key: str) -> dict[str, Any]:
        """A second call with the same key must say the same."""
        _status, first = self.ask(path, body, key=key)
        _status, again = self.ask(path, body, key=key)
        for name in ("chargeId", "holdId", "entryId", "id"):
            expect(again.get(name), first.get(name), f"{path} repeated: {name}")
        return first

    # --- the ledger ------------------------------------------------------------------------------------------------

    def charge(self, step: Step) -> None:
        body = self.target | {"modelId": self.world.image_model, "operation": "chaos", "quantity": step.amount}
        made = self.ask_twice("/internal/billing/charge", body, key=step.key)
        expect(made["creditsCharged"], step.amount * PRICE, "a charge")
        self.account.charges[made["chargeId"]] = made["creditsCharged"]
        self.account.balance -= made["creditsCharged"]

    def charge_shared(self, step: Step) -> None:
        """From an account that has too little for everybody: what was charged has an end, and 402 is an answer."""
        body = {"targetType": "tenant", "targetId": self.world.shared_tenant["id"]}
        body |= {"modelId": self.world.image_model, "operation": "chaos", "quantity": step.amount}
        status, made = self.ask("/internal/billing/charge", body, key=step.key, allowed=(200, 402))
        if status == 200:
            self.shared.charge(made["creditsCharged"])

    def hold(self, step: Step) -> None:
        made = self._hold(step, 3600)
        self.account.holds[made["holdId"]] = made["creditsHeld"]

    def hold_and_forget(self, step: Step) -> None:
        made = self._hold(step, HOLD_SECONDS)
        self.account.forgotten[made["holdId"]] = made["creditsHeld"]

    def _hold(self, step: Step, seconds: int) -> dict[str, Any]:
        body = self.target | {"modelId": self.world.image_model, "operation": "chaos", "quantity": step.amount}
        made = self.ask_twice("/internal/billing/holds", body | {"expiresIn": seconds}, key=step.key)
        expect(made["creditsHeld"], step.amount * PRICE, "a hold")
        return made

    def capture(self, step: Step) -> None:
        if self.account.holds:
            self._end(chosen(self.account.holds, step), "capture")

    def release(self, step: Step) -> None:
        if self.account.holds:
            self._end(chosen(self.account.holds, step), "release")

    def _end(self, hold_id: str, verb: str) -> None:
        held = self.account.holds.pop(hold_id)
        path = f"/internal/billing/holds/{hold_id}/{verb}"
        made = self.ask_twice(path, {}, key="")
        if verb == "release":
            expect(made["creditsReleased"], held, "a release")
            return
        expect((made["creditsCharged"], made["shortfall"]), (held, 0), "a capture")
        self.account.charges[made["chargeId"]] = held
        self.account.balance -= held

    def refund(self, step: Step) -> None:
        if self.account.charges:
            charge_id = chosen(self.account.charges, step)
            left = self.account.charges.pop(charge_id)
            made = self.ask_twice("/internal/billing/refund", {"chargeId": charge_id, "reason": "chaos"}, key="")
            expect(made["creditsRefunded"], left, "a refund")
            self.account.balance += left

    def refund_part(self, step: Step) -> None:
        charges = {charge_id: left for charge_id, left in self.account.charges.items() if left > 1}
        if charges:
            charge_id = chosen(charges, step)
            body = {"chargeId": charge_id, "reason": "chaos", "credits": 1}
            self.ask_twice("/internal/billing/refund", body, key=step.key)
            self.account.charges[charge_id] -= 1
            self.account.balance += 1

    def grant(self, step: Step) -> None:
        body = self.target | {"credits": step.amount, "type": "GIFT", "reason": "chaos"}
        self.ask_twice("/internal/billing/grant", body, key=step.key)
        self.account.balance += step.amount

    def redeem(self, step: Step) -> None:
        """A code that others want too; 409 is an answer where it is used up, or was ours already."""
        number = int(step.choice * len(self.world.codes))
        status, made = self.ask("/v1/redeem", {"code": self.world.codes[number]}, key=step.key, allowed=(200, 409))
        if status == 409:
            expect(made["error"]["code"], "code_used", "a redemption")
            self.account.refused_codes.append(number)
            return
        if self.number in self.shared.redeemed[number]:
            raise Disagreement(f"code {number} was redeemed twice by one tenant")
        expect(made["credits"], CODE_CREDITS, "a redemption")
        self.shared.redeem(number, self.number)
        self.account.balance += CODE_CREDITS

    # --- generations and credentials ---------------------------------------------------------------------------------

    def video(self, step: Step) -> None:
        """An order; what becomes of it is looked at in the end, where the provider is asked to make of it what it says.

        A repeated one is answered by the first, also by its end where nobody knows it (502, 504); a failure frees its key.
        """
        body = {"model": self.world.video_model, "prompt": FATES[step.amount == 1], "seconds": str(VIDEO_SECONDS)}
        told: list[str] = []
        for _time in range(2):
            retries = self.retries
            status, made = self.ask("/v1/videos", body, key=step.key, allowed=(200, 502, 504))
            self.account.unanswered_orders += self.retries - retries
            if status == 200:
                told.append(made["id"])
            elif not told:
                self.account.unanswered_orders += 1
        self.account.videos |= set(told)
        if len(set(told)) == 2:
            self.account.reordered.append((told[0], told[1]))

    def lease(self, step: Step) -> None:
        status, made = self.ask("/internal/credentials/lease", {"provider": "gemini", "ttl": 30}, allowed=(200, 429))
        if status == 429:
            expect(made["code"], "credentials_exhausted", "a lease")
            return
        since, until = time.time(), datetime.fromisoformat(made["expiresAt"]).timestamp()
        expect(made["secret"], self.world.credentials[made["credentialId"]], "a lease's secret")
        lease = Lease(made["leaseId"], made["credentialId"], since, until)
        self.account.leases.append(lease)
        time.sleep(step.choice / 2)
        if step.amount == 5:
            return  # never reported: it ends by itself
        outcome = OUTCOMES[step.amount]
        lease.until = max(since, min(until, time.time()))
        path, body = f"/internal/credentials/leases/{lease.id}/report", {"outcome": outcome, "retryAfter": 1}
        self.ask_twice(path, body, key="")
        lease.outcome = outcome
        self.ask(path, {"outcome": "invalid"}, allowed=(409,))


def chosen(things: dict[str, int], step: Step) -> str:
    return list(things)[int(step.choice * len(things))]
