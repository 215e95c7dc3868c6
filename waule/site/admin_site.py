"""The admin site: the top of the house, it sees every app."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext, gettext_lazy
from django.views.i18n import JavaScriptCatalog
from unfold.sites import UnfoldAdminSite

from waule.site.unfold_strings import SCRIPT_TEXTS

View = Callable[..., HttpResponse]


class ScriptTexts(JavaScriptCatalog):
    """Django's texts for its scripts, with those that it has no Chinese for."""

    def get_catalog(self) -> dict[str, Any]:
        return super().get_catalog() | {text: gettext(text) for text in SCRIPT_TEXTS}


class WauleAdminSite(UnfoldAdminSite):
    """Unfold's site; apps register their pages in their own `admin.py`. What it imports comes late: apps load after it."""

    index_title = gettext_lazy("Dashboard")
    empty_value_display = "–"

    def extra_urls(self) -> list[URLPattern]:
        from aiservices.admin import services_page as admin_panel
        from aiservices.admin.key_webhook import webhook_view
        from billing.admin.catalog.dry_run import rehearsal_view
        from billing.admin.catalog.simulator import simulator_view
        from tenants.admin.reveal import reveal_view
        from waule.site import login as admin_login
        from waule.site import overview

        return [
            *admin_panel.urls(self),
            path("tenants/tenant/<uuid:tenant_id>/overview/", self.admin_view(overview.tenant_view), name="tenant_overview"),
            path("tenants/user/<uuid:user_id>/overview/", self.admin_view(overview.user_view), name="user_overview"),
            path("price-simulator/", self.admin_view(simulator_view), name="billing_simulator"),
            path("catalog-rehearsal/", self.admin_view(rehearsal_view), name="aiservices_rehearsal"),
            path("tenants/apikey/<uuid:key_id>/webhook/", self.admin_view(webhook_view), name="tenants_apikey_webhook"),
            path("second-factor/", self.door(admin_login.ask_code), name="second_factor"),
            path("second-factor/setup/", self.door(admin_login.set_up), name="second_factor_setup"),
            path("reveal/<str:app>/<str:model>/<str:row_id>/<str:field>/", self.admin_view(reveal_view), name="reveal"),
            path("confirm-password/", self.admin_view(admin_login.confirm_password), name="confirm_password"),
        ]

    def i18n_javascript(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return ScriptTexts.as_view(packages=["django.contrib.admin"])(request)

    def door(self, view: View) -> View:
        """Return a page for who has given the password, whether or not a second factor is still missing."""
        return super().admin_view(view)

    def admin_view(self, view: View, cacheable: bool = False) -> View:
        """Every page asks for the second factor of those who have one, or must have one."""
        from tenants.login import second_factor

        guarded = super().admin_view(view, cacheable)

        @wraps(guarded)
        def inner(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if self.has_permission(request) and not _is_logout(request) and (page := second_factor.missing_page(request)):
                return redirect(f"{reverse(page)}?{urlencode({'next': request.get_full_path()})}")
            return guarded(request, *args, **kwargs)

        return inner

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> Any:
        """Return what is made when a page shows it: most show the sidebar alone, and redirects and exports neither."""
        return SimpleLazyObject(lambda: super(WauleAdminSite, self).get_app_list(request, app_label))

    def get_sidebar_list(self, request: HttpRequest) -> Any:
        """Return what is made when a page shows it."""
        return SimpleLazyObject(lambda: super(WauleAdminSite, self).get_sidebar_list(request))

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        from tenants import audit
        from waule.core.admin import actor_of

        user: Any = request.user
        response: HttpResponse = super().password_change(request, extra_context)
        if request.method == "POST" and response.status_code == 302:
            audit.record(actor=actor_of(request), action="user.password", target=user, request=request)
        return response

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        from waule.site.dashboard import dashboard

        return super().index(request, {**dashboard(request), **(extra_context or {})})

    def search(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Return the command palette. Unfold's own keeps results for minutes, whatever the reader may see meanwhile."""
        from waule.site.search import search_view

        return search_view(request)


def _is_logout(request: HttpRequest) -> bool:
    return request.resolver_match is not None and request.resolver_match.url_name == "logout"
