"""Reports: a leased credential comes back, with what became of the call."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from aiservices.credentials.models import CredentialLease
from aiservices.credentials.pool.circuit_breaker import LETTERS, OWN_FAULTS, failed, learn
from aiservices.credentials.pool.model_cooldowns import rest
from aiservices.credentials.pool.queries import MODELS, released, values_of
from waule.core.db.prepared import Prepared
from waule.core.db.transactions import durable, retried
from waule.core.errors import InvalidRequest, InvalidState, NotFound
from waule.core.ids import parse_uuid
from waule.core.logs import redact_text

MODEL_LIMITS = ("rate_limited", "quota_exhausted")
OUTCOMES = tuple(outcome.value for outcome in CredentialLease.Outcome if outcome != CredentialLease.Outcome.EXPIRED)

# The difference, not a comparison, of the moments, and `IS TRUE`: so that the planner does not walk the index of open leases.
_REPORT_SQL = """
    WITH ended AS (
        UPDATE aiservices_credentiallease SET ended_at = %(now)s, outcome = %(outcome)s, message = %(message)s
        WHERE id = %(id)s AND (ended_at IS NULL) IS TRUE AND expires_at - %(now)s > interval '0' AND NOT is_trial
        RETURNING provider, credential_id, use
    ), gemini AS (
        UPDATE aiservices_geminikey c SET in_flight = GREATEST(c.in_flight - 1, 0), {changes}
        FROM ended WHERE ended.provider = 'gemini' AND c.id = ended.credential_id
    ), sora AS (
        UPDATE aiservices_soratoken c SET in_flight = GREATEST(c.in_flight - 1, 0),
            in_flight_images = GREATEST(c.in_flight_images - CASE WHEN ended.use = 'image' THEN 1 ELSE 0 END, 0),
            in_flight_videos = GREATEST(c.in_flight_videos - CASE WHEN ended.use = 'video' THEN 1 ELSE 0 END, 0), {changes}
        FROM ended WHERE ended.provider = 'sora' AND c.id = ended.credential_id
    )
    SELECT 1 FROM ended"""
REPORT_GOOD_SQL = _REPORT_SQL.format(
    changes="recent = right(c.recent || 'o', 10), accepted_at = COALESCE(c.accepted_at, %(now)s)"
)
_REPORT_NEUTRAL_SQL = _REPORT_SQL.format(
    changes="error_count = c.error_count + 1, last_error = %(message)s, last_error_at = %(now)s, day = %(today)s, "
    "uses_today = CASE WHEN c.day = %(today)s THEN c.uses_today ELSE 0 END, "
    "errors_today = CASE WHEN c.day = %(today)s THEN c.errors_today + 1 ELSE 1 END"
)
_GIVEN = {"id": "uuid", "now": "timestamptz", "outcome": "text", "message": "text"}
_REPORT_GOOD = Prepared(REPORT_GOOD_SQL, _GIVEN)
_REPORT_NEUTRAL = Prepared(_REPORT_NEUTRAL_SQL, _GIVEN | {"today": "date"})


def report(
    lease_id: UUID | str,
    outcome: str,
    retry_after_seconds: float | None = None,
    message: str = "",
    *,
    is_of_model: bool = False,
) -> None:
    """Give a leased credential back and say how it went. The same report again changes nothing.

    `is_of_model`: the limit is that of the model that the lease was for; the credential rests for that model alone.

    A report that comes after the lease has ended by itself still teaches what it has to teach.

    Raises:
        NotFound: no such lease.
        InvalidState: the lease was reported with another outcome.
        InvalidRequest: no such outcome.
    """
    found = parse_uuid(lease_id) if isinstance(lease_id, str) else lease_id
    if outcome not in OUTCOMES:
        raise InvalidRequest.of_field("outcome", _("This outcome is not known."))
    if found is None:
        raise NotFound
    message = redact_text(message)[:500]
    now = timezone.now()
    if connection.vendor == "postgresql" and outcome not in OWN_FAULTS:
        values = values_of(now, id=found, outcome=outcome, message=_said(outcome, message))
        if _report_one(_REPORT_GOOD if outcome in LETTERS else _REPORT_NEUTRAL, values):
            return
    _report_slowly(found, outcome, retry_after_seconds, message, now, is_of_model)


def _said(outcome: str, message: str) -> str:
    return message or ("" if outcome == "ok" else outcome)


@retried
def _report_one(statement: Prepared, values: dict[str, Any]) -> bool:
    return statement.named(values) is not None


@durable
def _report_slowly(
    lease_id: UUID, outcome: str, retry_after_seconds: float | None, message: str, now: datetime, is_of_model: bool
) -> None:
    lease = CredentialLease.objects.select_for_update(no_key=True).filter(pk=lease_id).first()
    if lease is None:
        raise NotFound
    if lease.outcome and lease.outcome != CredentialLease.Outcome.EXPIRED:
        if lease.outcome != outcome:
            raise InvalidState(
                _("This lease was reported before, with another outcome: %(outcome)s.") % {"outcome": lease.outcome},
                state=lease.outcome,
            )
        return
    was_out = lease.ended_at is None
    lease.ended_at = lease.ended_at or now
    lease.outcome, lease.message = outcome, _said(outcome, message)
    lease.save(update_fields=["ended_at", "outcome", "message"])
    model = MODELS[lease.provider]
    credential = model._default_manager.select_for_update(no_key=True).defer("secret").filter(pk=lease.credential_id).first()
    if credential is None:
        return  # deleted meanwhile
    changed: dict[str, Any] = {}
    if was_out:
        changed |= released(credential, lease.use)
    if lease.is_trial and (was_out or credential.trial_until is not None):
        changed["trial_until"] = None
    taught = outcome
    if is_of_model and lease.model and outcome in MODEL_LIMITS:
        rest(credential, lease.model, outcome, retry_after_seconds, message, now)
        taught = "ok"  # it was accepted: what was in the way is the model's limit
        changed |= failed(credential, message or outcome, now)
    changed |= learn(credential, taught, retry_after_seconds, message, now, is_trial=lease.is_trial)
    model._default_manager.filter(pk=credential.pk).update(**changed)
