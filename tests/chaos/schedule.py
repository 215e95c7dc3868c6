"""What a seed stands for: each caller's steps and each lane of faults, drawn before anything has happened.

No draw depends on an answer or on a clock, so the same seed makes the same steps in the same order, however fast the machine is.
"""

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

STEPS = {
    "charge": 5,
    "charge_shared": 3,
    "hold": 3,
    "hold_and_forget": 1,
    "capture": 3,
    "release": 2,
    "refund": 2,
    "refund_part": 2,
    "grant": 1,
    "redeem": 1,
    "video": 2,
    "lease": 4,
}
LANES = {
    "processes": {
        "kill_server": 3,
        "kill_server_process": 2,
        "freeze_server": 3,
        "restart_server": 1,
        "kill_worker": 3,
        "freeze_worker": 2,
        "restart_worker": 1,
    },
    "services": {"stop_database": 3, "cut_connections": 2, "kill_broker": 2, "cut_bucket": 2, "silence_bucket": 1},
    "provider": {
        "reject": 1,
        "fail_before": 1,
        "fail_after": 2,
        "limit": 1,
        "answer_garbage": 2,
        "hang_up": 2,
        "say_nothing": 2,
        "spoil_content": 1,
    },
}
LASTS_SECONDS = {"processes": (0.2, 4.0), "services": (0.5, 4.0), "provider": (1.0, 5.0)}
PAUSE_SECONDS = {"processes": (1.0, 4.0), "services": (2.0, 6.0), "provider": (3.0, 9.0)}


@dataclass(frozen=True)
class Step:
    """One call of a caller. `choice` (0 to 1) says which of what it has, `amount` (1 to 5) how much of it."""

    verb: str
    key: str
    choice: float
    amount: int


@dataclass(frozen=True)
class Fault:
    name: str
    pause_seconds: float  # before it
    lasts_seconds: float
    choice: float  # which of several processes


def steps(seed: int, caller: int) -> Iterator[Step]:
    dice = random.Random(f"{seed}-caller-{caller}")
    while True:
        (verb,) = dice.choices(list(STEPS), list(STEPS.values()))
        yield Step(verb, uuid.UUID(int=dice.getrandbits(128), version=4).hex, dice.random(), dice.randint(1, 5))


def faults(seed: int, lane: str, available: set[str]) -> Iterator[Fault]:
    """`available`: what can be broken here at all; SQLite has no server."""
    dice = random.Random(f"{seed}-{lane}")
    weights = {name: weight for name, weight in LANES[lane].items() if name in available}
    while weights:
        (name,) = dice.choices(list(weights), list(weights.values()))
        yield Fault(name, dice.uniform(*PAUSE_SECONDS[lane]), dice.uniform(*LASTS_SECONDS[lane]), dice.random())
