"""`manage.py export_credentials`: every Sora token or Gemini key with its secret, for a backup or a move."""

import json
import os
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from aiservices.credentials import pool
from aiservices.credentials.bulk import export
from waule.core.commands import ACTOR, WauleCommand


class Command(WauleCommand):
    help = "Writes every secret in the clear, in the form that import_credentials reads. Needs --reveal."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("provider", choices=sorted(pool.MODELS))
        parser.add_argument("file", nargs="?", default="-", help="a new file (for its owner alone); else standard output")
        parser.add_argument("--reveal", action="store_true", help="yes, the secrets are meant to be shown")
        parser.add_argument("--reason", default="", help="for the audit log")

    def run(self, *, provider: str, file: str, reveal: bool, reason: str, **options: Any) -> dict[str, Any]:
        found = export(provider=provider, is_revealed=reveal, actor=ACTOR, reason=reason)
        exported = {"tokens" if provider == "sora" else "keys": found}
        if file == "-":
            return exported
        try:
            descriptor = os.open(Path(file), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise CommandError(str(error)) from error
        with os.fdopen(descriptor, "w") as output:
            json.dump(exported, output, ensure_ascii=False, indent=2)
        return {"file": file, "count": len(found)}

    def print_result(self, result: dict[str, Any]) -> None:
        self.stdout.write(json.dumps(result, ensure_ascii=False, indent=2))
