"""Named callers of /internal: scopes, rotation, who did it, and what a wrong secret leaves behind."""

import logging
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.urls import URLPattern, URLResolver, get_resolver

from tests.callers import Internal
from tests.settings import INTERNAL_SECRET
from waule.core.auth import internal_auth
from waule.core.auth.internal_callers import SCOPES, parse_callers

BILLING = "billing-robot-secret-7d1f0c93a4b82e56"
READER = "reader-secret-of-its-own-51c8e0a97b3d"
OLD = "reader-secret-before-that-0f9e8d7c6b5a"


@pytest.fixture
def callers(settings: Any) -> None:
    settings.INTERNAL_CALLERS = parse_callers(
        [f"robot:{BILLING}:billing", f"reader:{READER}:models+health", f"reader:{OLD}:models"]
    )


@pytest.fixture(autouse=True)
def fresh_limit() -> None:
    internal_auth.failures.clear()


def internal_views() -> dict[str, Any]:
    """Each address below /internal with its view class."""
    found: dict[str, Any] = {}

    def walk(patterns: list[Any], before: str) -> None:
        for pattern in patterns:
            path = before + str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                walk(pattern.url_patterns, path)
            elif isinstance(pattern, URLPattern) and path.startswith("internal/"):
                found[path] = pattern.callback.cls  # type: ignore[attr-defined]

    walk(get_resolver().url_patterns, "")
    return found


def test_every_internal_address_asks_for_a_scope() -> None:
    views = internal_views()
    assert len(views) >= 30
    for path, view in views.items():
        assert view.scope in SCOPES, path
        assert internal_auth.HasInternalSecret in view.permission_classes, path
    assert {view.scope for view in views.values()} == set(SCOPES)


def test_a_caller_without_the_scope_is_forbidden_everywhere_else(db: None, callers: None) -> None:
    for path, view in internal_views().items():
        address = "/" + path.replace("<str:", "<").replace("<uuid:", "<")
        while "<" in address:
            before, _less, rest = address.partition("<")
            address = before + "01890000-0000-7000-8000-000000000000" + rest.partition(">")[2]
        allowed = [method for method in ("get", "post", "patch", "delete") if hasattr(view, method) or method in ("get", "post")]
        for method in allowed:
            status, told = Internal(READER)(method.upper(), address)
            if view.scope in ("models", "health"):
                assert status != 403, address
            elif status != 405:
                assert (status, told["code"]) == (403, "forbidden"), (method, address)


def test_ledger_and_audit_log_say_which_caller_it_was(callers: None, acme: Any) -> None:
    body = {"targetType": "tenant", "targetId": str(acme.id), "credits": 5, "type": "GIFT", "reason": "test"}
    assert Internal(BILLING).post("/internal/billing/grant", body, key="k1")[0] == 200
    assert Internal(INTERNAL_SECRET).post("/internal/billing/grant", body, key="k2")[0] == 200
    entries = (
        [entry.actor for entry in acme.account_set.get(mode="live").entries.order_by("seq")]
        if hasattr(acme, "account_set")
        else None
    )
    if entries is None:
        from billing.ledger.models import LedgerEntry

        entries = list(LedgerEntry.objects.order_by("seq").values_list("actor", flat=True))
    assert entries[-2:] == ["robot", "gateway"]


def test_both_secrets_of_a_name_open_while_it_rotates(db: None, callers: None) -> None:
    assert Internal(READER).get("/internal/models")[0] == 200
    assert Internal(OLD).get("/internal/models")[0] == 200
    assert Internal(OLD).get("/internal/health")[0] == 403


def test_named_callers_get_in_where_the_gateway_does_not(db: None, settings: Any, callers: None) -> None:
    settings.INTERNAL_SECRET = ""
    assert Internal(READER).get("/internal/models")[0] == 200
    assert Internal(INTERNAL_SECRET).get("/internal/models")[0] == 401
    settings.INTERNAL_CALLERS = []
    assert Internal(READER).get("/internal/models")[0] == 503


@pytest.mark.parametrize(
    "entry",
    [
        "robot",
        f"Robot:{BILLING}",
        f"gateway:{BILLING}",
        "robot:short",
        "robot:" + "ab" * 20,
        f"robot:{BILLING}:billing+everything",
        f"robot:{BILLING}:",
        f"robot:{BILLING}:billing:more",
        f":{BILLING}",
        f"robot:{BILLING},x:{BILLING}",
    ],
)
def test_entries_that_make_no_sense_are_refused_without_their_secret(entry: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="INTERNAL_CALLERS is not valid") as refused:
        parse_callers(entry.split(","))
    assert BILLING not in str(refused.value)


def test_a_wrong_secret_leaves_a_line_with_the_address_and_not_the_secret(db: None, caplog: Any) -> None:
    with caplog.at_level(logging.WARNING):
        assert Internal("wrong-secret-of-somebody").get("/internal/models", headers={})[0] == 401
    record = next(record for record in caplog.records if "wrong internal secret" in record.getMessage())
    assert "from 127.0.0.1" in record.getMessage()
    assert "wrong-secret-of-somebody" not in caplog.text


def test_wrong_secrets_of_one_address_are_limited_and_the_right_one_is_not(db: None, monkeypatch: Any) -> None:
    monkeypatch.setattr(internal_auth.failures, "limit", 3)
    answers = [Internal("wrong").get("/internal/models")[0] for _ in range(5)]
    assert answers == [401, 401, 401, 429, 429]
    assert Internal(INTERNAL_SECRET).get("/internal/models")[0] == 200
    assert Internal(None).get("/internal/models")[0] == 401


@pytest.mark.parametrize("weak", ["a" * 40, "ab" * 20, "12345" * 8])
def test_a_long_secret_of_few_characters_opens_nothing(db: None, settings: Any, weak: str) -> None:
    settings.INTERNAL_SECRET = weak
    assert Internal(weak).get("/internal/models")[0] == 503
