"""DATABASE_POOLER=transaction: PostgreSQL behind a pooler that hands out a server connection for each transaction.

Nothing of a session is relied on then: no startup options, no server-side cursors, no prepared statements. What a session
would say once, each transaction says for itself, in front of its first statement and in the same message, so that it costs
no round trip: how long it waits for a lock, and that what is acknowledged has reached the disk. A statement outside of a
transaction is one of its own; PostgreSQL runs such a message of several statements as a single transaction.
"""

import re
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db.backends.signals import connection_created

LOCK_TIMEOUT_SECONDS = 10
_LIMITS = f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'; SET LOCAL synchronous_commit = on; "
# Others (CREATE DATABASE, VACUUM, CREATE INDEX CONCURRENTLY) refuse to run beside a second statement.
_HAS_LIMITS = re.compile(r"\s*\(*\s*(?:SELECT|WITH|INSERT|UPDATE|DELETE)\b", re.IGNORECASE)
_IDLE = 0  # psycopg2.extensions.TRANSACTION_STATUS_IDLE: no transaction is open, the next statement begins one


def limit_transactions() -> None:
    """From now on every new connection limits its transactions, where the database is behind such a pooler."""
    if settings.DATABASE_POOLER:
        connection_created.connect(_limit, dispatch_uid="waule.core.db.pooler")


def _limit(sender: Any, connection: Any, **kwargs: Any) -> None:
    if connection.vendor == "postgresql" and _with_limits not in connection.execute_wrappers:
        connection.execute_wrappers.append(_with_limits)


def _with_limits(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    plain = context["connection"].connection
    if plain is not None and plain.info.transaction_status == _IDLE and isinstance(sql, str) and _HAS_LIMITS.match(sql):
        sql = _LIMITS + sql
    return execute(sql, params, many, context)
