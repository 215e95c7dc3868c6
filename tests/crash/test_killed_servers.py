"""Servers die in the middle of charges; nothing is lost and nothing is paid twice."""

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import requests
from cryptography.fernet import Fernet
from django.test import override_settings
from django.utils import timezone

from aiservices.credentials.models import GeminiKey
from aiservices.monitoring.reconcile_task import reconcile_all
from billing import services
from billing.budgets.models import Budget
from billing.catalog.usage import UsageRequest
from billing.ledger.models import Account, Charge, Hold
from tenants.principal import Principal
from tests.aiservices.credential_rows import key
from tests.books import body, give
from tests.catalog import priced_model
from tests.live import Database, manage
from tests.settings import ENVIRONMENT, INTERNAL_SECRET

pytestmark = pytest.mark.slow

CHARGES = 1000
CALLERS = 8
KILLS = 12
RETRY_SECONDS = 90


def children(pid: int) -> list[int]:
    """The server processes below the one that was started."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    return [int(line) for line in listed.split()]


def charge_until_answered(waule: Any, url: str, given: Any, key: str) -> dict[str, Any]:
    """Asks with the same key until there is an answer that is one."""
    deadline = time.monotonic() + RETRY_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(requests.RequestException):
            headers = {"X-Internal-Secret": INTERNAL_SECRET, "Idempotency-Key": key}
            answer = waule.session.post(f"{url}/internal/billing/charge", json=given, headers=headers, timeout=20)
            if answer.status_code == 200:
                return dict(answer.json())
            assert answer.status_code in (500, 503), answer.text
            if answer.status_code == 500:
                raise AssertionError(answer.text)
        time.sleep(0.1)
    raise AssertionError(f"no answer for {key}")


def test_kill_9_during_1000_keyed_charges(live_waule: Any, acme: Any) -> None:
    priced_model("flash", base=7)
    give(acme, 7 * CHARGES)
    live_waule.workers = 2
    live_waule.start()
    url = live_waule.url
    done = threading.Event()
    kills = 0

    def kill_now_and_then() -> None:
        nonlocal kills
        chance = random.Random(7)
        while not done.wait(chance.uniform(0.2, 0.6)) and kills < KILLS:
            victims = children(live_waule.pid)
            if not victims:
                continue
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(victims), signal.SIGKILL)
                kills += 1

    killer = threading.Thread(target=kill_now_and_then)
    killer.start()
    with ThreadPoolExecutor(CALLERS) as pool:
        answers = list(pool.map(lambda n: charge_until_answered(live_waule, url, body(acme), f"charge-{n}"), range(CHARGES)))
    done.set()
    killer.join()

    assert kills >= 3
    assert len({answer["chargeId"] for answer in answers}) == CHARGES
    account = Account.objects.get(tenant=acme, mode="live")
    assert (account.balance, Charge.objects.filter(account=account).count()) == (1000, CHARGES)
    assert reconcile_all().ok


@pytest.mark.parametrize(
    ("point", "charged"), [("charge.before_commit", 0), ("charge.after_commit", 1)], ids=["before commit", "after commit"]
)
def test_killed_around_the_commit_of_a_charge(live_waule: Any, alice: Any, point: str, charged: int) -> None:
    """A user with a daily limit is charged by several statements, so that there is a moment before the commit."""
    from tests.catalog import permit

    permit("USER", priced_model("flash", base=7), daily_limit=5)
    live_waule.environ["WAULE_TEST_FAIL_POINT"] = point
    headers = {"X-Internal-Secret": INTERNAL_SECRET, "Idempotency-Key": "k"}
    live_waule.post_to_its_death("/internal/billing/charge", body(alice), headers=headers)
    assert Charge.objects.count() == charged
    live_waule.restart(WAULE_TEST_FAIL_POINT="")
    answer = live_waule.post("/internal/billing/charge", body(alice), headers=headers)
    assert (answer.status_code, answer.json()["balance"]) == (200, 993)
    assert answer.headers.get("Idempotent-Replayed") == ("true" if charged else None)
    assert Charge.objects.count() == 1
    assert reconcile_all().ok


@pytest.mark.parametrize(
    ("point", "path"),
    [
        ("hold.before_commit", "holds"),
        ("hold.after_commit", "holds"),
        ("capture.before_commit", "holds/{hold}/capture"),
        ("capture.after_commit", "holds/{hold}/capture"),
        ("release.before_commit", "holds/{hold}/release"),
        ("refund.before_commit", "refund"),
        ("batch.before_commit", "charges/batch"),
        ("grant.before_commit", "grant"),
    ],
)
def test_killed_inside_a_verb_it_is_done_or_not_done(live_waule: Any, acme: Any, point: str, path: str) -> None:
    """A tenant with a budget is served by several statements, so that there is a moment before the commit."""
    priced_model("flash", base=7)
    Budget.objects.create(tenant=acme, period="day", limit_credits=1000)
    headers = {"X-Internal-Secret": INTERNAL_SECRET}
    post = live_waule.post
    about: Any = {"target": Principal("tenant", str(acme.id)), "use": UsageRequest(model="flash"), "actor": "test"}
    hold, charge = str(services.hold(**about).hold.id), str(services.charge(**about).charge.id)
    given: dict[str, Any] = {
        "holds": body(acme),
        "refund": {"chargeId": charge, "reason": "failed"},
        "charges/batch": {"charges": [body(acme) | {"idempotencyKey": f"k{n}"} for n in range(5)]},
        "grant": body(acme) | {"credits": 5, "type": "GIFT", "reason": "welcome"},
        "holds/{hold}/capture": {"quantity": 1},  # a final use is priced, in a transaction of several statements
    }.get(path, {})
    url = "/internal/billing/" + path.format(hold=hold)
    keyed = headers | {"Idempotency-Key": "k"}
    live_waule.environ["WAULE_TEST_FAIL_POINT"] = point
    live_waule.post_to_its_death(url, given, headers=keyed)
    assert reconcile_all().ok
    live_waule.restart(WAULE_TEST_FAIL_POINT="")
    first, again = post(url, given, headers=keyed), post(url, given, headers=keyed)
    assert first.status_code == again.status_code == (201 if path == "holds" else 200), first.text
    assert first.json() == again.json() or path == "charges/batch"
    balance, held = {
        "holds": (993, 14),
        "holds/{hold}/capture": (986, 0),
        "holds/{hold}/release": (993, 0),
        "refund": (1000, 7),
        "charges/batch": (958, 7),
        "grant": (998, 7),
    }[path]
    account = Account.objects.get(tenant=acme, mode="live")
    assert (account.balance, account.held) == (balance, held)
    assert reconcile_all().ok


def killed(command: str, database: Database, point: str, **environ: str) -> None:
    done = manage(command, DATABASE_URL=database.url, WAULE_TEST_FAIL_POINT=point, **environ)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_killed_inside_an_expiry_it_is_done_or_not_done(cloned_db: Database, acme: Any) -> None:
    priced_model("flash", base=7)
    services.hold(target=Principal("tenant", str(acme.id)), use=UsageRequest(model="flash"), actor="test")
    Hold.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    killed("expire_holds", cloned_db, "expire.before_commit")
    assert (Hold.objects.get().state, Account.objects.get(tenant=acme, mode="live").held) == ("held", 7)
    assert manage("expire_holds", DATABASE_URL=cloned_db.url).returncode == 0
    assert (Hold.objects.get().state, Account.objects.get(tenant=acme, mode="live").held) == ("expired", 0)
    assert reconcile_all().ok


def test_a_rotation_that_was_killed_is_run_again(cloned_db: Database) -> None:
    secrets = sorted(key().secret.reveal() for _number in range(3))
    keys = f"{Fernet.generate_key().decode()},{ENVIRONMENT['ENCRYPTION_KEYS']}"
    killed("rotate_encryption_key", cloned_db, "rotation.between_rows", ENCRYPTION_KEYS=keys)
    assert manage("rotate_encryption_key", DATABASE_URL=cloned_db.url, ENCRYPTION_KEYS=keys).returncode == 0
    with override_settings(ENCRYPTION_KEYS=keys.split(",")[:1]):  # the old key is gone
        assert sorted(row.secret.reveal() for row in GeminiKey.objects.all()) == secrets
