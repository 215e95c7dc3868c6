"""Telling a caller's program that its job has ended: a webhook of its API key, or one named with the job.

The message is written in the transaction that ends the job and carries the job's id: one ending, one message.
`tenants.webhooks.delivery` signs and sends it.
"""

from urllib.parse import urlsplit

from django.utils.translation import gettext as _

from aiservices.generations.models import Generation, GenerationInput
from gateway_client import addresses
from tenants import audit
from tenants.models import MAX_WEBHOOK_URL, ApiKey
from tenants.webhooks import outbox
from tenants.webhooks.models import OutboxMessage, new_webhook_secret
from waule.core.crypto.encryption import reveal
from waule.core.db import connection_pool
from waule.core.db.transactions import durable
from waule.core.errors import InvalidRequest, NotFound
from waule.core.ids import parse_uuid

MIN_SECRET_LENGTH, MAX_SECRET_LENGTH = 16, 200
NAME_SECONDS = 5.0  # to look up the host's name
State = Generation.State
KINDS = {State.SUCCEEDED: "video.completed", State.FAILED: "video.failed", State.CANCELED: "video.canceled"}


def check_url(url: str, *, field: str) -> None:
    """Form and address; nothing is connected to. A name that is not known is refused as one that is not public.

    Raises:
        InvalidRequest: it may not be called.
    """
    connection_pool.release_connection()  # asking for the name may take a while
    try:
        if len(url) > MAX_WEBHOOK_URL:
            raise addresses.Forbidden("The URL is too long.")
        addresses.rules().check(url, seconds=NAME_SECONDS)
    except addresses.Forbidden as why:
        raise InvalidRequest.of_field(field, _("This webhook cannot be called: %(why)s") % {"why": _(str(why))}) from None


def check_secret(secret: str, *, field: str) -> None:
    """Raise InvalidRequest for a secret that is too short, too long, or not printable ASCII."""
    if not (MIN_SECRET_LENGTH <= len(secret) <= MAX_SECRET_LENGTH and secret.isascii() and secret.isprintable()):
        limits = {"least": MIN_SECRET_LENGTH, "most": MAX_SECRET_LENGTH}
        raise InvalidRequest.of_field(field, _("Use %(least)s to %(most)s printable ASCII characters.") % limits)


def check_named(url: str, secret: str, *, key: ApiKey | None, fields: tuple[str, str]) -> None:
    """The webhook that a request names for its job; `fields` is what the caller calls the two.

    Raises:
        InvalidRequest: it may not be called, or nothing would sign what is sent there.
    """
    if url:
        check_url(url, field=fields[0])
    if secret:
        check_secret(secret, field=fields[1])
    elif url and (key is None or not key.webhook_secret):
        raise InvalidRequest.of_field(fields[1], _("Send a secret with it: what is sent to the webhook is signed with it."))


@durable
def _write(key_id: str, url: str, secret: str, actor: str) -> tuple[ApiKey, str]:
    pk = parse_uuid(key_id)
    key = ApiKey.objects.select_for_update(no_key=True).filter(id=pk).first() if pk else None
    if key is None:
        raise NotFound(_("There is no API key %(id)s.") % {"id": key_id})
    before = key.webhook_url
    is_new = bool(secret) or not key.webhook_secret
    if url and is_new:
        key.webhook_secret = secret or new_webhook_secret()
    elif not url:
        key.webhook_secret = None
    key.webhook_url = url
    key.save(update_fields=["webhook_url", "webhook_secret"])
    hosts = [{"webhookHost": urlsplit(each).hostname or ""} for each in (before, url)]  # the rest of it may be secret
    audit.record(
        actor=actor, action="key.webhook", target=key, before=hosts[0], after=hosts[1] | {"newSecret": bool(url) and is_new}
    )
    return key, reveal(key.webhook_secret) if url and is_new else ""


def set_webhook(*, key_id: str, url: str, secret: str = "", actor: str) -> tuple[ApiKey, str]:
    """Make `url` the webhook of a key's jobs ("": none any more), signed with `secret`.

    Without a secret the key's own stays, or one is made. Returns the key, and the secret where it is new: it is told
    this once.

    Raises:
        NotFound: no such key. InvalidRequest.
    """
    if url:
        check_url(url, field="url")
    if secret:
        check_secret(secret, field="secret")
    return _write(key_id, url, secret, actor)


def notify(generation: Generation) -> None:
    """Write the message that a job has ended, for who wants it. Called in the transaction that ends it."""
    if generation.type != Generation.Type.VIDEO:
        return
    named = GenerationInput.objects.filter(generation_id=generation.id).exclude(webhook_url="").first()
    key = ApiKey.objects.filter(id=generation.api_key_id).exclude(webhook_url="") if generation.api_key_id else None
    if named is None and not (key is not None and key.exists()):
        return
    outbox.post_once(
        OutboxMessage(
            id=generation.id,
            tenant_id=generation.tenant_id,
            api_key_id=generation.api_key_id,
            url=named.webhook_url if named else "",
            secret=named.webhook_secret if named else None,
            kind=KINDS[State(generation.state)],
            payload=_payload(generation),
        )
    )


def _payload(generation: Generation) -> dict[str, object]:
    """Return what became of it; no address of a result, for those may open without a key."""
    has_failed = generation.state != State.SUCCEEDED
    return {
        "id": str(generation.id),
        "object": "video",
        "status": KINDS[State(generation.state)].partition(".")[2],
        "model": generation.model.model_id,
        "creditsCharged": generation.credits_charged,
        "isFreeUsage": generation.is_free,
        "error": {"code": generation.error_code, "message": generation.error_message} if has_failed else None,
        "requestId": generation.request_id,
        "createdAt": generation.created_at.isoformat(),
        "completedAt": generation.completed_at.isoformat() if generation.completed_at else None,
    }
