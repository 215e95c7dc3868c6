"""`manage.py import_credentials`: many Sora tokens or Gemini keys from a file."""

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from aiservices.api.credentials import import_item
from aiservices.credentials import pool
from aiservices.credentials import sora as sora_sync
from aiservices.credentials.bulk import MAX_IMPORT, ImportResult, import_many
from aiservices.credentials.pasted import read_lines
from waule.core.commands import ACTOR, WauleCommand
from waule.core.errors import InvalidRequest
from waule.core.http import strict_json

MAX_FILE_BYTES = 64 << 20


class Command(WauleCommand):
    help = "Adds the secrets of FILE (a line each), or the objects of a JSON file as export_credentials writes it."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("provider", choices=sorted(pool.MODELS))
        parser.add_argument("file", help="a path, or - for standard input")

    def run(self, *, provider: str, file: str, **options: Any) -> dict[str, Any]:
        items = [import_item(provider, item) for item in read_items(provider, file)]
        if not items:
            raise InvalidRequest.of_field("file", "There is nothing in it.")
        total = ImportResult()
        for start in range(0, len(items), MAX_IMPORT):
            result = import_many(provider=provider, items=items[start : start + MAX_IMPORT], actor=ACTOR)
            total.take(result)
            if provider == "sora" and result.touched:
                sora_sync.push_quietly(result.touched)
        if total.failed == len(items):
            raise InvalidRequest.of_field("file", f"None of its {len(items)} lines could be used: {total.results[0]['error']}")
        counts = {name: getattr(total, name) for name in ("added", "updated", "skipped", "failed")}
        return counts | {"results": total.results}

    def print_result(self, result: dict[str, Any]) -> None:
        for line in result["results"]:
            if line["status"] != "added" or "note" in line:
                said = line.get("error") or line.get("note") or line.get("secret", "")
                self.stdout.write(f"line {line['line']}: {line['status']} {said}")
        self.stdout.write(", ".join(f"{result[name]} {name}" for name in ("added", "updated", "skipped", "failed")))


def read_items(provider: str, file: str) -> list[Any]:
    """Return the secrets or objects of a file.

    Raises:
        InvalidRequest: it cannot be read, is too large, or is JSON of another form.
    """
    try:
        raw = sys.stdin.buffer.read(MAX_FILE_BYTES + 1) if file == "-" else Path(file).read_bytes()
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise InvalidRequest.of_field("file", str(error)) from None
    except UnicodeDecodeError:
        raise InvalidRequest.of_field("file", "It is not UTF-8.") from None
    if len(raw) > MAX_FILE_BYTES:
        raise InvalidRequest.of_field("file", "It is larger than 64 MiB.")
    if text.lstrip()[:1] not in ("{", "["):
        return list(read_lines(provider, text))
    found = strict_json.parse(text.encode())
    if isinstance(found, dict):
        found = found.get("tokens", found.get("keys"))
    if not isinstance(found, list):
        raise InvalidRequest.of_field("file", "Its JSON is neither a list nor an object with a list of tokens or keys.")
    return found
