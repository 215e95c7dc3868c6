"""The catalog beside what the services that serve it list: which of its models are gone, end sooner, or are served by nobody.

Services are asked by the probes (`aiservices.monitoring`), and their last lists are kept here, so that a catalog can be
compared with them before it is published.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _

from billing.catalog.models import AIModel, ProviderList, last_warned_day
from billing.catalog.pricing import variant_names
from billing.catalog.pricing.interfaces import DIRECT, GATEWAY

Listed = Mapping[str, str]  # by the service's name of a model: the day on which it ends, as the service says, or nothing
Sold = Mapping[str, AIModel]  # by the service's name of a model
LIST_DAYS = 7  # an older list says nothing about today
MAX_NAMED = 20  # models in one sentence
_MADE = (AIModel.Type.IMAGE_GENERATION, AIModel.Type.VIDEO_GENERATION, AIModel.Type.VIDEO_EDITING)


def services_of(model: AIModel) -> tuple[str, ...]:
    """Return the services whose lists should have this model: the one that is asked for it, and the one behind the gateway."""
    uses_gateway = settings.AI_SERVICE_MODE == "gateway"
    if model.gateway_endpoint == AIModel.Endpoint.SORA_CHAT if uses_gateway else model.provider == "sora":
        return ("sora",)
    own = (model.provider,) if model.provider in ("gemini", "openai") else ()
    return (*own, GATEWAY) if uses_gateway else own


def names_of(model: AIModel) -> list[str]:
    """Return what a model is called where it is asked for: by its variants, where it has some."""
    return sorted(variant_names(model.options)) or [model.model_id]


def sold_by(service: str) -> Sold:
    """Return the models that are on and for which this service is asked."""
    rows = AIModel.objects.filter(is_active=True, type__in=_MADE)
    return {name: row for row in rows if service in services_of(row) for name in names_of(row)}


def known_names() -> set[str]:
    """Return every name of every model in the catalog, on or off."""
    return {name for row in AIModel.objects.all() for name in (row.model_id, *names_of(row))}


def keep(service: str, listed: Listed) -> None:
    """Remember a service's list. An empty one proves nothing, and is not kept."""
    if listed:
        ProviderList.objects.update_or_create(service=service, defaults={"names": dict(listed), "listed_at": timezone.now()})


def ends_sooner(model: AIModel, name: str, listed: Listed) -> str:
    """Return the day on which the service ends the model, where the catalog does not know it, or has a later one."""
    day = listed.get(name, "")
    return day if day and (model.retires_at is None or day < model.retires_at.isoformat()) else ""


def warnings(models: Iterable[AIModel], now: datetime) -> list[str]:
    """Return what customers of these models will meet, or meet already: one sentence for each thing."""
    kept = ProviderList.objects.filter(listed_at__gte=now - timedelta(days=LIST_DAYS))
    lists: dict[str, Listed] = {row.service: row.names for row in kept}
    rows = list(models)
    found = []
    for model in rows:
        if model.is_active and model.type in _MADE:
            whys = [*_unlisted(model, lists), *_ending(model, rows, now), *_unserved(model)]
            found += [f"{model.model_id} ({model.provider}): {why}" for why in whys]
    return found


def _unlisted(model: AIModel, lists: Mapping[str, Listed]) -> Iterator[str]:
    for service in services_of(model):
        listed = lists.get(service)
        if not listed:
            continue
        if gone := [name for name in names_of(model) if name not in listed]:
            yield _("%(service)s does not list %(models)s.") % {"service": service, "models": some(gone)}
        for name in names_of(model):
            if day := ends_sooner(model, name, listed):
                yield _("%(service)s ends %(model)s on %(day)s.") % {"service": service, "model": name, "day": day}


def _ending(model: AIModel, models: list[AIModel], now: datetime) -> Iterator[str]:
    replacement = next((row for row in models if (row.model_id, row.type) == (model.replaced_by, model.type)), None)
    if model.replaced_by and (replacement is None or not replacement.is_on(now)):
        yield _("Its replacement %(model)s is not for sale.") % {"model": model.replaced_by}
    elif model.serve_replacement:
        return
    if model.retires_at is None or model.retires_at > last_warned_day(now):
        return
    day = {"day": model.retires_at.isoformat()}
    if model.is_retired(now):
        yield _("It ended on %(day)s: requests for it are rejected.") % day
    else:
        yield _("It ends on %(day)s.") % day


def _unserved(model: AIModel) -> Iterator[str]:
    if settings.AI_SERVICE_MODE != "gateway" and model.provider not in DIRECT:
        yield _("Only a gateway reaches %(provider)s, and AI_SERVICE_MODE is not gateway: requests for it are rejected.") % {
            "provider": model.provider
        }


def some(names: Iterable[str]) -> str:
    """Return the first names, and how many more there are."""
    ordered = sorted(names)
    more = len(ordered) - MAX_NAMED
    return ", ".join(ordered[:MAX_NAMED]) + (_(" and %(count)s more") % {"count": more} if more > 0 else "")
