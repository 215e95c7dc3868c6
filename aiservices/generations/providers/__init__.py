"""Who makes what: the providers by name, and which of them a generation goes to."""

from collections.abc import Callable

from django.conf import settings
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _

from aiservices.credentials import pool
from aiservices.credentials.models import GeminiKey
from aiservices.generations.providers.base import Provider
from billing.catalog.pricing.interfaces import DIRECT
from waule.core.errors import NotConfigured

SANDBOX = "sandbox"
GATEWAY = "gateway"


def _of(path: str) -> Callable[[], Provider]:
    return lambda: import_string(path)()


# Each is imported when it is first needed.
_MAKERS: dict[str, Callable[[], Provider]] = {
    SANDBOX: _of("aiservices.generations.providers.sandbox.Sandbox"),
    GATEWAY: _of("aiservices.generations.providers.gateway.Gateway"),
    "gemini": lambda: import_string("aiservices.generations.providers.gemini.provider.Gemini")(pool),
    "sora": _of("aiservices.generations.providers.sora.Sora"),
    "openai": _of("aiservices.generations.providers.openai.provider.OpenAI"),
}


# Whether what each needs is there; those that only a gateway reaches are never set up in direct mode.
_IS_SET_UP: dict[str, Callable[[], bool]] = {
    SANDBOX: lambda: True,
    "gemini": lambda: GeminiKey.objects.filter(is_active=True).exists(),
    "sora": lambda: bool(settings.SORA_API_KEY),
    "openai": lambda: bool(settings.OPENAI_API_KEY),
}


def is_set_up(provider: str) -> bool:
    """Return whether models of `provider` can be made here; whether it works at the moment is another matter."""
    return settings.AI_SERVICE_MODE == "gateway" or _IS_SET_UP.get(provider, lambda: False)()


def route(provider: str, *, is_test: bool) -> str:
    """Return the name of the provider that makes what a model of `provider` is asked for.

    Test keys reach the sandbox and nothing else; in gateway mode everything else goes to the gateway.

    Raises:
        NotConfigured: direct mode, and only a gateway can reach this provider.
    """
    if is_test:
        return SANDBOX
    if settings.AI_SERVICE_MODE == "gateway":
        return GATEWAY
    if provider not in DIRECT:
        raise NotConfigured(
            _("Models of %(provider)s are reached through the gateway alone: set AI_SERVICE_MODE=gateway and WAULEAPI_URL.")
            % {"provider": provider},
            reason="AI_SERVICE_MODE",
        )
    return provider


def maker(provider: str) -> str:
    """Return the name of the provider that makes in earnest what a model of `provider` is asked for."""
    return GATEWAY if settings.AI_SERVICE_MODE == "gateway" or provider not in DIRECT else provider


def get(name: str) -> Provider:
    """Return the provider of this name, as `route` gives it."""
    return _MAKERS[name]()
