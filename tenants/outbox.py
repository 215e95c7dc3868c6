"""Messages that are to reach a webhook, written in the transaction of the fact that they tell.

`aiservices.outbox_delivery` sends them: at least once, signed, with every try kept.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import F, Window
from django.db.models.functions import RowNumber
from django.utils import timezone

from tenants.models import ApiKey, OutboxAttempt, OutboxMessage, Webhook
from waule.encryption import reveal

MAX_TRIES = 12
FIRST_PAUSE_SECONDS = 10
MAX_PAUSE_SECONDS = 6 * 3600
CLAIM_SECONDS = 120  # a message whose sender died is sent again after this


@dataclass(frozen=True)
class Destination:
    """Where a message goes. `is_operators`: the address is a setting, and may lead anywhere."""

    url: str
    secret: str
    is_operators: bool


def post(*, kind: str, payload: dict[str, Any], tenant_id: UUID | None = None) -> list[OutboxMessage]:
    """Writes an alert for the operator, and one for the tenant whom it concerns; for each only if it has a webhook."""
    messages = []
    if settings.ALERT_WEBHOOK_URL:
        messages.append(OutboxMessage(kind=kind, payload=payload))
    if tenant_id is not None and Webhook.objects.filter(tenant_id=tenant_id, is_active=True).exists():
        messages.append(OutboxMessage(kind=kind, payload=payload, tenant_id=tenant_id))
    return OutboxMessage.objects.bulk_create(messages)


def post_once(message: OutboxMessage) -> None:
    """Writes a message that has an id of its own, unless it is there already."""
    OutboxMessage.objects.bulk_create([message], ignore_conflicts=True)


def destination_of(message: OutboxMessage) -> Destination | None:
    """Where it goes now; None where the webhook, or what signs for it, is gone or switched off.

    Raises:
        SecretUnreadable.
    """
    if message.url and message.secret:
        return Destination(message.url, reveal(message.secret), is_operators=False)
    if message.api_key_id is not None:
        key = ApiKey.objects.get(id=message.api_key_id)
        url = message.url or key.webhook_url
        return Destination(url, reveal(key.webhook_secret), is_operators=False) if url and key.webhook_secret else None
    if message.tenant_id is None:
        url = settings.ALERT_WEBHOOK_URL
        return Destination(url, settings.ALERT_WEBHOOK_SECRET, is_operators=True) if url else None
    hook = Webhook.objects.filter(tenant_id=message.tenant_id, is_active=True).first()
    return Destination(hook.url, reveal(hook.secret), is_operators=False) if hook else None


def claim(*, limit: int, limit_each: int) -> list[OutboxMessage]:
    """Up to `limit` messages that are due and that nobody else sends until CLAIM_SECONDS from now.

    At most `limit_each` of them are one tenant's and of one kind: a receiver that is away holds up nobody else's.
    """
    now = timezone.now()
    claimed: list[OutboxMessage] = []
    turn = Window(RowNumber(), partition_by=[F("tenant_id"), F("kind")], order_by=(F("next_at"), F("id")))
    due = OutboxMessage.objects.filter(state=OutboxMessage.State.PENDING, next_at__lte=now).annotate(turn=turn)
    for message in due.filter(turn__lte=limit_each).order_by("next_at")[:limit]:
        mine = OutboxMessage.objects.filter(id=message.id, state=OutboxMessage.State.PENDING, next_at=message.next_at)
        if mine.update(next_at=now + timedelta(seconds=CLAIM_SECONDS), tries=F("tries") + 1):
            message.tries += 1
            claimed.append(message)
    return claimed


def note_attempt(message: OutboxMessage, *, host: str, status: int | None, problem: str, elapsed_ms: int) -> None:
    """Keeps a try and says what becomes of its message. Called in a transaction."""
    OutboxAttempt.objects.create(message=message, host=host[:255], status=status, problem=problem[:100], elapsed_ms=elapsed_ms)
    if not problem:
        changes: dict[str, Any] = {"state": OutboxMessage.State.DELIVERED}
    elif message.tries >= MAX_TRIES:
        changes = {"state": OutboxMessage.State.FAILED}
    else:
        pause = min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** (message.tries - 1))
        changes = {"next_at": timezone.now() + timedelta(seconds=pause)}
    OutboxMessage.objects.filter(id=message.id, state=OutboxMessage.State.PENDING).update(**changes)


def send_again(message: OutboxMessage) -> None:
    """Makes it due now, with all its tries before it, whatever became of it. The receiver knows it by its id."""
    OutboxMessage.objects.filter(id=message.id).update(state=OutboxMessage.State.PENDING, tries=0, next_at=timezone.now())
