"""Logins and failed ones, in the audit log and in the log of the process, with the client's address."""

from typing import Any

import structlog
from django.contrib.auth.signals import user_logged_in, user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest

from tenants import audit
from tenants.models import User
from waule.core.auth.client_address import client_address
from waule.core.http.middleware import current_request

logger = structlog.get_logger(__name__)
MAX_NAME_LENGTH = 150


@receiver(user_logged_in, dispatch_uid="tenants.logged_in")
def logged_in(sender: Any, request: HttpRequest | None, user: Any, **kwargs: Any) -> None:
    note_login(user, request=request, way="session")


def note_login(user: User, *, request: HttpRequest | None, way: str) -> None:
    """Note that `user` is in; `way` is what they hold now: `session` or `token`."""
    audit.record(actor=f"user:{user.get_username()}", action="login", target=user, after={"way": way}, request=request)


@receiver(user_login_failed, dispatch_uid="tenants.login_failed")
def login_failed(sender: Any, credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any) -> None:
    note_failure(str(credentials.get("username", "")), what="password", request=request)


def note_failure(username: str, *, what: str, request: HttpRequest | None = None) -> None:
    """Note that somebody was not let in as `username`; `what` was wrong is `password` or `second factor`."""
    name = "".join(character if character.isprintable() else "?" for character in username[:MAX_NAME_LENGTH])
    request = request or current_request.get()
    address = client_address(request) if request is not None else ""
    logger.warning("login_failed", user_name=name, address=address, wrong=what)
    audit.record(
        actor=f"user:{name}", action="login.failed", target_type="tenants.user", target_name=name, reason=what, request=request
    )
