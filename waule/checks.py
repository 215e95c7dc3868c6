"""What `manage.py check` says about this installation."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register


def internal_secrets() -> list[bytes]:
    """The secrets that open `/internal`: long enough, or they do not count."""
    return [
        secret.encode()
        for secret in (settings.INTERNAL_SECRET, settings.INTERNAL_SECRET_PREVIOUS)
        if len(secret) >= settings.MINIMUM_INTERNAL_SECRET_LENGTH
    ]


def internal_door_problem() -> str | None:
    """Why nobody gets into `/internal`, or None if the door works."""
    if len(settings.INTERNAL_SECRET) >= settings.MINIMUM_INTERNAL_SECRET_LENGTH:
        return None
    state = "shorter than 32 characters" if settings.INTERNAL_SECRET else "not set"
    return f"INTERNAL_SECRET is {state}: every call to /internal answers 503 until it is."


@register(Tags.security, deploy=True)
def internal_secret_is_set(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    problem = internal_door_problem()
    return [Error(problem, id="waule.E001")] if problem else []


@register(Tags.security, deploy=True)
def sqlite_is_for_one_machine(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if settings.DEBUG:
        return [Warning("DEBUG is on.", hint="Set DEBUG=false.", id="waule.W001")]
    return []
