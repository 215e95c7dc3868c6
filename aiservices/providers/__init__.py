"""Who makes what: the providers by name, and which of them a generation goes to."""

from collections.abc import Callable

from django.conf import settings
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _

from aiservices import pool
from aiservices.providers.base import Provider
from waule.errors import NotConfigured

SANDBOX = "sandbox"
GATEWAY = "gateway"


def _of(path: str) -> Callable[[], Provider]:
    return lambda: import_string(path)()


# Each is imported when it is first needed.
_MAKERS: dict[str, Callable[[], Provider]] = {
    SANDBOX: _of("aiservices.providers.sandbox.Sandbox"),
    GATEWAY: _of("aiservices.providers.gateway.Gateway"),
    "gemini": lambda: import_string("aiservices.providers.gemini.Gemini")(pool),
    "sora": _of("aiservices.providers.sora.Sora"),
    "openai": _of("aiservices.providers.openai.OpenAI"),
}


def route(provider: str, *, is_test: bool) -> str:
    """The name of the provider that makes what a model of `provider` is asked for.

    Test keys reach the sandbox and nothing else; in gateway mode everything else goes to the gateway.

    Raises:
        NotConfigured: direct mode, and only a gateway can reach this provider.
    """
    if is_test:
        return SANDBOX
    if settings.AI_SERVICE_MODE == "gateway":
        return GATEWAY
    if provider not in _MAKERS or provider == GATEWAY:
        raise NotConfigured(
            _("Models of %(provider)s are reached through the gateway alone: set AI_SERVICE_MODE=gateway and WAULEAPI_URL.")
            % {"provider": provider},
            reason="AI_SERVICE_MODE",
        )
    return provider


def get(name: str) -> Provider:
    """The provider of this name, as `route` gives it."""
    return _MAKERS[name]()
