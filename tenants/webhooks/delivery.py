"""Sends the outbox's messages to their webhooks: signed, at least once, with a pause that doubles after each failure.

A receiver checks `X-Waule-Signature: t=<unix seconds>,v1=<hex>`: HMAC-SHA256 with its secret over `<t>.<body>`, and
drops what it has had already by `X-Waule-Message-Id`.
"""

import hashlib
import hmac
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

import structlog
from django.conf import settings
from django.db import transaction

from gateway_client import addresses, http
from gateway_client.errors import UpstreamError
from gateway_client.transport import Deadline, resolve_anywhere
from tenants.webhooks import outbox
from tenants.webhooks.mail import MailProblem, send_mail
from tenants.webhooks.models import OutboxMessage
from waule.core.db import connection_pool
from waule.core.errors import WauleError

BATCH = 32  # tried at a time, each by a thread of its own
BATCH_OF_ONE = 8  # of them, at most so many of one tenant and kind
RUN_SECONDS = 20  # then the other periodic tasks have their turn
DELIVERY_SECONDS = 10
CONNECT_SECONDS = 5
logger = structlog.get_logger(__name__)


def deliver_due() -> int:
    """Try each message that is due once, for about RUN_SECONDS at most. Return how many were tried."""
    ends_at, tried = time.monotonic() + RUN_SECONDS, 0
    while time.monotonic() < ends_at and (messages := outbox.claim(limit=BATCH, limit_each=BATCH_OF_ONE)):
        _deliver(messages)
        tried += len(messages)
    return tried


def deliver_once(message: OutboxMessage) -> None:
    """Try one message now that this process alone knows of, and note what came of it."""
    _deliver([message])


@dataclass
class Attempt:
    """One try and what came of it; `problem` is empty where it arrived."""

    message: OutboxMessage
    host: str = ""
    status: int | None = None
    problem: str = ""
    elapsed_ms: int = 0
    is_last: bool = False  # a mail that may have arrived is not sent again


def _deliver(messages: list[OutboxMessage]) -> None:
    """Send them all at once. The threads know nothing of the database, and while they wait no connection is kept."""
    attempts = [Attempt(message) for message in messages if message.member_id is None or outbox.count_as_failed(message)]
    if not attempts:
        return
    destinations = [_destination(attempt) for attempt in attempts]
    connection_pool.release_connection()
    with ThreadPoolExecutor(len(attempts), thread_name_prefix="webhook") as senders:
        list(senders.map(_try, attempts, destinations))
    for attempt in attempts:
        _note(attempt)


def _destination(attempt: Attempt) -> outbox.Destination | str | None:
    """Return a webhook, or the address of a mail."""
    if attempt.message.member_id is not None:
        address = outbox.addressee_of(attempt.message)
        attempt.problem, attempt.is_last = ("", False) if address else ("no_address", True)
        return address or None
    try:
        destination = outbox.destination_of(attempt.message)
    except WauleError as error:
        attempt.problem = error.code
        return None
    if destination is None:
        attempt.problem = "no_webhook"
    return destination


def _try(attempt: Attempt, destination: outbox.Destination | str | None) -> None:
    if destination is None:
        return
    began_at = time.monotonic()
    try:
        if isinstance(destination, str):
            attempt.host = settings.EMAIL_HOST
            send_mail(attempt.message, destination)
        else:
            attempt.host = urlsplit(destination.url).hostname or ""
            attempt.status = _send(attempt.message, destination)
    except MailProblem as problem:
        attempt.problem, attempt.is_last = problem.reason, problem.may_have_arrived
    except UpstreamError as error:
        attempt.status = error.upstream_status
        attempt.problem = str(error.details.get("reason") or error.code)
    except addresses.Forbidden as error:
        # The tenant reads this, and is not to learn which names lead to an address that is not public, and which to none.
        attempt.problem = "not_reached"
        logger.warning("outbox_forbidden_address", message_id=str(attempt.message.id), reason=str(error))
    except WauleError as error:
        attempt.problem = error.code
    except ValueError:
        attempt.problem = "url"
    except Exception:  # the others of its batch have arrived, and that is to be noted
        logger.exception("outbox_broke", message_id=str(attempt.message.id))
        attempt.problem = "internal"
        attempt.is_last = isinstance(destination, str)
    attempt.elapsed_ms = round((time.monotonic() - began_at) * 1000)


def _note(attempt: Attempt) -> None:
    message = attempt.message
    with transaction.atomic():
        outbox.note_attempt(
            message,
            host=attempt.host,
            status=attempt.status,
            problem=attempt.problem,
            elapsed_ms=attempt.elapsed_ms,
            is_last=attempt.is_last,
        )
    logger.info("outbox_delivery", message_id=str(message.id), kind=message.kind, status=attempt.status, problem=attempt.problem)


def _send(message: OutboxMessage, destination: outbox.Destination) -> int:
    body = body_of(message)
    url, resolve = destination.url, resolve_anywhere
    if not destination.is_operators:
        rules = addresses.rules()
        url, resolve = rules.check_form(url), rules.addresses
    timestamp = int(time.time())
    headers = {
        "Content-Type": "application/json",
        "X-Waule-Message-Id": str(message.id),
        "X-Waule-Signature": f"t={timestamp},v1={signature(destination.secret, timestamp, body)}",
    }
    deadline = Deadline(connect_seconds=CONNECT_SECONDS, read_seconds=DELIVERY_SECONDS, total_seconds=DELIVERY_SECONDS)
    return http.deliver(url, content=body, headers=headers, deadline=deadline, resolve=resolve)


def body_of(message: OutboxMessage) -> bytes:
    """Return what is sent; the same at every try."""
    document = {
        "id": str(message.id),
        "type": message.kind,
        "createdAt": message.created_at.isoformat(),
        "data": message.payload,
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """64 hex digits over the timestamp (Unix seconds) and the body."""
    return hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
