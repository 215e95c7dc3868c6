"""Logging in is limited per address: over all names, before a password is hashed, the same at both doors."""

import logging
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from tenants.login import limits


@pytest.fixture(autouse=True)
def fresh_limit() -> None:
    limits.attempts.clear()


def by_api(username: str, password: str, *, address: str = "203.0.113.1", forwarded: str | None = None) -> Any:
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    body = {"username": username, "password": password}
    return Client().post("/api/auth/token", body, content_type="application/json", REMOTE_ADDR=address, headers=headers)


def by_page(username: str, password: str, *, address: str = "203.0.113.1", forwarded: str | None = None) -> Any:
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    body = {"username": username, "password": password}
    return Client().post(reverse("admin:login"), body, REMOTE_ADDR=address, headers=headers)


@pytest.mark.parametrize("log_in", [by_api, by_page])
def test_an_address_that_failed_too_often_is_limited_over_all_names(root: Any, settings: Any, log_in: Any) -> None:
    settings.LOGIN_ADDRESS_FAILURE_LIMIT = 4
    for number in range(4):
        assert log_in(f"name-{number}", "wrong").status_code in (200, 401)
    answer = log_in("root", "root-password")
    assert answer.status_code == 429
    assert int(answer["Retry-After"]) > 0
    assert log_in("root", "root-password", address="203.0.113.2").status_code in (200, 302)


@pytest.mark.parametrize("log_in", [by_api, by_page])
def test_attempts_are_limited_before_the_password_is_hashed(root: Any, monkeypatch: Any, log_in: Any) -> None:
    hashed: list[str] = []
    monkeypatch.setattr(
        "django.contrib.auth.hashers.MD5PasswordHasher.encode", lambda self, password, salt: hashed.append(password)
    )
    monkeypatch.setattr(limits.attempts, "limit", 2)
    assert [log_in(f"name-{number}", "wrong").status_code == 429 for number in range(4)] == [False, False, True, True]
    assert len(hashed) == 2


@pytest.mark.parametrize("log_in", [by_api, by_page])
def test_behind_a_proxy_nobody_locks_an_account_out_for_others(root: Any, settings: Any, log_in: Any) -> None:
    settings.TRUST_PROXY_HEADERS, settings.TRUSTED_PROXY_COUNT = True, 1
    answers = [log_in("root", "wrong", forwarded="1.2.3.4, 198.51.100.66") for _ in range(settings.AXES_FAILURE_LIMIT + 1)]
    assert answers[-1].status_code == 429
    assert log_in("root", "root-password", forwarded="198.51.100.66").status_code == 429
    assert log_in("root", "root-password", forwarded="198.51.100.66, 198.51.100.1").status_code in (200, 302)


@pytest.mark.parametrize("log_in", [by_api, by_page])
def test_a_lockout_leaves_a_line_with_name_and_address(root: Any, settings: Any, caplog: Any, log_in: Any) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(settings.AXES_FAILURE_LIMIT):
            log_in("root", "wrong-password-of-somebody")
    lines = [record.getMessage() for record in caplog.records]
    assert "locked out 'root' from 203.0.113.1" in lines
    assert "wrong-password-of-somebody" not in caplog.text


@pytest.mark.parametrize("log_in", [by_api, by_page])
def test_missing_names_are_told_in_the_same_words_as_wrong_passwords(root: Any, log_in: Any) -> None:
    wrong, missing = log_in("root", "wrong"), log_in("nobody", "wrong")
    assert wrong.status_code == missing.status_code
    if log_in is by_api:
        assert {**wrong.json(), "requestId": ""} == {**missing.json(), "requestId": ""}
