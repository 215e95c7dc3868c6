"""The OpenAPI document says what every operation takes and answers."""

from typing import Any

import jsonschema_rs
import orjson
import pytest
from openapi_spec_validator import validate

from tests.answers import check, closed_components, document
from waule.site.openapi.examples import EXAMPLES

WITH_EXAMPLES = ("/internal/billing/", "/v1/")
# Objects whose fields are the caller's own, a provider's, or differ by kind of price.
FREE_FORM = {"conflict", "details", "fields", "metadata", "model_limits", "options", "price", "use"}


def operations() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, found in document()["paths"].items()
        for method, operation in found.items()
    ]


def successes(operation: dict[str, Any]) -> dict[str, Any]:
    return {status: answer for status, answer in operation["responses"].items() if status.startswith("2")}


def json_schema_of(place: dict[str, Any]) -> dict[str, Any] | None:
    found: dict[str, Any] | None = place.get("content", {}).get("application/json")
    return found


def free_form(schema: Any, name: str = "") -> list[str]:
    """Names of the objects in `schema` that say nothing of their fields; "" for the whole."""
    if "$ref" in schema:
        return free_form(document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]], name)
    found = [name] if "object" in schema.get("type", ()) and "properties" not in schema else []
    found += [name] if not schema else []
    for inner, field in schema.get("properties", {}).items():
        found += free_form(field, inner)
    for each in (*schema.get("oneOf", ()), *schema.get("allOf", ()), *schema.get("anyOf", ())):
        found += free_form(each, name)
    return found + (free_form(schema["items"], name) if "items" in schema else [])


def test_the_document_is_valid() -> None:
    validate(document())


def test_every_operation_has_its_own_id() -> None:
    ids = [operation["operationId"] for _what, operation in operations()]
    assert len(ids) > 80
    assert len(set(ids)) == len(ids)


def test_no_answer_is_a_free_form_object() -> None:
    vague = {}
    for what, operation in operations():
        described = [json_schema_of(answer) for answer in successes(operation).values()]
        assert described, what
        names = {name for media in described if media for name in free_form(media["schema"])}
        if names - FREE_FORM:
            vague[what] = names - FREE_FORM
    assert vague == {}


def test_every_operation_has_its_errors() -> None:
    for what, operation in operations():
        shape = "OpenAIError" if " /v1/" in what else "Error"
        for statuses in ("4XX", "5XX"):
            media = json_schema_of(operation["responses"][statuses])
            assert media == {"schema": {"$ref": f"#/components/schemas/{shape}"}}, what


def examples() -> list[Any]:
    found = []
    for what, operation in operations():
        if not what.partition(" ")[2].startswith(WITH_EXAMPLES):
            continue
        places = {"body": operation.get("requestBody", {})} | successes(operation)
        found += [pytest.param(media, id=f"{what} {name}") for name, place in places.items() if (media := json_schema_of(place))]
    return found


@pytest.mark.parametrize("media", examples())
def test_every_body_and_answer_has_a_right_example(media: dict[str, Any]) -> None:
    whole = media["schema"] | {"components": {"schemas": closed_components()}}
    validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
    assert [problem.message for problem in validator.iter_errors(media["example"])] == []


def test_every_example_is_of_a_field() -> None:
    fields = set()
    for component, schema in document()["components"]["schemas"].items():
        for name in schema.get("properties", {}):
            fields |= {name, f"{component.removesuffix('Request')}.{name}"}
    assert EXAMPLES.keys() - fields == set()


@pytest.mark.parametrize(
    ("status", "content_type", "change", "problem"),
    [
        (200, "application/json", {"more": 1}, "more"),
        (200, "application/json", {"held": "0"}, "held"),
        (200, "application/json", {"held": None}, "held"),
        (201, "application/json", {}, "does not name"),
        (200, "text/html", {}, "text/html"),
        (404, "application/json", {}, "requestId"),
    ],
)
def test_what_is_not_described_is_noticed(status: int, content_type: str, change: dict[str, Any], problem: str) -> None:
    path, balance = "/internal/billing/balance", {"balance": 985, "held": 0}
    check("GET", path, 200, "application/json", orjson.dumps(balance))
    with pytest.raises(AssertionError, match=problem):
        check("GET", path, status, content_type, orjson.dumps(balance | change))


def test_the_test_client_is_watched(client: Any, monkeypatch: Any) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("tests.answers.check", lambda *asked: seen.append(asked[:3]))
    client.get("/internal/billing/balance")
    assert seen == [("GET", "/internal/billing/balance", 401)]
