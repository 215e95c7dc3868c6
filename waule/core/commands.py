"""What every command of ours does alike: one clear line on stderr for a failure, exactly one JSON document with --json."""

import json
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.db import InterfaceError, OperationalError, ProgrammingError
from django.utils.dateparse import parse_datetime

from waule.core.errors import WauleError

ACTOR = "command"
INTERRUPTED = 130  # the exit status of what Ctrl-C ended


class PlainCommand(BaseCommand):
    """A command whose every failure, of its arguments too, is exit status 1 and one line on stderr."""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.called_from_command_line = False  # else it prints its usage too and exits with 2
        return parser

    def run_from_argv(self, argv: list[str]) -> None:
        try:
            super().run_from_argv(argv)
        except CommandError as error:  # of the arguments: Django handles all later ones
            self.stderr.write(str(error))
            sys.exit(error.returncode)
        except KeyboardInterrupt:
            self.stderr.write("Interrupted.")
            sys.exit(INTERRUPTED)

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except WauleError as error:
            raise CommandError(str(error)) from error
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from error
        except (OperationalError, ProgrammingError, InterfaceError) as error:
            raise CommandError(f"The database cannot be used: {str(error).strip().partition(chr(10))[0]}") from error


class WauleCommand(PlainCommand):
    """A command whose `run` does the work; what it returns is printed as JSON with --json."""

    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        result: dict[str, Any] = self.run(**options)
        if options["json"]:
            self.stdout.write(json.dumps(result, ensure_ascii=False, cls=DjangoJSONEncoder))
        else:
            self.print_result(result)

    run: Callable[..., dict[str, Any]]  # each command's own arguments, by name

    def print_result(self, result: dict[str, Any]) -> None:
        """The result for people: a line for each field."""
        for name, value in result.items():
            self.stdout.write(f"{name}: {value}")


def timestamp(text: str) -> datetime:
    """Return an argument that is an ISO 8601 timestamp with its zone.

    Raises:
        ArgumentTypeError: it is none.
    """
    try:
        value = parse_datetime(text)
    except ValueError:
        value = None
    if value is None or value.tzinfo is None:
        raise ArgumentTypeError(f"{text!r} is not an ISO 8601 timestamp with its zone, such as 2026-12-31T00:00:00+08:00.")
    return value


def show_progress(done: int, total: int, what: str) -> None:
    """A line that counts up on a terminal; nothing elsewhere."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done:,} of {total:,} {what}" + ("\n" if done >= total else ""))
        sys.stderr.flush()
