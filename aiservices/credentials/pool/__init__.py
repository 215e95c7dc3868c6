"""The pool: leases an upstream credential to one caller at a time, and adjusts its state by what the caller reports.

Which one: the highest priority that is ready, then the one with the fewest leases for its weight, then by lot. Limits (at
once, a day, images and videos at once) are conditions of the very update that takes the lease, so two processes never
break one together: PostgreSQL takes the row with SKIP LOCKED and looks at it again, SQLite has one writer at a time.

Whose fault an outcome was decides what it teaches:

* the credential's (`rate_limited`, `quota_exhausted`, `invalid`): it cools down, for as long as the upstream said or by
  default, twice as long for each such outcome among its last ones; MAX_INVALID `invalid` among them, and it is out until
  an operator says otherwise;
* the model's (a limit of one model alone): the credential rests for that model, and goes on serving the others;
* nobody's here (`overloaded`, `error`): counted, and nothing is held against the credential;
* the prompt's (`content_refused`): the credential did its work, as with `ok`.

After its cooldown a credential is half open: one trial is leased, and its report decides. A test that works, or an
operator, ends a cooldown before.

`leasing` takes one, `reports` gives it back, `circuit_breaker` and `model_cooldowns` say what an outcome changes, `expiry`
ends what nobody reported.
"""

from aiservices.credentials.pool.circuit_breaker import (
    COOLDOWN_SECONDS,
    LETTERS,
    MAX_INVALID,
    MAX_RETRY_AFTER_SECONDS,
    OWN_FAULTS,
    WINDOW,
    end_cooldown_within,
    give_trial,
    mark_within,
    observe,
    start_half_open_within,
)
from aiservices.credentials.pool.expiry import clean_up
from aiservices.credentials.pool.leasing import (
    BUSY_SECONDS,
    MAX_TTL_SECONDS,
    MIN_TTL_SECONDS,
    NO_IDEA_SECONDS,
    Lease,
    lease,
)
from aiservices.credentials.pool.model_cooldowns import model_cooldowns
from aiservices.credentials.pool.queries import MODELS, today
from aiservices.credentials.pool.reports import report

__all__ = [
    "BUSY_SECONDS",
    "COOLDOWN_SECONDS",
    "LETTERS",
    "MAX_INVALID",
    "MAX_RETRY_AFTER_SECONDS",
    "MAX_TTL_SECONDS",
    "MIN_TTL_SECONDS",
    "MODELS",
    "NO_IDEA_SECONDS",
    "OWN_FAULTS",
    "WINDOW",
    "Lease",
    "clean_up",
    "end_cooldown_within",
    "give_trial",
    "lease",
    "mark_within",
    "model_cooldowns",
    "observe",
    "report",
    "start_half_open_within",
    "today",
]
