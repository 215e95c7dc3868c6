"""The console's site: the admin's look, for members of a tenant."""

from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.forms import AuthenticationForm as PlainAuthenticationForm
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _
from unfold.forms import AuthenticationForm
from unfold.sites import UnfoldAdminSite

from tenants.login import second_factor
from tenants.models import TenantMember
from waule.console import integration_pages, pages
from waule.console.home import home
from waule.console.tenant import View, membership_of


class MemberAuthenticationForm(AuthenticationForm):
    """Lets members of a tenant in; being staff is another matter."""

    # One text for all that is wrong: it tells nobody which names there are.
    error_messages = AuthenticationForm.error_messages | {
        "invalid_login": _("This name and password are not those of a tenant's member. Both are case-sensitive.")
    }

    def confirm_login_allowed(self, user: Any) -> None:
        PlainAuthenticationForm.confirm_login_allowed(self, user)
        if not TenantMember.objects.filter(user=user, tenant__is_active=True).exists():
            raise ValidationError(self.error_messages["invalid_login"], code="invalid_login")


class ConsoleSite(UnfoldAdminSite):
    """A site of its own. No Django permission counts here: the role at the tenant does."""

    settings_name = "UNFOLD_CONSOLE"
    index_title = _("Home")
    empty_value_display = "–"
    login_form = MemberAuthenticationForm
    index_template = "console/index.html"

    def has_permission(self, request: HttpRequest) -> bool:
        return membership_of(request) is not None

    def extra_urls(self) -> list[URLPattern]:
        from waule.site import login

        return [
            *pages.urls(self),
            *integration_pages.urls(self),
            path("second-factor/", self.door(login.ask_code), name="second_factor"),
            path("second-factor/setup/", self.door(login.set_up), name="second_factor_setup"),
            path("confirm-password/", self.admin_view(login.confirm_password), name="confirm_password"),
        ]

    def door(self, view: View) -> View:
        """Return a page for who has given the password, whether or not a second factor is still missing."""
        return super().admin_view(view)

    def admin_view(self, view: View, cacheable: bool = False) -> View:
        """Every page asks for the second factor of those who have one."""
        guarded = super().admin_view(view, cacheable)

        @wraps(guarded)
        def inner(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            is_logout = request.resolver_match is not None and request.resolver_match.url_name == "logout"
            is_asked = self.has_permission(request) and not is_logout and not second_factor.is_passed(request)
            if is_asked and second_factor.devices_of(request):
                return redirect(f"{reverse('console:second_factor')}?{urlencode({'next': request.get_full_path()})}")
            return guarded(request, *args, **kwargs)

        return inner

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        context = super().each_context(request)
        found = membership_of(request)
        return context | {"membership": found, "site_subheader": found.tenant.name if found else context["site_subheader"]}

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        return []  # the navigation is the theme's

    def app_index(self, request: HttpRequest, app_label: str, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return redirect("console:index")  # what the lists' breadcrumbs name first

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().index(request, {**home(request), **(extra_context or {})})


console_site = ConsoleSite(name="console")
