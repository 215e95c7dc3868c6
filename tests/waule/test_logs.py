"""No secret reaches a log, whichever way it tries."""

import io
import logging
from collections.abc import Iterator

import pytest
import structlog

from tests.live import LiveWaule
from tests.settings import ENVIRONMENT, INTERNAL_SECRET
from waule.core.logs import HIDDEN, redact, redact_text

SECRETS = {
    "our key": "wk_live_4fQ9cJ2mXv8RkT5wYb1NzHd6LpSgE3a7Kc",
    "our test key": "wk_test_9aB8cD7eF6gH5iJ4kL3mN2oP1qR0sT",
    "Google's key": "AIzaSyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY",
    "a web token": "eyJhbGciOiJIUzI1NiJ9.eyJ1c2VySWQiOiI3In0.sX5wq3Zr8bq0nWl4h6d1y2T7",
    "OpenAI's key": "sk-proj-Xy12Zw34Vu56Ts78Rq90",
}


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What the process's log handler writes meanwhile."""
    handler = next(handler for handler in logging.getLogger().handlers if isinstance(handler, logging.StreamHandler))
    stream = io.StringIO()
    before = handler.setStream(stream)
    yield stream
    if before is not None:
        handler.setStream(before)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("407 from http://bob:hunter2@10.0.0.1:8080/", f"407 from http://{HIDDEN}@10.0.0.1:8080/"),
        ("socks5h://bob:hun%40ter2@proxy.example failed", f"socks5h://{HIDDEN}@proxy.example failed"),
        ("cannot use bob:hunter2@proxy.example:1080.", f"cannot use {HIDDEN}@proxy.example:1080."),
        ("write to someone@example.com: 5", "write to someone@example.com: 5"),
    ],
)
def test_the_account_in_an_address_is_hidden(text: str, expected: str) -> None:
    assert redact_text(text) == expected


def test_long_texts_are_redacted_in_no_time(lines: io.StringIO) -> None:
    """A pattern that tries every start of a long word again would not come back from this."""
    for text in ("a" * 1_000_000, "a:" * 500_000, "://" + "b" * 1_000_000, "x " * 500_000):
        assert redact_text(text) == text


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS.keys())
def test_a_secret_by_its_form_is_hidden_wherever_it_stands(lines: io.StringIO, secret: str) -> None:
    plain, structured = logging.getLogger("somewhere"), structlog.get_logger("elsewhere")
    plain.error("refused %s", secret)
    plain.error("refused", extra={"detail": {"deep": [f"a {secret} b"]}})
    structured.error("refused", why=f"({secret})", several=[secret, {"inner": secret}])
    structured.error(f"event {secret}")
    try:
        raise ValueError(f"no good: {secret}")
    except ValueError:
        plain.exception("failed")
        structured.exception("failed")
    written = lines.getvalue()
    assert written.count(HIDDEN) >= 5
    assert "no good" in written
    assert secret not in written
    assert secret[8:] not in written


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "api_key",
        "apiKey",
        "X-Internal-Secret",
        "authorization",
        "session_token",
        "st",
        "rt",
        "accessKeySecret",
        "cookie",
    ],
)
def test_what_is_called_a_secret_is_hidden_whatever_it_looks_like(lines: io.StringIO, name: str) -> None:
    structlog.get_logger("elsewhere").error("refused", **{name: "plain-words-7313"}, sent={name: "plain-words-7313"})
    assert "plain-words-7313" not in lines.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer abcdefgh12345678",
        "x-goog-api-key=plain-words-7313",
        "{'password': 'plain-words-7313'}",
        '{"token": "plain-words-7313"}',
        "X-Internal-Secret: plain-words-7313",
    ],
)
def test_a_secret_beside_its_name_in_a_sentence_is_hidden(text: str) -> None:
    hidden = redact_text(text)
    assert HIDDEN in hidden
    assert "7313" not in hidden
    assert "12345678" not in hidden


def test_what_is_no_secret_stays_readable() -> None:
    event = {
        "credits": 7,
        "path": "/internal/billing/charge",
        "words": ["status", "first"],
        "why": "no credits left",
        "count": None,
    }
    assert redact(event) == event


def test_a_running_server_logs_neither_what_it_is_sent_nor_its_own_settings(live_waule: LiveWaule) -> None:
    live_waule.environ |= {"LOG_LEVEL": "DEBUG", "INTERNAL_SECRET_PREVIOUS": "the-secret-before-of-32-characters-and-more"}
    planted = "planted-secret-b7e1-of-a-caller-4242"
    headers = {
        "X-Internal-Secret": planted,
        "Authorization": f"Bearer wk_live_{planted}",
        "X-Api-Key": f"wk_live_{planted}",
        "Cookie": f"sessionid={planted}",
        "Idempotency-Key": "key-1",
    }
    for path in ("/internal/billing/charge", "/internal/tenants/by-apikey", "/v1/models", "/api/me", "/admin/login/", "/nothing"):
        live_waule.post(path, {"password": planted, "apiKey": planted}, headers=headers)
        live_waule.get(path, headers=headers)
        live_waule.post(path, {"apiKey": planted}, headers=headers | {"X-Internal-Secret": INTERNAL_SECRET})
    live_waule.stop()
    written = "\n".join(process.log for process in live_waule.processes)
    assert planted not in written
    for name in ("SECRET_KEY", "JWT_SECRET", "LOOKUP_KEY", "INTERNAL_SECRET", "ENCRYPTION_KEYS"):
        assert ENVIRONMENT[name] not in written, name
    assert "the-secret-before" not in written
