"""System checks: settings that `manage.py check --deploy` warns of."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

from waule.core.auth.internal_callers import MINIMUM_LENGTH, is_strong


def internal_secret_problem() -> str | None:
    """Return why INTERNAL_SECRET lets nobody into `/internal`, or None if it is strong enough."""
    secret = settings.INTERNAL_SECRET
    if is_strong(secret):
        return None
    state = "not set"
    if secret:
        state = "shorter than 32 characters" if len(secret) < MINIMUM_LENGTH else "too weak (too few different characters)"
    others = " but those of INTERNAL_CALLERS" if settings.INTERNAL_CALLERS else ""
    return f"INTERNAL_SECRET is {state}: every call to /internal{others} answers 503 until it is."


@register(Tags.security, deploy=True)
def internal_secret_is_set(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    problem = internal_secret_problem()
    return [Error(problem, id="waule.E001")] if problem else []


@register(Tags.security, deploy=True)
def alerts_are_signed(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if settings.ALERT_WEBHOOK_URL and not settings.ALERT_WEBHOOK_SECRET:
        return [Warning("Alerts are not signed: set ALERT_WEBHOOK_SECRET beside ALERT_WEBHOOK_URL.", id="waule.W002")]
    return []


@register(Tags.security, deploy=True)
def debug_is_off(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if settings.DEBUG:
        return [Warning("DEBUG is on.", hint="Set DEBUG=false.", id="waule.W001")]
    return []
