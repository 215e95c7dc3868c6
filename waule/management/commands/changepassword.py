"""`manage.py changepassword`: Django's, noted in the audit log."""

import getpass
from typing import Any

from django.contrib.auth.management.commands import changepassword
from django.core.management.base import CommandError

from tenants import audit
from tenants.models import User
from tenants.selectors import find_user_by_id_or_name
from waule.core.commands import ACTOR
from waule.core.errors import NotFound


class Command(changepassword.Command):
    def handle(self, *args: Any, **options: Any) -> str | None:
        if named := options["username"]:
            try:
                options["username"] = find_user_by_id_or_name(named).username
            except NotFound as error:
                raise CommandError(str(error)) from error
        done: str | None = super().handle(*args, **options)
        user = User.objects.filter(username=options["username"] or getpass.getuser()).first()
        audit.record(actor=ACTOR, action="user.password", target=user)
        return done
