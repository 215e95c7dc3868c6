"""What providers list: which models of the catalog are gone, which end, and what else there is.

A list that is empty, has another page, or another shape proves nothing.
"""

from typing import Any

from django.utils.translation import gettext_lazy as _

from billing.catalog.provider_lists import Listed, Sold, ends_sooner, some

MAX_LISTED = 10_000


def of_gemini(body: Any) -> Listed:
    """Return the names in an answer of `GET /models`."""
    if not isinstance(body, dict) or body.get("nextPageToken"):
        return {}
    return {name.removeprefix("models/"): "" for name in _texts(body.get("models"), "name")}


def of_openai(body: Any) -> Listed:
    """Return the names in an answer of `GET /models` in OpenAI's form, with `shutdown_date` where one is told."""
    data = body.get("data") if isinstance(body, dict) else None
    found = dict.fromkeys(_texts(data, "id"), "")
    for item in data if found and isinstance(data, list) else ():
        if isinstance(item, dict) and item.get("id") in found and isinstance(item.get("shutdown_date"), str):
            found[item["id"]] = item["shutdown_date"][:10]
    return found


def note(sold: Sold, listed: Listed, known: set[str] | None = None) -> str:
    """Return what an operator should know; empty where the catalog sells what the provider lists.

    `known` are the catalog's names, where all that a service lists could be in it.
    """
    if not listed:
        return ""
    parts = []
    if gone := set(sold) - set(listed):
        parts.append(str(_("It does not list these models that are for sale: %(models)s.") % {"models": some(gone)}))
    for name in sorted(set(sold) & set(listed)):
        if day := ends_sooner(sold[name], name, listed):
            parts.append(str(_("It ends %(model)s on %(day)s.") % {"model": name, "day": day}))
    if known is not None and (others := set(listed) - known):
        parts.append(
            str(_("It also lists these models, which the catalog does not have: %(models)s.") % {"models": some(others)})
        )
    return " ".join(parts)


def _texts(items: Any, name: str) -> list[str]:
    found = items[:MAX_LISTED] if isinstance(items, list) else []
    return [item[name] for item in found if isinstance(item, dict) and isinstance(item.get(name), str)]
