"""Compares what waule answers in tests with the OpenAPI document: a field that is not described fails.

Every answer of Django's test client (`watch_test_client`) and of `LiveWaule` comes by here.
"""

import re
import threading
from copy import deepcopy
from functools import cache
from typing import Any
from urllib.parse import unquote, urlsplit

import django.test
import jsonschema_rs
import orjson
import requests
from drf_spectacular.generators import SchemaGenerator

from waule.site.openapi.view import render

DOORS = ("/internal/", "/api/", "/v1/", "/dashboard/")
COMPONENTS = "#/components/schemas/"


_building = threading.Lock()


def document() -> dict[str, Any]:
    """The OpenAPI document as callers get it, in English. Built by one thread: drf-spectacular loads its extensions then."""
    with _building:
        return _document()


@cache
def _document() -> dict[str, Any]:
    made: dict[str, Any] = orjson.loads(render(SchemaGenerator(), None))
    return made


@cache
def closed_components() -> dict[str, Any]:
    """The document's components, where an object has no other fields than those it names."""
    components = deepcopy(document()["components"]["schemas"])
    for component in components.values():
        if "properties" in component:
            component.setdefault("additionalProperties", False)
    return components


@cache
def operations() -> list[tuple[re.Pattern[str], str, dict[str, Any]]]:
    """Pattern, path and operations by method, the most literal path first."""
    paths = sorted(document()["paths"].items(), key=lambda item: (item[0].count("{"), -len(item[0])))
    return [(re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path)) + "/?"), path, found) for path, found in paths]


@cache
def operation_of(method: str, path: str) -> tuple[str, dict[str, Any]] | None:
    for pattern, template, found in operations():
        if pattern.fullmatch(path) and method.lower() in found:
            return template, found[method.lower()]
    return None


@cache
def validator(method: str, template: str, statuses: str, media_type: str) -> Any:
    schema = document()["paths"][template][method.lower()]["responses"][statuses]["content"][media_type]["schema"]
    whole = schema | {"components": {"schemas": closed_components()}}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


def check_response(response: requests.Response, **_sent: Any) -> None:
    """The hook of a `requests` session."""
    content_type = response.headers.get("Content-Type", "")
    content = response.content if content_type.startswith("application/json") else b""
    method, path = response.request.method or "", urlsplit(response.request.url).path
    check(method, unquote(str(path)), response.status_code, content_type, content)


def check(method: str, path: str, status: int, content_type: str, content: bytes) -> None:
    """Fails where the answer is not what the document says of it. Paths that are not in the document are left alone."""
    found = operation_of(method, path) if path.startswith(DOORS) else None
    if found is None or status == 301:  # to https, before any operation
        return
    template, operation = found
    what = f"{method} {path} answered {status}"
    statuses = str(status) if str(status) in operation["responses"] else f"{status // 100}XX"
    assert statuses in operation["responses"], f"{what}, which the OpenAPI document does not name"
    media_type = content_type.partition(";")[0]
    described = operation["responses"][statuses].get("content")
    if described is None:
        assert not content, f"{what} with a body, which the OpenAPI document does not describe"
        return
    assert media_type in described, f"{what} with {media_type}, the OpenAPI document says {list(described)}"
    if media_type != "application/json":
        return
    problems = [f"{list(problem.instance_path)}: {problem.message}" for problem in iterate(method, template, statuses, content)]
    assert not problems, f"{what} otherwise than the OpenAPI document says:\n" + "\n".join(problems[:5])


def iterate(method: str, template: str, statuses: str, content: bytes) -> Any:
    return validator(method, template, statuses, "application/json").iter_errors(orjson.loads(content))


def watch_test_client() -> None:
    """Checks every answer that Django's test client gets from now on."""
    ask = django.test.Client.request

    def request(self: django.test.Client, **environ: Any) -> Any:
        response = ask(self, **environ)
        if not response.streaming:
            asked = response.request
            content_type = response.headers.get("Content-Type", "")
            check(asked["REQUEST_METHOD"], asked["PATH_INFO"], response.status_code, content_type, response.content)
        return response

    django.test.Client.request = request  # type: ignore[method-assign]
