"""Reports: a leased credential comes back, with what became of the call."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from aiservices.models import CredentialLease
from aiservices.pool.lessons import LETTERS, OWN_FAULTS, learn
from aiservices.pool.rows import MODELS, given_back, values_of
from waule.errors import InvalidRequest, InvalidState, NotFound
from waule.ids import parse_uuid
from waule.logs import redact_text
from waule.transactions import durable, retried

OUTCOMES = tuple(outcome.value for outcome in CredentialLease.Outcome if outcome != CredentialLease.Outcome.EXPIRED)

# The difference, not a comparison, of the moments: so that the planner does not walk the index of open leases.
_REPORT_SQL = """
    WITH ended AS (
        UPDATE aiservices_credentiallease SET ended_at = %(now)s, outcome = %(outcome)s, message = %(message)s
        WHERE id = %(id)s AND ended_at IS NULL AND expires_at - %(now)s > interval '0' AND NOT is_trial
        RETURNING provider, credential_id, use
    ), gemini AS (
        UPDATE aiservices_geminikey c SET in_flight = GREATEST(c.in_flight - 1, 0), {learned}
        FROM ended WHERE ended.provider = 'gemini' AND c.id = ended.credential_id
    ), sora AS (
        UPDATE aiservices_soratoken c SET in_flight = GREATEST(c.in_flight - 1, 0),
            in_flight_images = GREATEST(c.in_flight_images - CASE WHEN ended.use = 'image' THEN 1 ELSE 0 END, 0),
            in_flight_videos = GREATEST(c.in_flight_videos - CASE WHEN ended.use = 'video' THEN 1 ELSE 0 END, 0), {learned}
        FROM ended WHERE ended.provider = 'sora' AND c.id = ended.credential_id
    )
    SELECT 1 FROM ended"""
_REPORT_GOOD = _REPORT_SQL.format(learned="recent = right(c.recent || 'o', 10)")
_REPORT_NEUTRAL = _REPORT_SQL.format(
    learned="error_count = c.error_count + 1, last_error = %(message)s, last_error_at = %(now)s, day = %(today)s, "
    "uses_today = CASE WHEN c.day = %(today)s THEN c.uses_today ELSE 0 END, "
    "errors_today = CASE WHEN c.day = %(today)s THEN c.errors_today + 1 ELSE 1 END"
)


def report(lease_id: UUID | str, outcome: str, retry_after_seconds: float | None = None, message: str = "") -> None:
    """Gives a leased credential back and says how it went. The same report again changes nothing.

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
    _report_slowly(found, outcome, retry_after_seconds, message, now)


def _said(outcome: str, message: str) -> str:
    return message or ("" if outcome == "ok" else outcome)


@retried
def _report_one(sql: str, values: dict[str, Any]) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchone() is not None


@durable
def _report_slowly(lease_id: UUID, outcome: str, retry_after_seconds: float | None, message: str, now: datetime) -> None:
    lent = CredentialLease.objects.select_for_update(no_key=True).filter(pk=lease_id).first()
    if lent is None:
        raise NotFound
    if lent.outcome and lent.outcome != CredentialLease.Outcome.EXPIRED:
        if lent.outcome != outcome:
            raise InvalidState(
                _("This lease was reported before, with another outcome: %(outcome)s.") % {"outcome": lent.outcome},
                state=lent.outcome,
            )
        return
    was_out = lent.ended_at is None
    lent.ended_at = lent.ended_at or now
    lent.outcome, lent.message = outcome, _said(outcome, message)
    lent.save(update_fields=["ended_at", "outcome", "message"])
    model = MODELS[lent.provider]
    credential = model._default_manager.select_for_update(no_key=True).defer("secret").filter(pk=lent.credential_id).first()
    if credential is None:
        return  # deleted meanwhile
    changed: dict[str, Any] = {}
    if was_out:
        changed |= given_back(credential, lent.use)
    if lent.is_trial and (was_out or credential.trial_until is not None):
        changed["trial_until"] = None
    changed |= learn(credential, outcome, retry_after_seconds, message, now, is_trial=lent.is_trial)
    model._default_manager.filter(pk=credential.pk).update(**changed)
