"""`manage.py reset_second_factor`: lets a user in again whose authenticator is lost."""

from typing import Any

from django.core.management.base import CommandParser
from django.utils.translation import gettext as _
from django_otp.plugins.otp_totp.models import TOTPDevice

from tenants import audit
from tenants.models import User
from waule.commands import ACTOR, WauleCommand
from waule.errors import NotFound
from waule.transactions import durable


class Command(WauleCommand):
    help = "Removes a user's second factor, so that the password alone opens the admin until a new one is set up."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("username")

    def run(self, *, username: str, **options: Any) -> dict[str, Any]:
        return {"username": username, "removed": reset(username)}


@durable
def reset(username: str) -> int:
    """How many second factors were removed.

    Raises:
        NotFound: no such user.
    """
    user = User.objects.filter(username=username).first()
    if user is None:
        raise NotFound(_("There is no user %(name)s.") % {"name": username})
    removed, _by_model = TOTPDevice.objects.filter(user=user).delete()
    audit.record(actor=ACTOR, action="second_factor.reset", target=user, before={"devices": removed})
    return removed
