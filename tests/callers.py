"""Callers inside the test's process: the gateway of `/internal`, a user, a tenant's program, the operator at the shell."""

import io
import json
import time
from typing import Any

from django.core.management import call_command
from django.test import Client

from tenants.models import Tenant, User
from tenants.services import create_api_key
from tests.settings import INTERNAL_SECRET
from waule.core.admin import REAUTHENTICATED_AT
from waule.core.auth import jwt_tokens
from waule.core.auth.user_auth import stamp_of


class Internal:
    """A caller of `/internal` inside the test's process."""

    def __init__(self, secret: str | None = INTERNAL_SECRET) -> None:
        self.client = Client(raise_request_exception=False)
        self.secret = secret

    def __call__(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        sent = dict(headers or {})
        if self.secret is not None:
            sent.setdefault("X-Internal-Secret", self.secret)
        if key is not None:
            sent["Idempotency-Key"] = key
        data = body if isinstance(body, str | bytes) else json.dumps(body)
        content = {} if body is None else {"data": data, "content_type": "application/json"}
        answer = self.client.generic(method, path, headers=sent, **content)
        self.last = answer
        return answer.status_code, answer.json() if answer.content else None

    def get(self, path: str, **kwargs: Any) -> tuple[int, Any]:
        return self("GET", path, **kwargs)

    def post(self, path: str, body: Any = None, **kwargs: Any) -> tuple[int, Any]:
        return self("POST", path, body, **kwargs)


class Api:
    """A caller with a header that says who it is: `api.post(path, body, key=…)` is (status, answer)."""

    def __init__(self, authorization: str) -> None:
        self.client = Client(raise_request_exception=False)
        self.authorization = authorization

    def __call__(self, method: str, path: str, body: Any = None, *, key: str | None = None, **headers: str) -> tuple[int, Any]:
        sent = {"Authorization": self.authorization} | headers
        if key is not None:
            sent["Idempotency-Key"] = key
        content = {} if body is None else {"data": json.dumps(body), "content_type": "application/json"}
        self.last = self.client.generic(method, path, headers=sent, **content)
        is_json = self.last.get("Content-Type", "").startswith("application/json")
        return self.last.status_code, self.last.json() if is_json else None

    def get(self, path: str, **kwargs: Any) -> tuple[int, Any]:
        return self("GET", path, **kwargs)

    def post(self, path: str, body: Any = None, **kwargs: Any) -> tuple[int, Any]:
        return self("POST", path, body, **kwargs)


def api_of_user(user: User) -> Api:
    return Api(f"Bearer {jwt_tokens.issue(str(user.pk), 'access', stamp=stamp_of(user))}")


def api_of_tenant(tenant: Tenant, mode: str = "live") -> Api:
    return Api(f"Bearer {create_api_key(tenant=tenant, mode=mode, actor='test')[1]}")


def bearer(tenant: Tenant) -> dict[str, str]:
    """The header that a program of the tenant sends, with a new live key."""
    return {"Authorization": api_of_tenant(tenant).authorization}


def manage_json(*arguments: str) -> Any:
    """What a command of `manage.py` prints with --json, which is one document; run in this process."""
    out = io.StringIO()
    call_command(*arguments, "--json", stdout=out)
    return json.loads(out.getvalue())


def confirm_password(client: Client, seconds_ago: float = 0) -> None:
    """As if the password had been given again that long ago."""
    session = client.session
    session[REAUTHENTICATED_AT] = time.time() - seconds_ago
    session.save()


def at_console(username: str, password: str) -> Client:
    """Somebody who has logged in to the console."""
    client = Client()
    answer = client.post("/console/login/?next=/console/", {"username": username, "password": password, "next": "/console/"})
    assert (answer.status_code, answer["Location"]) == (302, "/console/")
    return client
