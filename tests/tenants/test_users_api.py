"""Platform users log in."""

from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from django.conf import settings
from django.test import Client


def call(method: str, path: str, body: Any = None, token: str | None = None) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    content = {} if body is None else {"data": body, "content_type": "application/json"}
    return getattr(Client(), method)(path, headers=headers, **content)


def log_in(username: str, password: str) -> Any:
    return call("post", "/api/auth/token", {"username": username, "password": password})


def test_a_user_logs_in_and_asks_who_it_is(vera: Any) -> None:
    tokens = log_in("vera", "vera-password")
    assert tokens.status_code == 200
    assert tokens["Cache-Control"] == "no-store"
    claims = jwt.decode(tokens.json()["access"], settings.JWT_SECRET, algorithms=["HS256"])
    assert claims["userId"] == str(vera.id)
    me = call("get", "/api/me", token=tokens.json()["access"])
    assert me.json() == {
        "id": str(vera.id),
        "username": "vera",
        "level": "VIP",
        "membershipExpiresAt": None,
        "balance": 1000,
        "held": 0,
    }
    again = call("post", "/api/auth/refresh", {"refresh": tokens.json()["refresh"]})
    assert call("get", "/api/me", token=again.json()["access"]).status_code == 200


def test_a_session_works_too(vera: Any) -> None:
    client = Client()
    client.force_login(vera, backend="django.contrib.auth.backends.ModelBackend")
    assert client.get("/api/me").json()["username"] == "vera"


def signed(user: Any, secret: str | None = None, algorithm: str = "HS256", **claims: Any) -> str:
    now = datetime.now(UTC)
    base = {"userId": str(user.id), "type": "access", "exp": now + timedelta(minutes=5)}
    return jwt.encode(base | claims, settings.JWT_SECRET if secret is None else secret, algorithm=algorithm)


def test_tokens_that_are_not_ours_are_refused(alice: Any) -> None:
    assert call("get", "/api/me", token=signed(alice)).status_code == 200
    past = datetime.now(UTC) - timedelta(seconds=1)
    refresh = log_in("alice", "alice-password").json()["refresh"]
    wrong = [
        "",
        "nonsense",
        refresh,
        signed(alice, "x" * 40),
        signed(alice, "", "none"),
        signed(alice, exp=past),
        signed(alice, userId="nobody"),
        signed(alice, userId=5),
        signed(alice, type="refresh"),
        signed(alice, stamp="0" * 16),
    ]
    for token in wrong:
        answer = call("get", "/api/me", token=token)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized"), token
    assert call("get", "/api/me").status_code == 401
    assert call("post", "/api/auth/refresh", {"refresh": signed(alice)}).status_code == 401


def test_a_new_password_or_a_switched_off_user_ends_tokens(alice: Any) -> None:
    token = log_in("alice", "alice-password").json()["access"]
    alice.set_password("another-password")
    alice.save()
    assert call("get", "/api/me", token=token).status_code == 401
    token = log_in("alice", "another-password").json()["access"]
    alice.is_active = False
    alice.save()
    assert call("get", "/api/me", token=token).status_code == 401
    assert log_in("alice", "another-password").status_code == 401


def test_guessing_is_locked_out(alice: Any) -> None:
    answers = [log_in("alice", "wrong") for _ in range(settings.AXES_FAILURE_LIMIT + 1)]
    assert [answer.status_code for answer in answers[:2]] == [401, 401]
    assert (answers[-1].status_code, answers[-1].json()["code"]) == (429, "rate_limited")
    assert int(answers[-1]["Retry-After"]) > 0
    assert log_in("alice", "alice-password").status_code == 429


@pytest.mark.parametrize("body", [{}, {"username": "a"}, {"username": 1, "password": "x"}, {"username": "", "password": ""}])
def test_bad_logins(db: None, body: Any) -> None:
    assert call("post", "/api/auth/token", body).status_code == 400
