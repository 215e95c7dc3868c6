"""What an upstream's answer means, row by row: what the caller is told, how the hold ends, what each key is said to have done.

A row is one line. Requests come in through `/v1/images/generations`, upstreams are on loopback, and the ledger is proved
after each. docs/providers.md tells the same in words.
"""

import base64
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from aiservices.credentials import services as credentials
from aiservices.credentials.models import CredentialLease
from aiservices.generations.models import Generation
from billing.ledger.models import Account, Hold
from billing.reconciliation.checks import reconcile
from tenants.models import Tenant
from tests.callers import api_of_tenant
from tests.catalog import image_model
from tests.gateway_client import bad_server as bad
from tests.gateway_client.bad_server import BadServer

pytestmark = pytest.mark.django_db
IMAGES = "/v1/images/generations"
B64 = base64.b64encode(bad.PNG).decode()
WRAPPED = "\n".join(B64[start : start + 20] for start in range(0, len(B64), 20))
DATA_URI = f"data:image/png;base64,{B64}"
URL = "{upstream}/picture.png"
SECOND = "{upstream}/again.png"

# How it ends: the generation's state, the hold's, and what is left of 1,000 credits and held.
CHARGED = ("succeeded", "captured", 985, 0)
RELEASED = ("failed", "released", 1000, 0)
KEPT = ("unknown", "held", 1000, 15)

# What is told: status and code.
OK = (200, "")
REFUSED = (502, "upstream_refused")
CONTENT = (502, "content_refused")
FAILED = (502, "upstream_error")
LIMITED = (429, "rate_limited")
SLOW = (504, "upstream_timeout")


class Row(NamedTuple):
    upstream: str
    answers: Any  # of the upstream, one after the other; the last one stays
    told: tuple[int, str]
    end: tuple[str, str, int, int]
    keys: str = ""  # what each key of the pool is said to have done
    flags: str = ""


def error(status: int, kind: str = "server_error", message: str = "it broke", **more: Any) -> bad.Behaviour:
    """OpenAI's, the gateways' and new-api's shape."""
    return bad.answer({"error": {"message": message, "type": kind, "param": "", "code": None} | more}, status)


def google(status: int, word: str, message: str = "it broke", **more: Any) -> bad.Behaviour:
    return bad.answer({"error": {"code": status, "message": message, "status": word} | more}, status)


def ok(body: Any) -> bad.Behaviour:
    return bad.answer(body)


def parts(*parts: Any, **candidate: Any) -> bad.Behaviour:
    return ok({"candidates": [{"content": {"parts": list(parts)}, "finishReason": "STOP"} | candidate]})


def ended(reason: str) -> bad.Behaviour:
    return ok({"candidates": [{"finishReason": reason}]})


def item(**fields: Any) -> bad.Behaviour:
    return ok({"created": 1, "data": [fields]})


def said(*events: Any, done: bool = True) -> bad.Behaviour:
    return bad.server_sent(*events, done=done)


