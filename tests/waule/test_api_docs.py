"""The table of `/v1` in docs/api.md is made from the schema. `UPDATE_DOCS=1` writes it anew."""

import os
import re
from typing import Any

from drf_spectacular.generators import SchemaGenerator

from tests.settings import PROJECT

PAGE = PROJECT / "docs" / "api.md"
BEGIN, END = "<!-- made from the schema: begin -->", "<!-- end -->"
METHODS = ("get", "post", "put", "patch", "delete")


def names(schema: Any, components: dict[str, Any]) -> str:
    """The fields of an object, optional ones with a question mark."""
    if not schema:
        return "–"
    if "$ref" in schema:
        schema = components[schema["$ref"].rpartition("/")[2]]
    required = set(schema.get("required", ()))
    fields = [
        name if name in required or "readOnly" in field else f"{name}?" for name, field in schema.get("properties", {}).items()
    ]
    return f"`{', '.join(fields)}`" if fields else "–"


def table() -> str:
    document = SchemaGenerator().get_schema(request=None, public=True)
    components = document["components"]["schemas"]
    lines = ["| call | query or body | answer |", "| --- | --- | --- |"]
    for path, operations in sorted(document["paths"].items()):
        if not path.startswith("/v1/"):
            continue
        for method in METHODS:
            if method not in operations:
                continue
            operation = operations[method]
            query = [parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "query"]
            body = next(iter(operation.get("requestBody", {}).get("content", {}).values()), {}).get("schema")
            given = f"`?{'&'.join(query)}`" if query else names(body, components)
            success = next(answer for status, answer in operation["responses"].items() if status.startswith("2"))
            answer = next(iter(success.get("content", {}).values()), {}).get("schema")
            lines.append(f"| `{method.upper()} {path}` | {given} | {names(answer, components)} |")
    return "\n".join(lines)


def test_the_table_is_that_of_the_schema() -> None:
    text = PAGE.read_text()
    assert BEGIN in text
    made = f"{BEGIN}\n{table()}\n{END}"
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _found: made, text, flags=re.DOTALL))
        return
    assert made in text, "run the test with UPDATE_DOCS=1"


def test_every_answer_of_v1_is_described() -> None:
    rows = [line for line in table().splitlines()[2:] if "/content" not in line]
    assert len(rows) >= 25
    assert [row for row in rows if row.endswith("| – |")] == []
