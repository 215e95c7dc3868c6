"""The OpenAPI document is built once: asking for it again costs nothing."""

from typing import Any

from drf_spectacular.generators import SchemaGenerator

from tests import answers
from waule.site.openapi import view


def test_it_is_built_once_for_each_language(client: Any, db: None, monkeypatch: Any) -> None:
    answers.document()  # what the tests compare answers with is built by itself, once
    built: list[str] = []
    build = SchemaGenerator.get_schema
    monkeypatch.setattr(SchemaGenerator, "get_schema", lambda self, **kwargs: built.append("") or build(self, **kwargs))
    view._documents.clear()
    for language in ("en", "en", "zh-hans", "en", "zh-hans", "xx"):
        answer = client.get("/api/schema", headers={"Accept-Language": language})
        assert answer.status_code == 200
        assert answer.json()["openapi"].startswith("3.1")
    assert len(built) == 2
