"""`manage.py worker`: video jobs and periodic tasks."""

from typing import Any

from django.core.management.base import CommandParser

from aiservices.worker import run_worker
from waule.core.commands import PlainCommand
from waule.core.processes import end_with_parent, leave

CONCURRENCY = 4


class Command(PlainCommand):
    help = "Runs video jobs and periodic tasks until it is asked to stop (SIGTERM, SIGINT)."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--concurrency", type=int, default=CONCURRENCY, help="jobs at the same time")

    def handle(self, *, concurrency: int, **options: Any) -> None:
        end_with_parent()
        run_worker(concurrency=concurrency)
        leave()
