"""`manage.py set_webhook`: the webhook that a key's jobs notify."""

from typing import Any

from django.core.management.base import CommandParser

from aiservices.generations.webhooks import set_webhook
from waule.core.commands import ACTOR, WauleCommand


class Command(WauleCommand):
    help = "Makes a URL the webhook of an API key's jobs. Without a URL it has none any more. A new secret is shown this once."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("keyid")
        parser.add_argument("url", nargs="?", default="")

    def run(self, *, keyid: str, url: str, **options: Any) -> dict[str, Any]:
        key, new_secret = set_webhook(key_id=keyid, url=url, actor=ACTOR)
        return {"id": str(key.id), "url": key.webhook_url, "secret": new_secret or None}
