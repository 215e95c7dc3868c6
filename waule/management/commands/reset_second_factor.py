"""`manage.py reset_second_factor`: lets a user in again whose authenticator is lost."""

from typing import Any

from django.core.management.base import CommandParser

from tenants.login import second_factor
from tenants.selectors import find_user_by_id_or_name
from waule.core.commands import ACTOR, WauleCommand


class Command(WauleCommand):
    help = "Removes a user's second factor, so that the password alone opens the admin until a new one is set up."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("username", help="the user's name or id")

    def run(self, *, username: str, **options: Any) -> dict[str, Any]:
        user = find_user_by_id_or_name(username)
        return {"username": username, "removed": second_factor.reset(user=user, actor=ACTOR)}
