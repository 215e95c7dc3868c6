"""`manage.py worker`: video jobs and housekeeping."""

from typing import Any

from django.core.management.base import CommandParser

from aiservices.worker import run_worker
from waule.commands import PlainCommand
from waule.processes import end_with_parent, leave

CONCURRENCY = 4


class Command(PlainCommand):
    help = "Runs video jobs and housekeeping until it is told to stop (SIGTERM, SIGINT)."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--concurrency", type=int, default=CONCURRENCY, help="jobs at the same time")

    def handle(self, *, concurrency: int, **options: Any) -> None:
        end_with_parent()
        run_worker(concurrency=concurrency)
        leave()
