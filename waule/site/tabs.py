"""The tabs above lists and pages of the admin. The theme names this module; it is loaded after the apps."""

from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from tenants.admin import tabs as admin_panels

UNKNOWN = {"state__exact": "unknown"}


def _list_tab(title: Any, url_name: str, query: dict[str, str], *, but: dict[str, str]) -> dict[str, Any]:
    """Return a list as it is filtered by `query`; lit while it is shown so, and not as `but` filters it."""
    app, model, _page = url_name.split("_")

    def is_active(request: HttpRequest) -> bool:
        is_here = request.resolver_match is not None and request.resolver_match.url_name == url_name
        shown = [query.items() <= request.GET.dict().items(), bool(but) and but.items() <= request.GET.dict().items()]
        return is_here and shown == [True, False]

    return {
        "title": title,
        "link": lambda request: f"{reverse(f'admin:{url_name}')}?{urlencode(query)}",
        "permission": lambda request: request.user.has_perm(f"{app}.view_{model}"),
        "active": is_active,
    }


def tabs(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the tabs above lists and pages."""
    generations = "aiservices_generation_changelist"
    items = [_list_tab(_("All"), generations, {}, but=UNKNOWN), _list_tab(_("Unknown outcomes"), generations, UNKNOWN, but={})]
    return [{"models": ["aiservices.generation"], "items": items}, *admin_panels.tabs(request)]
