"""What happened to one generation, in order, on its page: so that a complaint is answered without opening five others."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.template.loader import render_to_string
from django.utils.translation import gettext as _

from aiservices.credentials.models import CredentialLease
from aiservices.credentials.pool import MODELS
from aiservices.generations.models import Generation
from billing.admin.words import description_in_words, error_in_words
from tenants.admin.words import actor_in_words, event_in_words
from tenants.webhooks.models import OutboxMessage
from waule.core.admin import in_readers_language, link, signed_number, spaced_number
from waule.core.ids import uuid7_floor

TWIN_MINUTES = 10  # the same request so shortly before or after is worth a look
MAX_TWINS = 20
MAX_ATTEMPTS = 50


class Event(NamedTuple):
    at: datetime
    title: str
    text: Any = ""  # a link, or words
    more: str = ""


def story(generation: Generation, *, may_refund: bool) -> str:
    """Return the events of `generation` as HTML, oldest first, each with the seconds since the request."""
    events = sorted(_events(generation), key=lambda event: event.at)
    rows = [(event, f"{(event.at - generation.created_at).total_seconds():+.1f} s") for event in events]
    charge = generation.charge
    shown = {
        "rows": rows,
        "charge": charge,
        "charged": spaced_number(charge.credits if charge else 0),
        "refunded": spaced_number(charge.refunded) if charge and charge.refunded else "",
        "paid": spaced_number(_paid(generation)),
        "may_refund": may_refund and charge is not None and charge.refunded < charge.credits,
        "twins": [_twin(generation, each) for each in twins(generation)],
    }
    return render_to_string("admin/generation_story.html", shown)


def _paid(generation: Generation) -> int:
    return generation.charge.credits - generation.charge.refunded if generation.charge else 0


def _twin(generation: Generation, twin: Generation) -> dict[str, Any]:
    seconds = (twin.created_at - generation.created_at).total_seconds()
    return {
        "at": twin.created_at,
        "seconds": f"{seconds:+.1f} s",
        "link": link(twin),
        "state": twin.get_state_display(),
        "paid": spaced_number(_paid(twin)),
    }


def twins(generation: Generation) -> list[Generation]:
    """Requests of the same owner for the same, within minutes of this one, newest first."""
    first, last = (generation.created_at + sign * timedelta(minutes=TWIN_MINUTES) for sign in (-1, 1))
    rows = (
        Generation.objects.filter(tenant=generation.tenant)
        if generation.tenant
        else Generation.objects.filter(user=generation.user)
    )
    rows = rows.filter(
        type=generation.type,
        mode=generation.mode,
        id__gte=uuid7_floor(first),
        id__lt=uuid7_floor(last),
        model_id=generation.model_id,
        prompt=generation.prompt,
        parameters=generation.parameters,
    )
    return list(rows.exclude(pk=generation.pk).select_related("charge").order_by("-id")[:MAX_TWINS])


def _events(generation: Generation) -> Iterator[Event]:
    key = link(generation.api_key) if generation.api_key_id else str(generation.tenant or generation.user)
    request = _("request %(id)s") % {"id": generation.request_id} if generation.request_id else ""
    yield Event(generation.created_at, _("Requested"), key, request)
    if generation.hold is not None:
        hold = generation.hold
        yield Event(hold.created_at, _("Credits held"), link(hold, spaced_number(hold.credits)))
        if hold.ended_at is not None:
            yield Event(hold.ended_at, str(hold.get_state_display()), description_in_words(hold.end_reason))
    if generation.started_at is not None:
        yield Event(generation.started_at, _("Started"), "", _("attempt %(number)s") % {"number": generation.attempt})
    if generation.called_at is not None:
        yield Event(generation.called_at, _("Provider called"), generation.route or "–", generation.upstream_id)
    yield from _attempts(generation)
    if generation.completed_at is not None:
        why = in_readers_language(generation.error_message) or (generation.error_code and error_in_words(generation.error_code))
        yield Event(generation.completed_at, str(generation.get_state_display()), why or "", generation.error_code)
    yield from _payments(generation)
    yield from _deliveries(generation)


def _attempts(generation: Generation) -> Iterator[Event]:
    """Yield each credential that was tried, how long that took and what the provider said."""
    leases = list(CredentialLease.objects.filter(generation_id=generation.pk).order_by("id")[:MAX_ATTEMPTS])
    tried = {(lease.provider, lease.credential_id) for lease in leases}
    rows: dict[Any, Any] = {}
    for provider, model in MODELS.items():
        if ids := [pk for name, pk in tried if name == provider]:
            rows |= {row.pk: row for row in model._default_manager.defer("secret").filter(pk__in=ids)}
    kinds = dict(CredentialLease.Outcome.choices)
    for number, lease in enumerate(leases, start=1):
        row = rows.get(lease.credential_id)
        credential = link(row) if row is not None else _("a deleted credential")
        yield Event(lease.created_at, _("Attempt %(number)s") % {"number": number}, credential, lease.provider)
        if lease.ended_at is None:
            continue
        took = f"{(lease.ended_at - lease.created_at).total_seconds():.1f} s"
        said = "" if lease.message in kinds else in_readers_language(lease.message)
        outcome = str(kinds.get(lease.outcome, lease.outcome))
        title = _("Answer to attempt %(number)s") % {"number": number}
        yield Event(lease.ended_at, title, " · ".join(filter(None, (outcome, took))), said)


def _payments(generation: Generation) -> Iterator[Event]:
    charge = generation.charge
    if charge is None:
        return
    yield Event(charge.created_at, _("Charged"), link(charge, spaced_number(charge.credits)), actor_in_words(charge.actor))
    for refund in charge.refunds.order_by("pk"):
        why = f"{description_in_words(refund.reason)} · {actor_in_words(refund.actor)}"
        yield Event(refund.created_at, _("Refunded"), link(refund, signed_number(refund.credits)), why)


def _deliveries(generation: Generation) -> Iterator[Event]:
    message = OutboxMessage.objects.filter(pk=generation.pk).first()
    if message is None:
        return
    state = str(message.get_state_display())
    yield Event(message.created_at, _("Webhook event"), link(message, event_in_words(message.kind)), state)
    for attempt in message.attempts.order_by("pk"):
        answer = str(attempt.status or attempt.problem or "–")
        yield Event(attempt.at, _("Webhook delivery"), attempt.host, f"{answer} · {attempt.elapsed_ms} ms")
