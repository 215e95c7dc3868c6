"""What a tenant's page shows beside its form, a tab each. Apps above this one add what is theirs by the functions `add_…`."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from tenants.models import ApiKey, Tenant

SHOWN_KEYS = 50
PAGE = "tenants_tenant_change"

ModelRow = tuple[UUID, str, str, str]  # id, model id, name, provider


@dataclass(frozen=True)
class TenantPanel:
    """One tab. `context` reads what its template shows; a tab without a template is drawn by the form itself."""

    place: int
    slug: str
    title: Any
    permission: str
    template: str = ""
    context: Callable[[Tenant], dict[str, Any]] = lambda tenant: {}


PANELS: list[TenantPanel] = []
INLINES: list[Any] = []
MODELS: list[Callable[[], Iterable[ModelRow]]] = []


def add_inline(inline: Any) -> None:
    """Rows of another app that are edited with the tenant."""
    INLINES.append(inline)


def add_models(rows: Callable[[], Iterable[ModelRow]]) -> None:
    """The models that a tenant can be given, read when the form is shown."""
    MODELS.append(rows)


def add_panel(panel: TenantPanel) -> None:
    PANELS.append(panel)
    PANELS.sort(key=lambda each: each.place)


def panels_for(request: HttpRequest) -> list[TenantPanel]:
    """Return those that the reader may see."""
    return [panel for panel in PANELS if request.user.has_perm(panel.permission)]


def shown_panels(request: HttpRequest, tenant: Tenant) -> list[dict[str, Any]]:
    """Return each with its template and what that shows."""
    return [
        {"slug": panel.slug, "template": panel.template, "shown": panel.context(tenant)}
        for panel in panels_for(request)
        if panel.template
    ]


def tabs(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the tabs of a tenant's page, for the theme; of no other page."""
    if request.resolver_match is None or request.resolver_match.url_name != PAGE:
        return []
    address = request.path
    general = {"title": _("General"), "link": address, "inline": "general"}
    items = [{"title": panel.title, "link": address, "inline": panel.slug} for panel in panels_for(request)]
    return [{"models": [{"name": "tenants.tenant", "detail": True}], "items": [general, *items]}]


def _keys(tenant: Tenant) -> dict[str, Any]:
    now = timezone.now()
    keys = list(ApiKey.objects.filter(tenant=tenant).order_by("-pk")[: SHOWN_KEYS + 1])
    return {
        "keys": [(key, key.is_valid(now)) for key in keys[:SHOWN_KEYS]],
        "has_more": len(keys) > SHOWN_KEYS,
        "all": f"{reverse('admin:tenants_apikey_changelist')}?tenant__id__exact={tenant.pk}",
    }


add_panel(TenantPanel(20, "keys", _("API keys"), "tenants.view_apikey", "admin/tenant/keys.html", _keys))
add_panel(TenantPanel(30, "models", _("Models"), "tenants.view_tenant"))
