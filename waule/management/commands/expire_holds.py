"""`manage.py expire_holds`: ends the holds that are past their time."""

from typing import Any

from billing.services import expire_holds
from waule.core.commands import PlainCommand


class Command(PlainCommand):
    help = "Ends the holds that are past their time. Nobody has to wait for it: readers and writers see them as expired."

    def handle(self, *args: Any, **options: Any) -> None:
        accounts = 0
        while ended := expire_holds():
            accounts += ended
        self.stdout.write(f"Ended the expired holds of {accounts} accounts.")
