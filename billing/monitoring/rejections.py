"""How often callers are refused, by reason. Each process counts in memory and writes its counts down now and then.

A rejection changes nothing, and so costs no write of its own. What a killed process had not written down yet is lost: these
are figures for people, not the ledger.
"""

import threading
import time
from collections import Counter

import structlog
from django.db import DatabaseError, InterfaceError
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from billing.monitoring import daily_stats as figures
from waule.core.db import connection_pool
from waule.core.errors import WauleError

WRITE_SECONDS = 5.0
# Codes that mean that a use was asked for and refused, as the first page names them.
REASONS: dict[str, str | Promise] = {
    "insufficient_credits": _("Not enough credits"),
    "rate_limited": _("Over budget or too fast"),
    "daily_limit": _("Daily limit"),
    "concurrency_limit": _("Too many at once"),
    "permission_denied": _("Level may not"),
    "model_not_enabled": _("Model not enabled"),
    "model_disabled": _("Model switched off"),
    "model_not_found": _("No such model"),
    "tenant_inactive": _("Tenant switched off"),
    "user_inactive": _("User switched off"),
    "price_not_configured": _("No price"),
    "missing_dimension": _("A value for the price is missing"),
    "unknown_dimension": _("No price for a value"),
    "duration_out_of_range": _("Longer than for sale"),
    "credentials_exhausted": _("No credential ready"),
    "content_refused": _("Content refused by the provider"),
}
logger = structlog.get_logger(__name__)


_lock = threading.Lock()
_counts: Counter[str] = Counter()  # of this process, not written down yet


def note(code: str) -> None:
    """Count one more, if it is a reason."""
    if code in REASONS:
        with _lock:
            _counts[code] += 1


def write_down() -> None:
    """Add what was counted to today's figures. A database that is away gets it the next time."""
    with _lock:
        counts = dict(_counts)
        _counts.clear()
    if not counts:
        return
    try:
        figures.count(figures.REJECTIONS, counts)
    except (DatabaseError, InterfaceError, WauleError) as error:
        logger.warning("refusals_not_counted", error=type(error).__name__)
        with _lock:
            _counts.update(counts)


def write_down_regularly() -> None:
    """Do so every WRITE_SECONDS in a thread of its own. For server processes."""
    threading.Thread(target=_run, name="refusals", daemon=True).start()


def _run() -> None:
    while True:
        time.sleep(WRITE_SECONDS)
        connection_pool.begin()
        try:
            write_down()
        finally:
            connection_pool.end()
