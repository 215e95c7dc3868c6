"""What the pool learns: how an outcome, a probe, an operator or the upstream itself changes a credential's state."""

from datetime import datetime, timedelta
from typing import Any

from django.db.models import F
from django.utils import timezone

from aiservices.credentials.models import Credential, GeminiKey, ModelCooldown, SoraToken
from aiservices.credentials.pool.queries import today
from waule.core.db.transactions import durable
from waule.core.logs import redact_text

WINDOW = 10  # how many of the last outcomes are remembered
MAX_INVALID = 3  # so many `invalid` among them, and the credential is out
COOLDOWN_SECONDS = {"rate_limited": 30, "quota_exhausted": 3600, "invalid": 300}  # where the upstream did not say
MAX_COOLDOWN_SECONDS = {"rate_limited": 3600, "quota_exhausted": 86400, "invalid": 3600}  # how far doubling goes
MAX_RETRY_AFTER_SECONDS = 86400  # so far an upstream is believed that says when; then it is tried once

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
    """Return the columns that `outcome` changes in `credential`, whose row the caller has locked."""
    changed: dict[str, Any] = {}
    letter = LETTERS.get(outcome, "")
    recent = (credential.recent + letter)[-WINDOW:]
    if letter:
        changed["recent"] = recent
    if letter == "o" and credential.accepted_at is None:
        changed["accepted_at"] = now
    if outcome not in ("ok", "content_refused"):
        changed |= failed(credential, message or outcome, now)
    is_out = credential.state == Credential.State.INVALID and credential.cooling_until is None
    if outcome in OWN_FAULTS and not is_out:
        changed |= _cooled(credential, outcome, recent, retry_after_seconds, now, is_trial=is_trial)
    elif letter == "o" and is_trial and not is_out:
        changed |= {"state": Credential.State.READY, "cooling_until": None}
    return changed


def failed(credential: Credential, message: str, now: datetime) -> dict[str, Any]:
    """Return the columns that count a failure, whoever's fault it was."""
    same_day = credential.day == today(now)
    return {
        "error_count": F("error_count") + 1,
        "day": today(now),
        "uses_today": credential.uses_today if same_day else 0,
        "errors_today": credential.errors_today + 1 if same_day else 1,
        "last_error": message[:500],
        "last_error_at": now,
    }


def _cooled(
    credential: Credential, outcome: str, recent: str, retry_after_seconds: float | None, now: datetime, *, is_trial: bool
) -> dict[str, Any]:
    if recent.count("i") >= MAX_INVALID or (outcome == "invalid" and credential.accepted_at is None):
        return {"state": Credential.State.INVALID, "cooling_until": None}  # one that never worked is not tried again either
    if credential.state != Credential.State.READY and not is_trial:
        # It went out before the cooldown began: not another offence, but it may know a later end.
        credential_until = credential.cooling_until or now
        told = now + timedelta(seconds=min(retry_after_seconds or 0, MAX_RETRY_AFTER_SECONDS))
        return {"state": _worse(credential.state, _STATES[outcome]), "cooling_until": max(credential_until, told)}
    offences = max(1, sum(recent.count(LETTERS[fault]) for fault in OWN_FAULTS))
    seconds = cooldown_seconds(outcome, offences, retry_after_seconds)
    return {"state": _STATES[outcome], "cooling_until": now + timedelta(seconds=seconds)}


def cooldown_seconds(outcome: str, offences: int, retry_after_seconds: float | None) -> float:
    """Return how long a cooldown lasts: as the upstream said or by default, twice as long for each offence before."""
    told_seconds = min(retry_after_seconds or 0, MAX_RETRY_AFTER_SECONDS)
    if retry_after_seconds is not None and offences <= 1:
        return told_seconds
    first_seconds = told_seconds or COOLDOWN_SECONDS[outcome]
    return max(told_seconds, min(first_seconds * 2 ** (offences - 1), MAX_COOLDOWN_SECONDS[outcome]))


def _worse(one: str, other: str) -> str:
    order: list[str] = [state.value for state in Credential.State]  # from good to bad
    return max(one, other, key=order.index)


@durable
def observe(
    *, credential: GeminiKey | SoraToken, outcome: str, retry_after_seconds: float | None = None, message: str = ""
) -> None:
    """Remember what a test that an operator asked for found. That it works ends every cooldown.

    What could not be tested (`overloaded`, `error`) says nothing about the credential.
    """
    model = type(credential)
    row = model._default_manager.select_for_update(no_key=True).defer("secret").filter(pk=credential.pk).first()
    if row is None:
        return
    now = timezone.now()
    if outcome in OWN_FAULTS:
        changed = learn(row, outcome, retry_after_seconds, redact_text(message), now, is_trial=True)
    elif outcome == "ok":
        changed = _ready() | {"accepted_at": row.accepted_at or now}
        _end_model_cooldowns(row)
    else:
        return
    model._default_manager.filter(pk=row.pk).update(**changed)


def _ready() -> dict[str, Any]:
    return {"state": Credential.State.READY, "cooling_until": None, "trial_until": None, "recent": ""}


def _end_model_cooldowns(credential: Credential) -> None:
    ModelCooldown.objects.filter(credential_id=credential.pk).delete()


def end_cooldown_within(credential: GeminiKey | SoraToken) -> None:
    """Make a credential ready now, for every model, inside the caller's transaction."""
    type(credential)._default_manager.filter(pk=credential.pk).update(**_ready())
    _end_model_cooldowns(credential)


@durable
def give_trial(*, credential: GeminiKey | SoraToken) -> None:
    """End a cooldown, or a detected state, before its time: the next lease is a trial, and its report decides."""
    start_half_open_within(credential)


def start_half_open_within(credential: GeminiKey | SoraToken) -> None:
    """The same inside the caller's transaction."""
    type(credential)._default_manager.filter(pk=credential.pk).exclude(state=Credential.State.READY).update(
        cooling_until=timezone.now(), trial_until=None, recent=""
    )


def mark_within(credential: GeminiKey | SoraToken, state: str, cooling_until: datetime | None) -> None:
    """Take over what the upstream itself says about a credential, inside the caller's transaction."""
    type(credential)._default_manager.filter(pk=credential.pk).update(state=state, cooling_until=cooling_until, trial_until=None)
