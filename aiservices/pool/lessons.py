"""What the pool learns: how an outcome, a probe, an operator or the upstream itself changes a credential's state."""

from datetime import datetime, timedelta
from typing import Any

from django.db.models import F
from django.utils import timezone

from aiservices.models import Credential, GeminiKey, SoraToken
from aiservices.pool.rows import today
from waule.logs import redact_text
from waule.transactions import durable

WINDOW = 10  # how many of the last telling outcomes are remembered
MAX_INVALID = 3  # so many `invalid` among them, and the credential is out
COOLDOWN_SECONDS = {"rate_limited": 30, "quota_exhausted": 3600, "invalid": 300}  # where the upstream did not say
MAX_COOLDOWN_SECONDS = {"rate_limited": 3600, "quota_exhausted": 86400, "invalid": 3600}  # how far doubling goes
MAX_RETRY_AFTER_SECONDS = 30 * 86400

# What an outcome leaves in the credential's memory; the others say nothing about it.
LETTERS = {"ok": "o", "content_refused": "o", "rate_limited": "r", "quota_exhausted": "q", "invalid": "i"}
OWN_FAULTS = frozenset({"rate_limited", "quota_exhausted", "invalid"})
_STATES = {
    "rate_limited": Credential.State.COOLING,
    "quota_exhausted": Credential.State.QUOTA_EXHAUSTED,
    "invalid": Credential.State.INVALID,
}


def learn(
    credential: Credential,
    outcome: str,
    retry_after_seconds: float | None,
    message: str,
    now: datetime,
    *,
    is_trial: bool,
) -> dict[str, Any]:
    """The columns that `outcome` changes in `credential`, whose row the caller has locked."""
    changed: dict[str, Any] = {}
    letter = LETTERS.get(outcome, "")
    recent = (credential.recent + letter)[-WINDOW:]
    if letter:
        changed["recent"] = recent
    if outcome not in ("ok", "content_refused"):
        same_day = credential.day == today(now)
        changed |= {
            "error_count": F("error_count") + 1,
            "day": today(now),
            "uses_today": credential.uses_today if same_day else 0,
            "errors_today": credential.errors_today + 1 if same_day else 1,
            "last_error": (message or outcome)[:500],
            "last_error_at": now,
        }
    is_out = credential.state == Credential.State.INVALID and credential.cooling_until is None
    if outcome in OWN_FAULTS and not is_out:
        changed |= _cooled(credential, outcome, recent, retry_after_seconds, now, is_trial=is_trial)
    elif letter == "o" and is_trial and not is_out:
        changed |= {"state": Credential.State.READY, "cooling_until": None}
    return changed


def _cooled(
    credential: Credential, outcome: str, recent: str, retry_after_seconds: float | None, now: datetime, *, is_trial: bool
) -> dict[str, Any]:
    if recent.count("i") >= MAX_INVALID:
        return {"state": Credential.State.INVALID, "cooling_until": None}
    if credential.state != Credential.State.READY and not is_trial:
        # It went out before the cooldown began: not another offence, but it may know a later end.
        credential_until = credential.cooling_until or now
        told = now + timedelta(seconds=min(retry_after_seconds or 0, MAX_RETRY_AFTER_SECONDS))
        return {"state": _worse(credential.state, _STATES[outcome]), "cooling_until": max(credential_until, told)}
    offences = max(1, sum(recent.count(LETTERS[fault]) for fault in OWN_FAULTS))
    told_seconds = min(retry_after_seconds or 0, MAX_RETRY_AFTER_SECONDS)
    if retry_after_seconds is None or offences > 1:
        first_seconds = told_seconds or COOLDOWN_SECONDS[outcome]
        grown_seconds = min(first_seconds * 2 ** (offences - 1), MAX_COOLDOWN_SECONDS[outcome])
        seconds = max(told_seconds, grown_seconds)
    else:
        seconds = told_seconds
    return {"state": _STATES[outcome], "cooling_until": now + timedelta(seconds=seconds)}


def _worse(one: str, other: str) -> str:
    order: list[str] = [state.value for state in Credential.State]  # from good to bad
    return max(one, other, key=order.index)


@durable
def observe(
    *, credential: GeminiKey | SoraToken, outcome: str, retry_after_seconds: float | None = None, message: str = ""
) -> None:
    """What a free probe teaches. That it works voids `invalid`; it says nothing about a rate or a quota."""
    model = type(credential)
    row = model._default_manager.select_for_update(no_key=True).defer("secret").filter(pk=credential.pk).first()
    if row is None:
        return
    now = timezone.now()
    if outcome in OWN_FAULTS:
        changed = learn(row, outcome, retry_after_seconds, redact_text(message), now, is_trial=True)
    elif outcome == "ok" and row.state == Credential.State.INVALID:
        changed = {"state": Credential.State.READY, "cooling_until": None, "trial_until": None, "recent": ""}
    else:
        return
    model._default_manager.filter(pk=row.pk).update(**changed)


@durable
def give_trial(*, credential: GeminiKey | SoraToken) -> None:
    """Ends a cooldown, or a verdict, before its time: the next lease is a trial, and its report decides."""
    give_trial_within(credential)


def give_trial_within(credential: GeminiKey | SoraToken) -> None:
    """The same inside the caller's transaction."""
    type(credential)._default_manager.filter(pk=credential.pk).exclude(state=Credential.State.READY).update(
        cooling_until=timezone.now(), trial_until=None, recent=""
    )


def mark_within(credential: GeminiKey | SoraToken, state: str, cooling_until: datetime | None) -> None:
    """Takes over what the upstream itself says about a credential, inside the caller's transaction."""
    type(credential)._default_manager.filter(pk=credential.pk).update(state=state, cooling_until=cooling_until, trial_until=None)
