"""The admin API of the Sora token service.

Its sessions live in its memory: any call may be answered 401 after it restarted, and then one fresh login and one repeat
is right. A login that fails answers 200 like one that works. Later versions add fields; they are passed over.
"""

import hashlib
import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings
from django.utils.translation import gettext_lazy as _

from gateway_client import http
from gateway_client.answers import clean_text
from gateway_client.errors import CredentialRefused, UpstreamError, UpstreamRefused
from gateway_client.transport import Deadline
from waule.core.db.connection_pool import release_connection
from waule.core.errors import NotConfigured
from waule.core.logs import redact_text

READ_SECONDS = 30.0  # it may ask its own upstream about a token before it answers
TOTAL_SECONDS = 45.0
MAX_LIST_BYTES = 64 << 20
MAX_TOKENS = 100_000
MAX_ID = 2**63 - 1
MAX_MESSAGE_LENGTH = 300

# What the service says of a token, and what of the way to its own upstream: the latter says nothing about the token.
_ABOUT_THE_TOKEN = re.compile(
    r"\b40[13]\b|unauthori[sz]ed|forbidden|invalid|expired|revoked|refused|rejected|banned|suspended|deactivated|not valid"
    r"|过期|失效|无效|封禁|未授权",
    re.IGNORECASE,
)
_ABOUT_THE_WAY = re.compile(
    r"time[d -]*out|connect|network|proxy|dns|resolve|unreachable|ssl|tls|certificate|reset|curl|cloudflare"
    r"|unavailable|\b(?:429|5[0-9]{2})\b|rate limit|超时|网络|连接|代理",
    re.IGNORECASE,
)

_sessions: dict[str, str] = {}  # per address and account: the session of the last login
_lock = threading.Lock()


class TokenExists(UpstreamRefused):
    """409: the service has this token already."""

    message = _("The Sora service has this token already.")


class OddAnswer(UpstreamError):
    """A 200 that is not what the service promises."""

    message = _("The Sora service gave an answer that makes no sense.")


def is_configured() -> bool:
    return bool(settings.SORA_API_URL and settings.SORA_API_USERNAME and settings.SORA_API_PASSWORD)


def login() -> str:
    """Return a fresh session.

    Raises:
        NotConfigured: no user name or password is set.
        CredentialRefused: the service does not know them.
    """
    if not is_configured():
        raise NotConfigured(_("SORA_API_USERNAME and SORA_API_PASSWORD are not set."))
    account = {"username": settings.SORA_API_USERNAME, "password": settings.SORA_API_PASSWORD}
    try:
        body = _object(http.call("POST", _url("api", "login"), payload=account, deadline=_clock(), max_tries=1).body)
    except UpstreamRefused as error:
        # Not a word about a token: there is no such login at this address.
        raise OddAnswer(reason=f"login_{error.upstream_status}") from None
    token = body.get("token")
    if body.get("success") is not True:
        raise CredentialRefused(_("The Sora service refused the login."), reason="login_refused")
    if not isinstance(token, str) or not token:
        raise OddAnswer(reason="login_without_token")
    with _lock:
        _sessions[_account_key()] = token
    return token


def stats() -> dict[str, Any]:
    """Return the service's own counters: its free health probe."""
    return _object(_call("GET", "api", "stats"))


def list_tokens() -> list[dict[str, Any]]:
    """Return every token there, with its full secrets."""
    body = _call("GET", "api", "tokens", max_bytes=MAX_LIST_BYTES)
    if not isinstance(body, list) or len(body) > MAX_TOKENS:
        raise OddAnswer(reason="tokens")
    for item in body:
        if not isinstance(item, dict) or not _is_id(item.get("id")) or not isinstance(item.get("token"), str):
            raise OddAnswer(reason="token")
    return body


