"""The pool: lends an upstream credential to one caller at a time, and learns from what the caller reports.

Which one: the highest priority that is ready, then the one with the fewest leases for its weight, then by lot. Limits (at
once, a day, images and videos at once) are conditions of the very update that takes the lease, so two processes never
break one together: PostgreSQL takes the row with SKIP LOCKED and looks at it again, SQLite has one writer at a time.

Whose fault an outcome was decides what it teaches:

* the credential's (`rate_limited`, `quota_exhausted`, `invalid`): it cools down, for as long as the upstream said or by
  default, twice as long for each such outcome among its last ones; MAX_INVALID `invalid` among them, and it is out until
  an operator says otherwise;
* nobody's here (`overloaded`, `error`): counted, and nothing is held against the credential;
* the prompt's (`content_refused`): the credential did its work, as with `ok`.

After its cooldown a credential is half open: one trial is lent out, and its report decides.

`lending` takes one, `reports` brings it back, `lessons` says what an outcome changes, `overdue` ends what nobody reported.
"""

from aiservices.pool.lending import (
    BUSY_SECONDS,
    MAX_TTL_SECONDS,
    MAX_UNREADABLE,
    MIN_TTL_SECONDS,
    NO_IDEA_SECONDS,
    Lease,
    lease,
)
from aiservices.pool.lessons import (
    COOLDOWN_SECONDS,
    LETTERS,
    MAX_INVALID,
    MAX_RETRY_AFTER_SECONDS,
    OWN_FAULTS,
    WINDOW,
    give_trial,
    give_trial_within,
    mark_within,
    observe,
)
from aiservices.pool.overdue import housekeep
from aiservices.pool.reports import report
from aiservices.pool.rows import MODELS, today

__all__ = [
    "BUSY_SECONDS",
    "COOLDOWN_SECONDS",
    "LETTERS",
    "MAX_INVALID",
    "MAX_RETRY_AFTER_SECONDS",
    "MAX_TTL_SECONDS",
    "MAX_UNREADABLE",
    "MIN_TTL_SECONDS",
    "MODELS",
    "NO_IDEA_SECONDS",
    "OWN_FAULTS",
    "WINDOW",
    "Lease",
    "give_trial",
    "give_trial_within",
    "housekeep",
    "lease",
    "mark_within",
    "observe",
    "report",
    "today",
]
