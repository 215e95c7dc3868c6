"""Whether the providers of a catalog's models can be asked for what is sold."""

from django.conf import settings

from billing.catalog.current import load_catalog
from billing.catalog.file.document import Document
from billing.catalog.file.fields import reject
from billing.catalog.models import AIModel
from billing.catalog.pricing import Rule
from billing.catalog.pricing.interfaces import DIRECT, GATEWAY, interface_of
from billing.catalog.pricing.size_problems import SizeProblem, size_problems
from billing.errors import PriceNotConfigured

_MADE = (AIModel.Type.IMAGE_GENERATION, AIModel.Type.VIDEO_GENERATION, AIModel.Type.VIDEO_EDITING)


def check_sizes(document: Document) -> tuple[str, ...]:
    """Return the problems of the models that `document` lists or prices, as they stand in the tables now.

    Raises:
        InvalidRequest: one that can never be sold as it stands, in whatever AI_SERVICE_MODE.
    """
    listed = {entry.key: f"models[{number}].options" for number, entry in enumerate(document.models)}
    priced = {entry.scope.model_id: f"rules[{number}].prices" for number, entry in enumerate(document.rules)}
    catalog = load_catalog()
    found = []
    for model in AIModel.objects.filter(is_active=True, type__in=_MADE).order_by("model_id", "provider"):
        path = listed.get((model.provider, model.model_id, model.type), priced.get(model.model_id))
        if path is None:
            continue
        try:
            rule = catalog.rule_for(model=catalog.models[model.id], node_type="", module_type="")
        except PriceNotConfigured:
            continue
        by_route = {route: _problems(model, rule, route) for route in _routes(model)}
        fatal = [next((each for each in problems if each.is_fatal), None) for problems in by_route.values()]
        if fatal[0] is not None and all(fatal):
            raise reject(f"{path}.{fatal[0].option}" if path.startswith("models") else path, fatal[0].why)
        first = next(iter(by_route.values()))
        found += [f"{model.model_id} ({model.provider}): {problem.option}: {problem.why}" for problem in first]
    return tuple(found)


def _routes(model: AIModel) -> list[str]:
    """Return who may be asked for the model: first who is asked in this AI_SERVICE_MODE, then who would be in the other."""
    if settings.AI_SERVICE_MODE == "gateway":
        return [GATEWAY, *({model.provider} & DIRECT)]
    return [model.provider, GATEWAY]


def _problems(model: AIModel, rule: Rule | None, route: str) -> list[SizeProblem]:
    is_video = model.type != AIModel.Type.IMAGE_GENERATION
    interface = interface_of(route, is_video=is_video, gateway_endpoint=model.gateway_endpoint, options=model.options)
    return size_problems(rule=rule, options=model.options, interface=interface, is_video=is_video)
