"""`/v1/webhook/test` and `/v1/webhook/deliveries`, and the verifiers of docs/tenants.md."""

import json
import re
import subprocess
import sys

import pytest
from pytest_httpserver import HTTPServer

from tenants.models import ApiKey, Tenant
from tenants.webhooks.models import OutboxMessage
from tests import tools
from tests.callers import Api, api_of_tenant
from tests.settings import PROJECT
from tests.tenantapi.conftest import code_of

TEST, DELIVERIES = "/v1/webhook/test", "/v1/webhook/deliveries"


def set_webhook(api: Api, receiver: HTTPServer) -> str:
    status, answer = api("PUT", "/v1/webhook", {"url": receiver.url_for("/hook")})
    assert status == 200, answer
    return str(answer["secret"])


def test_a_test_message_arrives_and_is_listed(as_acme: Api, receiver: HTTPServer) -> None:
    receiver.expect_request("/hook", method="POST").respond_with_data("ok")
    set_webhook(as_acme, receiver)
    status, told = as_acme.post(TEST)
    assert (status, told["object"], told["type"], told["state"]) == (200, "webhook.delivery", "webhook.test", "delivered")
    assert [(attempt["status"], attempt["problem"]) for attempt in told["attempts"]] == [(200, None)]
    (request, _response) = receiver.log[0]
    assert request.headers["X-Waule-Message-Id"] == told["id"]
    assert json.loads(request.data)["type"] == "webhook.test"
    assert as_acme.get(DELIVERIES)[1]["data"] == [told]


def test_a_receiver_that_refuses_is_told_and_not_tried_again(as_acme: Api, receiver: HTTPServer) -> None:
    receiver.expect_request("/hook").respond_with_data("no", status=500)
    set_webhook(as_acme, receiver)
    told = as_acme.post(TEST)[1]
    assert (told["state"], told["attempts"][0]["status"], told["nextAttemptAt"]) == ("failed", 500, None)


def test_without_a_webhook_there_is_nothing_to_test(as_acme: Api) -> None:
    assert code_of(as_acme.post(TEST)) == (404, "not_found")
    assert as_acme.get(DELIVERIES)[1] == {"object": "list", "data": [], "has_more": False, "last_id": None}


def test_pages_of_deliveries_are_the_keys_own(as_acme: Api, acme: Tenant, birch: Tenant) -> None:
    own = ApiKey.objects.get()
    other, strange = api_of_tenant(acme), api_of_tenant(birch)
    for _number in range(3):
        OutboxMessage.objects.create(tenant=acme, api_key=own, kind="video.completed", payload={})
    first = as_acme.get(f"{DELIVERIES}?limit=2")[1]
    rest = as_acme.get(f"{DELIVERIES}?limit=2&after={first['last_id']}")[1]
    ids = [row["id"] for row in first["data"] + rest["data"]]
    assert (ids, rest["has_more"]) == (sorted(ids, reverse=True), False)
    assert first["data"][0]["nextAttemptAt"] is not None
    assert other.get(DELIVERIES)[1]["data"] == strange.get(DELIVERIES)[1]["data"] == []
    assert code_of(as_acme.get(f"{DELIVERIES}?after=x")) == (400, "invalid_request")


# --- the verifiers of the documentation ----------------------------------------------------------------------------


def verifier(language: str) -> str:
    """The verifier as docs/tenants.md has it."""
    text = (PROJECT / "docs" / "tenants.md").read_text()
    found = re.search(rf"<!-- verifier -->\n```{language}\n(.*?)```", text, re.DOTALL)
    assert found, language
    return found[1]


def run(command: list[str], code: str) -> str:
    done = subprocess.run(command, input=code, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_the_documented_verifier_takes_what_is_ours_and_nothing_else(as_acme: Api, receiver: HTTPServer, language: str) -> None:
    if language == "javascript":
        tools.program("node", package="nodejs")
    receiver.expect_request("/hook").respond_with_data("ok")
    secret = set_webhook(as_acme, receiver)
    as_acme.post(TEST)
    request = receiver.log[0][0]
    body, signature = request.data.decode(), request.headers["X-Waule-Signature"]
    stamp, mac = signature.split(",")
    old = f"t={int(stamp[2:]) - 301},{mac}"
    cases = [
        (secret, body, signature),
        (secret, body + " ", signature),
        ("whsec_other", body, signature),
        (secret, body, old),
        (secret, body, f"{stamp},v1={'0' * 64}"),
        (secret, body, ""),
        (secret, body, "t=x,v1=y"),
    ]
    if language == "python":
        code = verifier("python") + f"\nprint([is_genuine(s, b.encode(), h) for s, b, h in {cases!r}])\n"
        told = run([sys.executable, "-"], code)
    else:
        code = verifier("javascript") + (
            f"\nconst cases = {json.dumps(cases)};\nconsole.log(cases.map(([s, b, h]) => isGenuine(s, Buffer.from(b), h)));\n"
        )
        told = run(["node", "--input-type=module", "-"], code)
    assert re.findall("(?i)true|false", told.lower()) == ["true"] + ["false"] * 6
