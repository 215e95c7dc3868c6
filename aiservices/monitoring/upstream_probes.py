"""Asking the services upstream how they are: for free, and for what models they list."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.utils.translation import gettext_lazy as _

from aiservices.monitoring import model_lists
from billing.catalog.provider_lists import Listed, Sold
from gateway_client import gemini_errors, http
from gateway_client.errors import CredentialRefused
from gateway_client.transport import Deadline
from gateway_client.upstreams import sora_admin
from gateway_client.upstreams.gateway import HEALTHY, internal_token
from waule.core.errors import NotConfigured, WauleError

PROBE_SECONDS = 10.0
Ask = Callable[[], str]  # a sentence where all is not well; raises what `gateway_client` raises


class Note(str):
    """What an operator should know although the service is well, and the models that it listed."""

    listed: Listed = {}

    @classmethod
    def of(cls, sold: Sold, listed: Listed, known: set[str] | None = None) -> "Note":
        said = cls(model_lists.note(sold, listed, known))
        said.listed = listed
        return said


def _get(url: str, **kwargs: Any) -> http.Answer:
    deadline = Deadline(read_seconds=min(PROBE_SECONDS, settings.UPSTREAM_READ_SECONDS), total_seconds=PROBE_SECONDS)
    return http.call("GET", url, deadline=deadline, max_tries=1, waits_for_limit=False, **kwargs)


def _models_of(base_url: str, bearer: str) -> Listed:
    """Return what `/v1/models` lists; nothing where there is no such list: not every gateway has one."""
    try:
        return model_lists.of_openai(_get(http.join(base_url, "v1", "models"), bearer=bearer).body)
    except WauleError:
        return {}


def ask_gateway(sold: Sold, known: set[str]) -> Ask:
    def ask() -> str:
        body = _get(http.join(settings.WAULEAPI_URL, "health")).body
        if not isinstance(body, dict) or body.get("status") not in HEALTHY:
            return str(_("The gateway says that it is not well."))
        return Note.of(sold, _models_of(settings.WAULEAPI_URL, internal_token()), known)

    return ask


def ask_sora(sold: Sold, known: set[str]) -> Ask:
    def ask() -> str:
        stats = sora_admin.stats()
        total, active = stats.get("total_tokens"), stats.get("active_tokens")
        if isinstance(total, int) and isinstance(active, int) and total > 0 and active == 0:
            return str(_("None of its tokens is active."))
        listed = _models_of(settings.SORA_API_URL, settings.SORA_API_KEY) if settings.SORA_API_KEY else {}
        return Note.of(sold, listed, known)

    return ask


def ask_gemini(secrets: list[str], sold: Sold) -> Ask:
    def ask() -> str:
        if not secrets:
            raise NotConfigured(_("There is no Gemini key that is on."))
        for number, secret in enumerate(secrets, 1):
            try:
                url, key = http.join(settings.GEMINI_API_URL, "models"), {"x-goog-api-key": secret}
                body = _get(url, secrets=key, translate=gemini_errors.translate).body
                if isinstance(body, dict) and body.get("nextPageToken"):
                    body = _get(f"{url}?pageSize=1000", secrets=key, translate=gemini_errors.translate).body
            except CredentialRefused:
                if number < len(secrets):
                    continue  # the key's trouble, not the service's
                return str(_("It answers, but refused the keys that were tried."))
            return Note.of(sold, model_lists.of_gemini(body))
        return ""

    return ask


def ask_openai(sold: Sold) -> Ask:
    def ask() -> str:
        if not settings.OPENAI_API_KEY:
            raise NotConfigured(_("OPENAI_API_KEY is not set."))
        body = _get(http.join(settings.OPENAI_API_URL, "models"), bearer=settings.OPENAI_API_KEY).body
        return Note.of(sold, model_lists.of_openai(body))

    return ask