def delta(text: str, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


BUSY_TWICE = "overloaded overloaded"
PAGE = bad.answer(b"<html>502 Bad Gateway</html>", 502, {"Content-Type": "text/html"})
PICTURE = {"inlineData": {"mimeType": "image/png", "data": B64}}
NO_CHANNEL = error(503, "new_api_error", "No available channel for model x under group default", code="model_not_found")
GOOGLE_BUSY = google(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")
GOOGLE_KEY = google(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.")

# fmt: off
ROWS = [
    # --- Gemini ---------------------------------------------------------------------------------------------------
    Row("gemini", [parts(PICTURE)],                                           OK,      CHARGED,  "ok"),
    Row("gemini", [parts({"inlineData": {"data": WRAPPED}})],                 OK,      CHARGED,  "ok"),
    Row("gemini", [parts({"inlineData": {"data": DATA_URI}})],                OK,      CHARGED,  "ok"),
    Row("gemini", [parts({"inline_data": {"data": B64}})],                    OK,      CHARGED,  "ok"),
    Row("gemini", [parts({"inlineData": {"data": ""}}, PICTURE)],             OK,      CHARGED,  "ok"),
    Row("gemini", [GOOGLE_BUSY, parts(PICTURE)],                              OK,      CHARGED,  "overloaded ok"),
    Row("gemini", [GOOGLE_BUSY],                                              FAILED,  RELEASED, BUSY_TWICE,   "upstream_5xx"),
    Row("gemini", [google(500, "INTERNAL")],                                  FAILED,  RELEASED, "overloaded", "upstream_5xx"),
    Row("gemini", [google(504, "DEADLINE_EXCEEDED")],                         FAILED,  RELEASED, "overloaded", "upstream_5xx"),
    Row("gemini", [PAGE],                                                     FAILED,  KEPT,     "overloaded"),
    Row("gemini", [bad.answer(b"", 503)],                                     FAILED,  KEPT,     "overloaded"),
    Row("gemini", [bad.hang_up],                                              FAILED,  KEPT,     "error"),
    Row("gemini", [bad.silence(4)],                                           SLOW,    KEPT,     "error"),
    Row("gemini", [ok({})],                                                   FAILED,  RELEASED, "error"),
    Row("gemini", [ok({"candidates": None})],                                 FAILED,  RELEASED, "error"),
    Row("gemini", [ok({"candidates": []})],                                   FAILED,  RELEASED, "error"),
    Row("gemini", [parts({"text": "I cannot draw."})],                        FAILED,  RELEASED, "error"),
    Row("gemini", [parts(PICTURE | {"thought": True})],                       FAILED,  RELEASED, "error"),
    Row("gemini", [ended("NO_IMAGE")],                                        FAILED,  RELEASED, "error"),
    Row("gemini", [ended("MAX_TOKENS")],                                      FAILED,  RELEASED, "error"),
    Row("gemini", [ended("OTHER")],                                           FAILED,  RELEASED, "error"),
    Row("gemini", [ended("IMAGE_OTHER")],                                     FAILED,  RELEASED, "error"),
    Row("gemini", [ended("A_NEW_WORD")],                                      FAILED,  RELEASED, "error"),
    Row("gemini", [ended("SAFETY")],                                          CONTENT, RELEASED, "content_refused"),
    Row("gemini", [ended("IMAGE_SAFETY")],                                    CONTENT, RELEASED, "content_refused"),
    Row("gemini", [ended("PROHIBITED_CONTENT")],                              CONTENT, RELEASED, "content_refused"),
    Row("gemini", [ok({"promptFeedback": {"blockReason": "SAFETY"}})],        CONTENT, RELEASED, "content_refused"),
    Row("gemini", [ok({"candidates": 7})],                                    FAILED,  KEPT,     "error"),
    Row("gemini", [parts({"inlineData": {"data": "%%%"}})],                   FAILED,  KEPT,     "error"),
    Row("gemini", [ok(b"<html>")],                                            FAILED,  KEPT,     "error"),
    Row("gemini", [google(400, "INVALID_ARGUMENT")],                          REFUSED, RELEASED, "ok"),
    Row("gemini", [GOOGLE_KEY, parts(PICTURE)],                               OK,      CHARGED,  "invalid ok"),
    Row("gemini", [google(403, "PERMISSION_DENIED"), parts(PICTURE)],         OK,      CHARGED,  "invalid ok"),
    Row("gemini", [google(402, "FAILED_PRECONDITION"), parts(PICTURE)],       OK,      CHARGED,  "quota_exhausted ok"),
    Row("gemini", [google(429, "RESOURCE_EXHAUSTED"), parts(PICTURE)],        OK,      CHARGED,  "rate_limited ok"),
    Row("gemini", [google(429, "RESOURCE_EXHAUSTED")],                        LIMITED, RELEASED, "rate_limited rate_limited"),

    # --- OpenAI, and whoever speaks its API -----------------------------------------------------------------------
    Row("openai", [item(b64_json=B64)],                                       OK,      CHARGED),
    Row("openai", [item(b64_json=WRAPPED)],                                   OK,      CHARGED),
    Row("openai", [item(b64_json=DATA_URI)],                                  OK,      CHARGED),
    Row("openai", [item(b64_json=B64.rstrip("=").replace("+", "-"))],         OK,      CHARGED),
    Row("openai", [item(b64_json=B64, url="")],                               OK,      CHARGED),
    Row("openai", [item(b64_json="", url=URL)],                               OK,      CHARGED),
    Row("openai", [item(b64_json=None, url=URL)],                             OK,      CHARGED),
    Row("openai", [item(url=DATA_URI)],                                       OK,      CHARGED),
    Row("openai", [item(b64_json=URL)],                                       OK,      CHARGED),
    Row("openai", [item(image=B64)],                                          OK,      CHARGED),
    Row("openai", [item(image_url={"url": URL})],                             OK,      CHARGED),
    Row("openai", [ok({"data": [URL]})],                                      OK,      CHARGED),
    Row("openai", [ok({"images": [URL]})],                                    OK,      CHARGED),
    Row("openai", [ok({"images": [{"url": URL, "content_type": "image/png"}]})], OK,   CHARGED),
    Row("openai", [ok({"images": [{"content": B64}]})],                       OK,      CHARGED),
    Row("openai", [ok({"data": {"image_urls": [URL]}})],                      OK,      CHARGED),
    Row("openai", [ok({"data": {"image_base64": [B64]}})],                    OK,      CHARGED),
    Row("openai", [ok({"output": {"results": [{"url": URL}]}})],              OK,      CHARGED),
    Row("openai", [ok({"output": {"choices": [{"message": {"content": [{"image": URL}]}}]}})], OK, CHARGED),
    Row("openai", [ok({"output": [URL]})],                                    OK,      CHARGED),
    Row("openai", [ok({"output": URL})],                                      OK,      CHARGED),
    Row("openai", [ok({"image": B64})],                                       OK,      CHARGED),
    Row("openai", [ok({"artifacts": [{"base64": B64}]})],                     OK,      CHARGED),
    Row("openai", [ok({"binary_data_base64": [B64]})],                        OK,      CHARGED),
    Row("openai", [ok({"candidates": [{"content": {"parts": [PICTURE]}}]})],  OK,      CHARGED),
    Row("openai", [ok({"choices": [{"message": {"images": [{"image_url": {"url": DATA_URI}}]}}]})], OK, CHARGED),
    Row("openai", [ok({"data": [{"error": {"message": "no"}}, {"b64_json": B64}]})], OK, CHARGED),
    Row("openai", [ok({"data": [{"b64_json": "%%%"}, {"b64_json": B64}]})],   OK,      CHARGED,  "", "odd_result"),
    Row("openai", [ok({"data": [{"b64_json": B64}, {"url": SECOND}]})],       OK,      CHARGED,  "", "more_than_asked"),
    Row("openai", [ok({})],                                                   FAILED,  RELEASED),
    Row("openai", [ok({"data": None})],                                       FAILED,  RELEASED),
    Row("openai", [ok({"data": []})],                                         FAILED,  RELEASED),
    Row("openai", [ok({"images": []})],                                       FAILED,  RELEASED),
    Row("openai", [item(b64_json="", url=None)],                              FAILED,  RELEASED),
    Row("openai", [item(revised_prompt="only words")],                        FAILED,  RELEASED),
    Row("openai", [item(error={"message": "no"})],                            FAILED,  RELEASED),
    Row("openai", [item(error={"message": "no", "code": "OutputImageSensitiveContentDetected"})], CONTENT, RELEASED),
    Row("openai", [ok({"error": {"message": "no", "code": "insufficient_quota"}})], LIMITED, RELEASED),
    Row("openai", [ok({"data": {"task_id": "1", "status": "IN_PROGRESS"}})],  FAILED,  KEPT),
    Row("openai", [ok({"data": "x"})],                                        FAILED,  KEPT),
    Row("openai", [ok([])],                                                   FAILED,  KEPT),
    Row("openai", [item(b64_json="%%%")],                                     FAILED,  KEPT),
    Row("openai", [item(url="{upstream}/gone.png")],                          FAILED,  KEPT,     "", "not_fetched"),
    Row("openai", [item(url="ftp://cdn.test/1.png")],                         FAILED,  RELEASED, "", "unusable_url"),
    Row("openai", [item(url="http://10.0.0.1/1.png")],                        FAILED,  RELEASED, "", "unusable_url"),
    Row("openai", [error(400, "invalid_request_error")],                      REFUSED, RELEASED),
    Row("openai", [error(400, code="moderation_blocked")],                    CONTENT, RELEASED),
    Row("openai", [error(400, code="billing_hard_limit_reached")],            LIMITED, RELEASED),
    Row("openai", [error(400, "billing_limit_user_error")],                   LIMITED, RELEASED),
    Row("openai", [error(402)],                                               LIMITED, RELEASED),
    Row("openai", [error(401, code="invalid_api_key")],                       FAILED,  RELEASED),
    Row("openai", [error(404, code="model_not_found")],                       REFUSED, RELEASED),
    Row("openai", [error(429, code="rate_limit_exceeded")],                   LIMITED, RELEASED),
    Row("openai", [error(429, code="insufficient_quota")],                    LIMITED, RELEASED),
    Row("openai", [error(500)],                                               FAILED,  RELEASED, "", "upstream_5xx"),
    Row("openai", [error(503)],                                               FAILED,  RELEASED, "", "upstream_5xx"),
    Row("openai", [PAGE],                                                     FAILED,  KEPT),
    Row("openai", [bad.answer({"detail": "it broke"}, 500)],                  FAILED,  KEPT),
    Row("openai", [bad.answer({"error": "it broke"}, 500)],                   FAILED,  KEPT),
    Row("openai", [bad.reset],                                                FAILED,  KEPT),

    # --- new-api's own errors, and those of the clouds behind it --------------------------------------------------
    Row("openai", [NO_CHANNEL],                                               FAILED,  RELEASED, "", "upstream_5xx"),
    Row("openai", [error(500, "new_api_error", code="do_request_failed")],    FAILED,  RELEASED, "", "upstream_5xx"),
    Row("openai", [error(500, "new_api_error", code="sensitive_words_detected")], CONTENT, RELEASED),
    Row("openai", [error(403, "new_api_error", code="insufficient_user_quota")], LIMITED, RELEASED),
    Row("openai", [error(400, code="Arrearage")],                             LIMITED, RELEASED),
    Row("openai", [error(403, code="AccountOverdueError")],                   LIMITED, RELEASED),
    Row("openai", [error(400, code="DataInspectionFailed")],                  CONTENT, RELEASED),
    Row("openai", [error(400, code="InputTextSensitiveContentDetected.PolicyViolation")], CONTENT, RELEASED),

    # --- the gateways ---------------------------------------------------------------------------------------------
    Row("gateway", [item(url=URL)],                                           OK,      CHARGED,  "", "odd_credits"),
    Row("gateway", [ok({"data": [{"url": URL}], "usage": {"credits_charged": 15}})], OK, CHARGED),
    Row("gateway", [item(url=DATA_URI)],                                      OK,      CHARGED,  "", "odd_credits"),
    Row("gateway", [ok({"images": [URL], "usage": {"credits_charged": 0}})],  OK,      CHARGED),
    Row("gateway", [error(500, "generation_error", "Gemini API error: 400")], FAILED,  RELEASED, "", "upstream_5xx"),
    Row("gateway", [error(500, "sora_error", "400: Invalid model")],          FAILED,  RELEASED, "", "upstream_5xx"),
    Row("gateway", [bad.answer({"success": False, "error": "no key"}, 500)],  FAILED,  RELEASED, "", "upstream_5xx"),
    Row("gateway", [bad.answer({"success": False, "error": "who"}, 401)],     FAILED,  RELEASED),
    Row("gateway", [error(400, "invalid_model")],                             REFUSED, RELEASED),
    Row("gateway", [bad.answer(b"Internal Server Error", 500)],               FAILED,  KEPT),
    Row("gateway", [ok({"success": False, "error": "out of cats"})],          FAILED,  RELEASED),
    Row("gateway", [ok({"data": []})],                                        FAILED,  RELEASED),
    Row("gateway", [bad.answer({}, 302, {"Location": "/elsewhere"})],         FAILED,  RELEASED),
    Row("gateway", [bad.hang_up],                                             FAILED,  KEPT),

    # --- the Sora service -----------------------------------------------------------------------------------------
    Row("sora", [said(delta(f'<img src="{URL}">', "STOP"))],                  OK,      CHARGED),
    Row("sora", [said(delta(f"![x]({DATA_URI})", "STOP"))],                   OK,      CHARGED),
    Row("sora", [said(delta("I cannot draw.", "STOP"))],                      FAILED,  RELEASED),
    Row("sora", [said({"error": {"message": "400: Invalid model", "type": "server_error", "code": 500}})],
                                                                              FAILED,  RELEASED, "", "upstream_5xx"),
    Row("sora", [error(500, message="400: Invalid model: x")],                FAILED,  RELEASED, "", "upstream_5xx"),
    Row("sora", [said({"error": {"message": "no", "type": "content_policy_violation"}})], CONTENT, RELEASED),
    Row("sora", [said(delta("45%"), done=False)],                             FAILED,  KEPT),
    Row("sora", [PAGE],                                                       FAILED,  KEPT),
]
# fmt: on


@pytest.fixture
def upstream(settings: Any) -> Iterator[BadServer]:
    server = BadServer()
    settings.GEMINI_API_URL, settings.OPENAI_API_URL = f"{server.url}/v1beta", f"{server.url}/v1"
    settings.WAULEAPI_URL = settings.SORA_API_URL = server.url
    settings.OPENAI_API_KEY = settings.SORA_API_KEY = "sk-planted"
    settings.UPSTREAM_READ_SECONDS, settings.UPSTREAM_TOTAL_SECONDS = 3, 3
    settings.OUTBOUND_ALLOW = [f"127.0.0.1:{server.port}"]
    yield server
    server.stop()


def answering(server: BadServer, answers: list[bad.Behaviour]) -> bad.Behaviour:
    """POSTs get the answers, with the server's own address in them; GETs get a picture."""
    left = list(answers)

    def behave(stream: Any, seen: bad.Seen) -> None:
        if seen.method == "GET":
            return bad.answer(b"gone", 404)(stream, seen) if "gone" in seen.path else bad.media(bad.PNG)(stream, seen)
        given = left.pop(0) if len(left) > 1 else left[0]
        return given(_Filled(stream, server.url), seen)

    return behave


class _Filled:
    """A socket that puts the server's address into what is sent."""

    def __init__(self, stream: Any, url: str) -> None:
        self.stream, self.url = stream, url.encode()

    def sendall(self, data: bytes) -> None:
        head, blank, body = data.partition(b"\r\n\r\n")
        filled = body.replace(b"{upstream}", self.url)
        if blank and len(filled) != len(body):
            head = head.replace(b"Content-Length: %d" % len(body), b"Content-Length: %d" % len(filled))
        if not blank and b"{upstream}" in data:  # one chunk of a stream
            text = data.partition(b"\r\n")[2].replace(b"{upstream}", self.url).removesuffix(b"\r\n")
            head = b"%x\r\n%s\r\n" % (len(text), text)
        self.stream.sendall(head + blank + filled)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@pytest.mark.parametrize("row", [pytest.param(row, id=f"{number}-{row.upstream}") for number, row in enumerate(ROWS)])
def test_what_an_answer_means(row: Row, upstream: BadServer, acme: Tenant, settings: Any) -> None:
    if row.upstream == "gateway":
        settings.AI_SERVICE_MODE = "gateway"
    if row.upstream == "gemini":
        for number in (1, 2):
            added = credentials.add(provider="gemini", secret=f"AIzaPlanted-key-number-{number}-0000000", actor="test")
            type(added).objects.filter(pk=added.pk).update(priority=-number)
    image_model("painter", provider="doubao" if row.upstream == "gateway" else row.upstream)
    upstream.will(answering(upstream, row.answers))
    api = api_of_tenant(acme)
    status, answer = api.post(IMAGES, {"model": "painter", "prompt": "a fox"}, key="k")
    generation = Generation.objects.get()
    account = Account.objects.get(tenant=acme, mode="live")
    assert (status, answer.get("error", {}).get("code", "")) == row.told, answer
    assert (generation.state, Hold.objects.get().state, account.balance, account.held) == row.end
    leases = CredentialLease.objects.order_by("created_at", "id").values_list("outcome", flat=True)
    assert (" ".join(leases), " ".join(generation.flags)) == (row.keys, row.flags)
    if row.end is KEPT:  # it is never sent again
        assert api.post(IMAGES, {"model": "painter", "prompt": "a fox"}, key="k")[0] == status
        assert sum(seen.method == "POST" for seen in upstream.seen) == len(leases or [1])
    if row.told is CONTENT:
        assert "prompt" in answer["error"]["message"].lower()
    elif status != 200:
        assert "change the prompt" not in answer["error"]["message"].lower()
    assert reconcile().problems == []


def test_every_upstream_has_rows_for_every_end() -> None:
    ends = {(row.upstream, row.end[0]) for row in ROWS}
    assert ends == {(name, end) for name in ("gemini", "openai", "gateway", "sora") for end in ("succeeded", "failed", "unknown")}
    assert json.dumps(sorted({row.told[1] for row in ROWS} - {""})) == json.dumps(
        ["content_refused", "rate_limited", "upstream_error", "upstream_refused", "upstream_timeout"]
    )
