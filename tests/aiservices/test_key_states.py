"""What an upstream's answer means for the key that was used: a table from the answer to the key's state, and back again."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from aiservices.credentials import pool
from aiservices.credentials.models import CredentialLease, GeminiKey, ModelCooldown, SoraToken
from aiservices.errors import CredentialsExhausted
from aiservices.generations.providers.gemini.provider import Gemini
from gateway_client.errors import UpstreamError
from tests.aiservices.credential_rows import key, token
from tests.aiservices.upstreams import Heard, job, pictures
from tests.gateway_client import bad_server as bad
from tests.gateway_client.bad_server import BadServer
from tests.upstreams.sora_service import SoraService

pytestmark = pytest.mark.django_db
MODEL = "gemini-3.1-flash-image"


@pytest.fixture
def upstream(settings: Any) -> Iterator[BadServer]:
    server = BadServer()
    settings.GEMINI_API_URL = f"{server.url}/v1beta"
    settings.UPSTREAM_TOTAL_SECONDS = 60
    yield server
    server.stop()


def error(code: int, **fields: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": "no", "status": "X"} | fields}


def reason(text: str) -> dict[str, Any]:
    return {"details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": text}]}


def quota(*names: str, delay: str = "") -> dict[str, Any]:
    retry = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}] if delay else []
    violations = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": name} for name in names]}
    return {"status": "RESOURCE_EXHAUSTED", "details": [violations, *retry]}


MINUTE, DAY = "GenerateRequestsPerMinutePerProjectPerModel", "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
PROJECT = "GenerateRequestsPerMinutePerProject"
EXPIRED = "API key expired. Please renew the API key."
HARD_LIMIT = {"type": "invalid_request_error", "code": "billing_hard_limit_reached", "message": "Billing hard limit"}
OTHERS = {
    "billing limit, as later copies say it": {"type": "billing_limit_user_error", "message": "m"},
    "insufficient quota": {"type": "insufficient_quota", "code": "insufficient_quota", "message": "m"},
    "a relay's user quota": {"type": "new_api_error", "code": "insufficient_user_quota", "message": "m"},
    "in debt at Alibaba": {"code": "Arrearage", "message": "m"},
    "in debt at Volcengine": {"code": "AccountOverdueError", "message": "m"},
}

ANSWERS: dict[str, tuple[int, Any, str, str, str]] = {
    # the status · the body · the outcome of the lease · the key's state · for which model alone it rests
    "no such key": (400, error(400, **reason("API_KEY_INVALID")), "invalid", "invalid", ""),
    "no such key, without details": (400, error(400, message="API key not valid. Pass one."), "invalid", "invalid", ""),
    "an expired key": (400, error(400, message=EXPIRED, **reason("API_KEY_INVALID")), "invalid", "invalid", ""),
    "an expired key, without details": (400, error(400, message=EXPIRED), "invalid", "invalid", ""),
    "no billing": (400, error(400, status="FAILED_PRECONDITION", message="Enable billing."), "invalid", "invalid", ""),
    "another country": (400, error(400, status="FAILED_PRECONDITION", message="Location"), "invalid", "invalid", ""),
    "unauthorized": (401, error(401), "invalid", "invalid", ""),
    "a leaked key": (403, error(403, message="Your API key was reported as leaked."), "invalid", "invalid", ""),
    "out of credit": (402, error(402, message="Prepaid credit is used up."), "quota_exhausted", "quota_exhausted", ""),
    "a hard limit": (400, {"error": HARD_LIMIT}, "quota_exhausted", "quota_exhausted", ""),
    **{name: (400, {"error": body}, "quota_exhausted", "quota_exhausted", "") for name, body in OTHERS.items()},
    "a limit": (429, error(429), "rate_limited", "cooling", ""),
    "a project's limit": (429, error(429, **quota(PROJECT)), "rate_limited", "cooling", ""),
    "a model's and a project's limit": (429, error(429, **quota(PROJECT, MINUTE)), "rate_limited", "cooling", ""),
    "a model's limit": (429, error(429, **quota(MINUTE, delay="34s")), "rate_limited", "ready", MODEL),
    "a model's limit for the day": (429, error(429, **quota(DAY)), "quota_exhausted", "ready", MODEL),
    "overloaded": (503, error(503, status="UNAVAILABLE"), "overloaded", "ready", ""),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_what_an_answer_means_for_the_key(upstream: BadServer, name: str) -> None:
    status, body, outcome, state, model = ANSWERS[name]
    first, second = key("first", priority=1), key("second")
    upstream.will(bad.answer(body, status), bad.answer(pictures(bad.PNG)))
    assert len(Gemini(pool).generate_image(job(model_id=MODEL), progress=Heard()).outputs) == 1
    first.refresh_from_db()
    assert first.state == state
    assert list(ModelCooldown.objects.values_list("credential_id", "model")) == ([(first.pk, model)] if model else [])
    leases = list(CredentialLease.objects.order_by("id").values_list("outcome", "credential_id"))
    assert leases[0] == (outcome, first.pk)
    assert leases[-1][0] == "ok"
    if outcome != "overloaded":
        assert leases[-1] == ("ok", second.pk)  # the next key made it
    said = body["error"]["message"]
    assert first.last_error == f"{status}: {said}"
    assert CredentialLease.objects.earliest("id").message == f"{status}: {said}"


def test_the_provider_s_words_come_without_the_key(upstream: BadServer) -> None:
    one = key("one")
    secret = one.secret.reveal()
    upstream.will(bad.answer(error(403, message=f"The key {secret} was reported as leaked."), 403))
    with pytest.raises(UpstreamError):
        Gemini(pool).generate_image(job(model_id=MODEL), progress=Heard())
    one.refresh_from_db()
    assert "was reported as leaked" in one.last_error
    assert secret not in one.last_error + CredentialLease.objects.get().message


# --- one model alone -----------------------------------------------------------------------------------------------


def lend(**fields: Any) -> pool.Lease:
    return pool.lease(**{"provider": "gemini", "model": MODEL} | fields)


def test_a_key_that_rests_for_one_model_serves_the_others() -> None:
    one = key("one")
    now = timezone.now()
    with time_machine.travel(now, tick=False):
        pool.report(lend().lease_id, "rate_limited", 34, is_of_model=True)
        with pytest.raises(CredentialsExhausted) as caught:
            lend()
        assert caught.value.retry_after_seconds == 34
        other = lend(model="gemini-3-pro-image")
        assert other.credential_id == one.pk and not other.is_trial
        assert lend(model=None).credential_id == one.pk
    with time_machine.travel(now + timedelta(seconds=35), tick=False):
        assert not lend().is_trial


def test_a_model_s_limits_in_a_row_rest_it_longer() -> None:
    one = key("one")
    now, waits = timezone.now(), []
    for _round in range(4):
        with time_machine.travel(now, tick=False):
            pool.report(lend().lease_id, "rate_limited", is_of_model=True)
            until = ModelCooldown.objects.get(credential_id=one.pk).cooling_until
            waits.append((until - now).total_seconds())
            now = until + timedelta(seconds=1)
    assert waits == [30, 60, 120, 240]
    with time_machine.travel(now + timedelta(days=2), tick=False):
        pool.report(lend().lease_id, "rate_limited", is_of_model=True)
        until = ModelCooldown.objects.get(credential_id=one.pk).cooling_until
        assert (until - timezone.now()).total_seconds() == 30  # that was long ago


def test_a_limit_of_no_known_model_is_the_keys() -> None:
    one = key("one")
    pool.report(lend(model="").lease_id, "rate_limited", is_of_model=True)
    one.refresh_from_db()
    assert (one.state, ModelCooldown.objects.count()) == ("cooling", 0)


def test_old_cooldowns_are_forgotten() -> None:
    key("one")
    pool.report(lend().lease_id, "rate_limited", is_of_model=True)
    pool.clean_up()
    assert ModelCooldown.objects.count() == 1
    with time_machine.travel(timezone.now() + timedelta(days=2)):
        pool.clean_up()
    assert ModelCooldown.objects.count() == 0


# --- never accepted ------------------------------------------------------------------------------------------------


def test_a_key_that_never_worked_is_out_at_its_first_refusal() -> None:
    one = key("one", accepted_at=None)
    pool.report(lend().lease_id, "invalid", message="400: API key not valid.")
    one.refresh_from_db()
    assert (one.state, one.cooling_until) == ("invalid", None)
    with time_machine.travel(timezone.now() + timedelta(days=30)), pytest.raises(CredentialsExhausted):
        lend()


@pytest.mark.parametrize("outcome", ["ok", "content_refused"])
def test_the_first_use_that_works_is_remembered(outcome: str) -> None:
    one = key("one", accepted_at=None)
    pool.report(lend().lease_id, outcome)
    one.refresh_from_db()
    first = one.accepted_at
    assert first is not None
    pool.report(lend().lease_id, outcome)
    one.refresh_from_db()
    assert one.accepted_at == first


def test_a_token_that_the_service_has_not_taken_is_lent_to_nobody(internal: Any, sora: SoraService) -> None:
    sora.stop()
    status, made = internal.post("/internal/sora/tokens", {"token": "a-token-of-ours-0001"})
    assert (status, made["toPush"]) == (201, ["add"])
    status, refused = internal.post("/internal/credentials/lease", {"provider": "sora"})
    assert (status, refused["code"]) == (429, "credentials_exhausted")
    sora.start()
    assert internal.post("/internal/sora/tokens/sync")[0] == 200
    assert internal.post("/internal/credentials/lease", {"provider": "sora"})[0] == 200


def test_without_a_service_nobody_has_to_take_it(settings: Any) -> None:
    settings.SORA_API_USERNAME = settings.SORA_API_PASSWORD = ""
    token("one", to_push=["add"])
    assert pool.lease(provider="sora").credential_id == SoraToken.objects.get().pk


# --- ending a cooldown ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [100, 86_400, 2_592_000])
def test_an_upstream_is_believed_up_to_a_day(internal: Any, seconds: int) -> None:
    one = key("one")
    now = timezone.now()
    with time_machine.travel(now, tick=False):
        lease = internal.post("/internal/credentials/lease", {"provider": "gemini"})[1]["leaseId"]
        path = f"/internal/credentials/leases/{lease}/report"
        assert internal.post(path, {"outcome": "quota_exhausted", "retryAfter": seconds})[0] == 200
    one.refresh_from_db()
    assert one.cooling_until == now + timedelta(seconds=min(seconds, pool.MAX_RETRY_AFTER_SECONDS))


STATES: list[tuple[str, bool]] = [("rate_limited", False), ("quota_exhausted", False), ("invalid", False), ("rate_limited", True)]


@pytest.mark.parametrize(("outcome", "is_of_model"), STATES)
def test_an_operator_uses_a_key_again_now(internal: Any, outcome: str, is_of_model: bool) -> None:
    one = key("one")
    pool.report(lend().lease_id, outcome, 3600, is_of_model=is_of_model)
    with pytest.raises(CredentialsExhausted):
        lend()
    status, shown = internal.post(f"/internal/gemini/keys/{one.pk}/use-again", {"reason": "bought more"})
    assert (status, shown["state"], shown["coolingUntil"]) == (200, "ready", None)
    assert not lend().is_trial


@pytest.mark.parametrize(("outcome", "is_of_model"), STATES)
def test_a_test_that_works_ends_every_cooldown(upstream: BadServer, internal: Any, outcome: str, is_of_model: bool) -> None:
    one = key("one", accepted_at=None) if outcome == "invalid" else key("one")
    pool.report(lend().lease_id, outcome, 3600, is_of_model=is_of_model)
    upstream.will(bad.answer({"models": []}))
    status, tested = internal.post(f"/internal/gemini/keys/{one.pk}/test")
    assert (status, tested["status"], tested["state"]) == (200, "success", "ready")
    assert not lend().is_trial


@pytest.mark.parametrize(
    "behaviour", [bad.answer(b"oops", 503), bad.answer({}, 500), bad.hang_up, bad.answer(b"<html>"), bad.reset]
)
def test_a_key_that_could_not_be_tested_is_none_the_worse(upstream: BadServer, internal: Any, behaviour: bad.Behaviour) -> None:
    one = key("one")
    upstream.will(behaviour)
    status, tested = internal.post(f"/internal/gemini/keys/{one.pk}/test")
    assert (status, tested["success"], tested["status"], tested["state"]) == (200, False, "untested", "ready")
    assert lend().credential_id == one.pk


SAID: list[tuple[str, str]] = [
    # what the service says of a failed test · what the test says
    ("Token is invalid: 401 Unauthorized", "failed"),
    ("Token expired", "failed"),
    ("Token 已过期", "failed"),
    ("Account deactivated", "failed"),
    ("Failed to connect to chatgpt.com: Connection refused", "untested"),
    ("HTTPSConnectionPool: Read timed out", "untested"),
    ("Proxy error: 407", "untested"),
    ("503 Service Unavailable", "untested"),
    ("SSL: certificate has expired", "untested"),
    ("网络错误", "untested"),
    ("", "untested"),
]


@pytest.mark.parametrize(("said", "expected"), SAID)
def test_what_the_sora_service_says_of_a_failed_test(internal: Any, sora: SoraService, said: str, expected: str) -> None:
    item = sora.put("a-token-of-ours-0001")
    one = token("one", remote_id=item["id"])
    sora.failed_tests[item["token"]] = said
    status, tested = internal.post(f"/internal/sora/tokens/{one.pk}/test")
    assert (status, tested["status"], tested["state"]) == (200, expected, "invalid" if expected == "failed" else "ready")


@pytest.mark.parametrize("broken", [(409, b'{"detail": "Token not found"}'), (500, b"oops"), (502, b"<html>")])
def test_a_service_that_cannot_test_says_nothing_of_the_token(
    internal: Any, sora: SoraService, broken: tuple[int, bytes]
) -> None:
    one = token("one", remote_id=sora.put("a-token-of-ours-0001")["id"])
    internal.post(f"/internal/sora/tokens/{one.pk}/test")  # it is logged in
    sora.broken = broken
    status, tested = internal.post(f"/internal/sora/tokens/{one.pk}/test")
    assert (status, tested["status"], tested["state"]) == (200, "untested", "ready")


def test_a_key_shows_its_trial_its_rests_and_its_history(internal: Any) -> None:
    one = key("one")
    pool.report(lend().lease_id, "rate_limited", 20, "429: Too many", is_of_model=True)
    pool.report(lend(model="other").lease_id, "rate_limited", 5, "429: Slow down")
    with time_machine.travel(timezone.now() + timedelta(seconds=6)):
        assert lend(model="other").is_trial
        shown = internal.get(f"/internal/gemini/keys/{one.pk}")[1]
    assert shown["state"] == "trial"
    (rest,) = shown["modelCooldowns"]
    assert (rest["model"], rest["outcome"], rest["message"]) == (MODEL, "rate_limited", "429: Too many")
    assert [(attempt["model"], attempt["outcome"], attempt["message"]) for attempt in shown["attempts"]] == [
        ("other", None, None),
        ("other", "rate_limited", "429: Slow down"),
        (MODEL, "rate_limited", "429: Too many"),
    ]


def test_a_gateway_tells_that_a_limit_is_one_models(internal: Any) -> None:
    one = key("one")
    lease = internal.post("/internal/credentials/lease", {"provider": "gemini", "model": MODEL})[1]["leaseId"]
    report = {"outcome": "rate_limited", "retryAfter": 60, "perModel": True}
    assert internal.post(f"/internal/credentials/leases/{lease}/report", report)[0] == 200
    one.refresh_from_db()
    assert (one.state, GeminiKey.objects.count()) == ("ready", 1)
    assert internal.post("/internal/credentials/lease", {"provider": "gemini", "model": MODEL})[0] == 429
    assert internal.post("/internal/credentials/lease", {"provider": "gemini", "model": "other"})[0] == 200
    (listed,) = internal.get("/internal/gemini/keys")[1]["keys"]
    assert [rest["model"] for rest in listed["modelCooldowns"]] == [MODEL]
