"""`manage.py create_user`: a user of the platform."""

import os
from typing import Any

from django.core.management.base import CommandParser

from billing.ledger.models import MAX_CREDITS, Kind
from billing.services import grant
from tenants.principal import Principal
from tenants.services import create_user
from waule.core.commands import ACTOR, WauleCommand, timestamp
from waule.core.errors import InvalidRequest


class Command(WauleCommand):
    help = "Makes a user of the platform. Without a password nobody can log in as this user."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("username")
        parser.add_argument("--password", help="else from the environment variable WAULE_USER_PASSWORD, else none")
        parser.add_argument("--level", default="USER")
        parser.add_argument("--membership-expires", type=timestamp, metavar="ISO")
        parser.add_argument("--credits", type=int, default=0, metavar="N")

    def run(self, *, username: str, password: str | None, level: str, credits: int, **options: Any) -> dict[str, Any]:
        if not 0 <= credits <= MAX_CREDITS:
            raise InvalidRequest.of_field("credits", f"Give 0 to {MAX_CREDITS} credits.")
        user = create_user(
            username=username,
            password=password or os.environ.get("WAULE_USER_PASSWORD"),
            level=level,
            membership_expires_at=options["membership_expires"],
            actor=ACTOR,
        )
        if credits:
            grant(target=Principal("user", str(user.id)), credits=credits, kind=Kind.ADMIN, reason="create_user", actor=ACTOR)
        return {"id": str(user.id), "username": user.username, "level": user.level, "credits": credits}
