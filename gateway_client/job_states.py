"""The states of a job upstream, in all the spellings that are in use: one table (docs/providers.md)."""

from enum import Enum
from typing import Any

from gateway_client.outcomes import plain


class JobState(Enum):
    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    UNCLEAR = "unclear"  # no answer: it is asked again until the deadline, and never taken for a failure

    @property
    def is_over(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.STOPPED)


# Compared without case, `_`, `-` and spaces. What is not here (`unknown`, "", a new word) is UNCLEAR.
SPELLINGS = {
    JobState.WAITING: "queued queueing queue pending in_queue submitted submit created not_start waiting wait preparing starting"
    " accepted scheduled",
    JobState.RUNNING: "in_progress processing running run generating progress active modal",
    JobState.SUCCEEDED: "completed complete succeeded succeed success done finished finish ready ok",
    JobState.FAILED: "failed fail failure error errored rejected moderated blocked content_filtered timeout",
    JobState.STOPPED: "canceled cancelled cancel terminated aborted expired deleted revoked",
}
_STATES = {plain(word): state for state, words in SPELLINGS.items() for word in words.split()}
# Where a job's answer says it, the innermost first: `code: "success"` beside it says only that the question was answered.
_PLACES = ("data", "output", "task", "")
_NAMES = ("status", "task_status", "state")


def state_of(word: Any) -> JobState:
    """Return what a state's word means."""
    return _STATES.get(plain(word), JobState.UNCLEAR) if isinstance(word, str) else JobState.UNCLEAR


def job_state(body: Any) -> JobState:
    """Return the state in a job's answer."""
    for place in _PLACES:
        part = body.get(place) if place and isinstance(body, dict) else body
        if isinstance(part, dict):
            for name in _NAMES:
                if isinstance(part.get(name), str):
                    return state_of(part[name])
    return JobState.UNCLEAR


def job_progress(body: Any) -> int | None:
    """Percent, from `45`, `0.45`, `"45"` or `"45%"`; None where the answer has none."""
    parts = [body.get("data"), body] if isinstance(body, dict) else []
    value = next((part["progress"] for part in parts if isinstance(part, dict) and part.get("progress") is not None), None)
    if isinstance(value, str):
        value = value.strip().removesuffix("%").strip()
        value = float(value) if value.replace(".", "", 1).isascii() and value.replace(".", "", 1).isdigit() else None
    if value is None or isinstance(value, bool) or not 0 <= value <= 100:
        return None
    return int(value * 100) if 0 < value < 1 else int(value)