def add(fields: Mapping[str, Any]) -> int | None:
    """Add a token; its id there, if the service said it.

    Raises:
        TokenExists: it is there already.
        UpstreamRefused: the service does not want it.
    """
    body = _done(_call("POST", "api", "tokens", payload=dict(fields)))
    token_id = body.get("token_id")
    return token_id if _is_id(token_id) else None


def update(token_id: int, fields: Mapping[str, Any]) -> None:
    """Change what is named. With a secret among it the service tests the token, and may switch it on."""
    _done(_call("PUT", "api", "tokens", str(token_id), payload=dict(fields)))


def set_enabled(token_id: int, is_enabled: bool) -> None:
    _done(_call("POST", "api", "tokens", str(token_id), "enable" if is_enabled else "disable"))


def delete(token_id: int) -> None:
    """Delete a token; one that is not there counts as deleted."""
    try:
        _done(_call("DELETE", "api", "tokens", str(token_id)))
    except UpstreamRefused as error:
        if error.upstream_status != 404:
            raise


def test(token_id: int) -> tuple[bool | None, str]:
    """Has the service try the token: whether it works, and what the service says.

    None: it could not be tested. The service says `failed` for any trouble of its own too, a network that is down
    included; only its word of an expired or refused token is about the token.
    """
    try:
        body = _object(_call("POST", "api", "tokens", str(token_id), "test"))
    except TokenExists as error:  # 409, for any ValueError of its own
        return None, str(error.details["reason"])
    status, said = body.get("status"), _sentence(body)
    if status not in ("success", "failed"):
        raise OddAnswer(reason="status")
    if status == "success":
        return True, said
    is_refused = _ABOUT_THE_TOKEN.search(said) and not _ABOUT_THE_WAY.search(said)
    return (False if is_refused else None), said


def import_offline(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Add or updates many tokens (each with its e-mail) without testing them."""
    return _done(_call("POST", "api", "tokens", "import", payload={"tokens": list(items), "mode": "offline"}))


def _call(method: str, *path: str, payload: Any = None, max_bytes: int = http.MAX_JSON_BYTES) -> Any:
    release_connection()  # nobody else has to wait for a database connection while we wait for the service
    session = _sessions.get(_account_key())
    for is_fresh in (False, True):
        if session is None or is_fresh:
            session, is_fresh = login(), True
        try:
            return http.call(
                method,
                _url(*path),
                bearer=session,
                payload=payload,
                deadline=_clock(),
                max_bytes=max_bytes,
                max_tries=1,
                translate=_translate,
            ).body
        except CredentialRefused as error:
            if is_fresh or error.upstream_status != 401:
                raise
    raise AssertionError("the second round returns or raises")


def _translate(status: int, _headers: Mapping[str, str], body: Any) -> UpstreamError | None:
    return TokenExists(reason=_sentence(body) or "exists") if status == 409 else None


def _url(*path: str) -> str:
    return http.join(settings.SORA_API_URL, *path)


def _clock() -> Deadline:
    return Deadline(read_seconds=min(READ_SECONDS, settings.UPSTREAM_READ_SECONDS), total_seconds=TOTAL_SECONDS)


def _account_key() -> str:
    """Settings may change under a running process (tests do it): a session belongs to one address and account."""
    named = "\0".join((settings.SORA_API_URL, settings.SORA_API_USERNAME, settings.SORA_API_PASSWORD))
    return hashlib.sha256(named.encode()).hexdigest()


def _object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise OddAnswer(reason="not_an_object")
    return body


def _done(body: Any) -> dict[str, Any]:
    """`body`, if it says that the thing was done. Raises UpstreamRefused with the service's sentence if not."""
    found = _object(body)
    if found.get("success") is not True:
        raise UpstreamRefused(reason=_sentence(found) or "refused")
    return found


def _sentence(body: Any) -> str:
    if not isinstance(body, dict):
        return ""
    said = next((body[name] for name in ("message", "detail", "error") if isinstance(body.get(name), str)), "")
    return redact_text(clean_text(said, MAX_MESSAGE_LENGTH))


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_ID
