"""Messages that are to reach a webhook, written in the transaction of the fact that they report.

`tenants.webhooks.delivery` sends them: at least once, signed, with every try kept.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import F, Window
from django.db.models.functions import RowNumber
from django.utils import timezone
from django.utils.translation import gettext as _

from tenants.models import ApiKey, TenantMember
from tenants.webhooks.models import OutboxAttempt, OutboxMessage, Webhook
from waule.core.crypto.encryption import reveal
from waule.core.errors import NotFound

MAX_TRIES = 12
FIRST_PAUSE_SECONDS = 10
MAX_PAUSE_SECONDS = 6 * 3600
TEST_KIND = "webhook.test"
MAX_MAILS = 50  # of one alert
MAILED_ROLES = (TenantMember.Role.OWNER, TenantMember.Role.BILLING)
CLAIM_SECONDS = 120  # a message whose sender died is sent again after this


@dataclass(frozen=True)
class Destination:
    """Where a message goes. `is_operators`: the address is a setting, and may lead anywhere."""

    url: str
    secret: str
    is_operators: bool


def post(*, kind: str, payload: dict[str, Any], tenant_id: UUID | None = None) -> list[OutboxMessage]:
    """Write an alert for the operator, and one for the tenant whom it concerns; for each only if it has a webhook."""
    messages = []
    if settings.ALERT_WEBHOOK_URL:
        messages.append(OutboxMessage(kind=kind, payload=payload))
    if tenant_id is not None and Webhook.objects.filter(tenant_id=tenant_id, is_active=True).exists():
        messages.append(OutboxMessage(kind=kind, payload=payload, tenant_id=tenant_id))
    return OutboxMessage.objects.bulk_create(messages)


def post_mails(*, kind: str, subject: str, text: str, tenant_id: UUID) -> list[OutboxMessage]:
    """Write a mail to each owner and billing member of the tenant who has an address; none where no server is set."""
    if not settings.SENDS_MAIL:
        return []
    rows = TenantMember.objects.filter(tenant_id=tenant_id, role__in=MAILED_ROLES, user__is_active=True).exclude(user__email="")
    payload = {"subject": subject, "text": text}
    mails = [
        OutboxMessage(kind=kind, payload=payload, tenant_id=tenant_id, member=row) for row in rows.order_by("id")[:MAX_MAILS]
    ]
    return OutboxMessage.objects.bulk_create(mails)


def addressee_of(mail: OutboxMessage) -> str:
    """Return the address of a mail now; "" for who is no longer to hear of the tenant."""
    rows = TenantMember.objects.filter(
        id=str(mail.member_id), role__in=MAILED_ROLES, user__is_active=True, tenant__is_active=True
    )
    return rows.values_list("user__email", flat=True).first() or ""


def count_as_failed(message: OutboxMessage) -> bool:
    """Before a mail is sent: should its sender die nobody sends it again, for it may have arrived. False: it is done already."""
    pending = OutboxMessage.objects.filter(id=message.id, state=OutboxMessage.State.PENDING)
    return bool(pending.update(state=OutboxMessage.State.FAILED))


def post_once(message: OutboxMessage) -> None:
    """Write a message that has an id of its own, unless it is there already."""
    OutboxMessage.objects.bulk_create([message], ignore_conflicts=True)


def post_test(key: ApiKey) -> OutboxMessage:
    """Write a test message for a key's webhook, which nobody else sends.

    Raises:
        NotFound: the key has no webhook.
    """
    if not key.webhook_url:
        raise NotFound(_("This API key has no webhook. Set one with PUT /v1/webhook."))
    message = OutboxMessage(tenant_id=key.tenant_id, api_key=key, kind=TEST_KIND, tries=MAX_TRIES)
    message.payload = {"object": "webhook.test", "apiKeyId": str(key.id)}
    message.next_at = timezone.now() + timedelta(seconds=CLAIM_SECONDS)
    message.save(force_insert=True)
    return message


def messages_of(api_key_id: UUID, *, limit: int, after: UUID | None = None) -> list[OutboxMessage]:
    """Return up to `limit` messages for a key's jobs with their attempts, newest first, from behind the one with the id
    `after`.
    """
    rows = OutboxMessage.objects.filter(api_key_id=api_key_id).defer("secret").prefetch_related("attempts").order_by("-id")
    return list((rows.filter(id__lt=after) if after else rows)[:limit])


def message_of(message_id: UUID) -> OutboxMessage:
    """Return one message with its attempts."""
    return OutboxMessage.objects.prefetch_related("attempts").get(id=message_id)


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
    """Return up to `limit` messages that are due and that nobody else sends until CLAIM_SECONDS from now.

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


def note_attempt(
    message: OutboxMessage, *, host: str, status: int | None, problem: str, elapsed_ms: int, is_last: bool = False
) -> None:
    """Keep a try and say what becomes of its message; `is_last`: it is not tried again. Called in a transaction."""
    OutboxAttempt.objects.create(message=message, host=host[:255], status=status, problem=problem[:100], elapsed_ms=elapsed_ms)
    if not problem:
        changes: dict[str, Any] = {"state": OutboxMessage.State.DELIVERED}
    elif is_last or message.tries >= MAX_TRIES:
        changes = {"state": OutboxMessage.State.FAILED}
    else:
        pause = min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** (message.tries - 1))
        changes = {"state": OutboxMessage.State.PENDING, "next_at": timezone.now() + timedelta(seconds=pause)}
    before = OutboxMessage.State.FAILED if message.member_id else OutboxMessage.State.PENDING  # `count_as_failed`
    OutboxMessage.objects.filter(id=message.id, state=before).update(**changes)


def send_again(message: OutboxMessage) -> None:
    """Make it due now, with all its tries before it, whatever became of it. The receiver knows it by its id."""
    OutboxMessage.objects.filter(id=message.id).update(state=OutboxMessage.State.PENDING, tries=0, next_at=timezone.now())
