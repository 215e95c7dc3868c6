"""`manage.py dumpdata`: Django's, without what opens doors: sessions and second factors are in no dump, even when named."""

from typing import Any

from django.core.management.commands import dumpdata

NEVER_DUMPED = ("sessions.Session", "tenants.AuthenticatorDevice")


class Command(dumpdata.Command):
    def handle(self, *app_labels: str, **options: Any) -> None:
        options["exclude"] = [*(options["exclude"] or ()), *NEVER_DUMPED]
        super().handle(*app_labels, **options)
