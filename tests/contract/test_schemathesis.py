"""Whatever the schema allows, and what it does not, thrown at a real server: never a 500, and only answers that it describes."""

import time
from typing import Any

import jwt
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from tenants.services import create_api_key
from tests.catalog import priced_model
from tests.settings import ENVIRONMENT, INTERNAL_SECRET

SECONDS = 45  # for one door; a slow machine asks less
EXAMPLES = 12  # of each kind, for each operation
OWN_SHAPE = {"success", "error", "code", "details", "requestId"}
NO_HOST = "http://127.0.0.1:9"  # nobody listens there: what would go out is refused at once

CONFORMANCE = [status_code_conformance, content_type_conformance, response_schema_conformance]

DOORS = {"internal secret": "/internal/", "staff JWT": "/api/", "tenant key": "/v1/"}


@pytest.fixture
def waule(live_waule: Any) -> Any:
    live_waule.workers = 2
    live_waule.environ |= {"GEMINI_API_URL": NO_HOST, "SORA_API_URL": NO_HOST, "WAULEAPI_URL": NO_HOST, "OPENAI_API_URL": NO_HOST}
    priced_model("flash", base=7)
    return live_waule


def headers_of(door: str, acme: Any, root: Any) -> dict[str, str]:
    if door == "internal secret":
        return {"X-Internal-Secret": INTERNAL_SECRET}
    if door == "staff JWT":
        claims = {"userId": str(root.id), "exp": time.time() + 3600}
        return {"Authorization": f"Bearer {jwt.encode(claims, ENVIRONMENT['JWT_SECRET'], algorithm='HS256')}"}
    _key, plaintext = create_api_key(tenant=acme, mode="test", name="fuzz", actor="test")
    return {"Authorization": f"Bearer {plaintext}"}


def check(answer: Any, what: str) -> None:
    assert answer.status_code < 500 or answer.status_code in (502, 503, 504), f"{what}\n{answer.status_code} {answer.text[:500]}"
    if answer.status_code < 400:
        return
    told = answer.json()
    if "/v1/" in what:
        assert set(told) == {"error"}, f"{what}\n{answer.text[:500]}"
        assert {"message", "type", "param", "code"} <= set(told["error"]), f"{what}\n{answer.text[:500]}"
    else:
        assert set(told) >= OWN_SHAPE, f"{what}\n{answer.text[:500]}"
        assert told["success"] is False


@pytest.mark.parametrize("door", DOORS)
def test_no_500_and_one_shape_for_every_no(waule: Any, acme: Any, root: Any, door: str) -> None:
    headers = headers_of(door, acme, root)
    schema = schemathesis.openapi.from_url(f"{waule.url}/api/schema")
    deadline = time.monotonic() + SECONDS
    asked: dict[str, set[int]] = {}
    for result in schema.get_all_operations():
        operation = result.ok()
        if not operation.path.startswith(DOORS[door]):
            continue
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            ask_for_examples(operation.as_strategy(generation_mode=mode), headers, asked, deadline)
    behind_the_door = [label for label, statuses in asked.items() if statuses != {401}]
    assert len(behind_the_door) > len(asked) * 0.8, f"the door stayed shut: {asked}"


def ask_for_examples(strategy: Any, headers: dict[str, str], asked: dict[str, set[int]], deadline: float) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=strategy)
    def ask(case: Any) -> None:
        if time.monotonic() > deadline:
            return
        answer = case.call(headers=headers, timeout=20, allow_redirects=False)
        asked.setdefault(case.operation.label, set()).add(answer.status_code)
        case.validate_response(answer, checks=CONFORMANCE, headers=headers)
        check(answer, f"{case.method} {case.formatted_path}\n{case.as_curl_command(headers=headers)[:1500]}")

    ask()
