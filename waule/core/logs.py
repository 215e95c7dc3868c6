"""Keeps secrets out of the logs, and names the request that a line belongs to."""

import re
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any

_NAMES = re.compile(
    r"(?i)(secret|password|passwd|token|api_?key|apikey|authorization|cookie|access_key|credential|\bst\b|\brt\b)"
)
_VALUES = re.compile(
    r"wk_(?:live|test)_[A-Za-z0-9]+"  # our API keys
    r"|AIza[0-9A-Za-z_\-]{10,}"  # Google's
    r"|eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]*"  # JSON Web Tokens
    r"|(?i:bearer)\s+[A-Za-z0-9._~+/=\-]{8,}"
    r"|(?<=://)[^\s/?#@'\"<>]{1,500}(?=@)"  # user and password of a URL, a proxy's
    r"|(?<![^\s/'\"<>=(,])[^\s/:@'\"<>]{1,100}:[^\s/:@'\"<>]{1,200}(?=@[\w\[])"  # and without its scheme
    r"|\bsk-[A-Za-z0-9_\-]{8,}"
    r"|(?i:x-goog-api-key|x-internal-secret|x-api-key|password|secret|token|api_key|apikey)['\"]?\s*[:=]\s*['\"]?[^\s'\",;&}]{4,}"
)
HIDDEN = "[hidden]"
request_id: ContextVar[str] = ContextVar("request_id", default="")  # of the request that is being answered
_PLAIN = {"event", "level", "logger", "timestamp", "request_id"}


def redact_text(text: str) -> str:
    """`text` without anything that looks like a secret."""
    return _VALUES.sub(HIDDEN, text)


def redact(value: Any) -> Any:
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, dict):
        return {key: HIDDEN if _NAMES.search(str(key)) else redact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    return value


def add_request_id(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return the structlog processor that puts it into every line, unless a job has put its own there."""
    if current := request_id.get():
        event.setdefault("request_id", current)
    return event


def redact_event(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return the structlog processor; it also sees every record of the standard library's loggers."""
    for key, value in event.items():
        if key.startswith("_"):
            continue
        event[key] = HIDDEN if key not in _PLAIN and _NAMES.search(key) else redact(value)
    return event
