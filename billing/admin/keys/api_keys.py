"""API keys in the admin: the list, and a key's page with what it may do. The forms are pages of their own."""

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from billing.admin.keys import forms
from billing.admin.keys.forms import models_in_words
from billing.services.api_keys import budgets_of_keys
from tenants.models import ApiKey, Scope
from waule.core.admin import HistoryAdmin, PageButton, RelatedFilter, badge_of_bool, link, mode_badge, spaced_number


class ValidityFilter(admin.SimpleListFilter):
    title = _("state")
    parameter_name = "validity"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("valid", _("Valid")), ("over", _("Revoked or expired"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        now = timezone.now()
        over = Q(revoked_at__lte=now) | Q(expires_at__lte=now)
        if self.value() == "valid":
            return queryset.exclude(over)
        return queryset.filter(over) if self.value() == "over" else queryset


@admin.register(ApiKey)
class ApiKeyAdmin(HistoryAdmin):
    list_display = ("masked", "name", "tenant_link", "mode_badge", "state", "last_used_at", "created_at")
    list_display_links = ("masked",)
    list_filter = (("tenant", RelatedFilter), "mode", ValidityFilter, ("webhook_url", admin.EmptyFieldListFilter))
    list_select_related = ("tenant",)
    exact_search = ("id", "tenant__id", "name", "masked")
    search_help_text = _("Name, mask, id or tenant's id")
    fields = (
        *("masked", "name", "tenant_link", "mode_badge", "state"),
        *("shown_scopes", "shown_models", "shown_budgets"),
        *("created_at", "expires_at", "revoked_at", "last_used_at", "webhook_url"),
    )
    readonly_fields = fields

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("tenants.add_apikey")

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        return forms.add_view(request)  # not the usual form: it would open a transaction and redirect away from the key

    def get_urls(self) -> list[URLPattern]:
        guarded = self.admin_site.admin_view
        return [
            path("<uuid:key_id>/revoke/", guarded(forms.revoke_view), name="tenants_apikey_revoke"),
            path("<uuid:key_id>/limits/", guarded(forms.change_view), name="tenants_apikey_limits"),
            path("<uuid:key_id>/rotate/", guarded(forms.rotate_view), name="tenants_apikey_rotate"),
            *super().get_urls(),
        ]

    def page_buttons(self, request: HttpRequest, row: ApiKey) -> list[PageButton]:
        if not row.is_valid(timezone.now()) or not request.user.has_perm("tenants.change_apikey"):
            return []
        buttons = [
            PageButton(_("Change"), reverse("admin:tenants_apikey_limits", args=[row.pk]), "tune"),
            PageButton(_("Webhook"), reverse("admin:tenants_apikey_webhook", args=[row.pk]), "webhook"),
            PageButton(_("Revoke"), reverse("admin:tenants_apikey_revoke", args=[row.pk]), "block"),
        ]
        if self.has_add_permission(request):
            buttons.insert(0, PageButton(_("Replace"), reverse("admin:tenants_apikey_rotate", args=[row.pk]), "autorenew"))
        return buttons

    @display(description=_("Tenant"))
    def tenant_link(self, key: ApiKey) -> Any:
        return link(key.tenant)

    @display(description=_("Mode"))
    def mode_badge(self, key: ApiKey) -> Any:
        return mode_badge(key.mode)

    @display(description=_("Scopes"))
    def shown_scopes(self, key: ApiKey) -> str:
        return ", ".join(str(Scope(scope).label) for scope in key.scopes)

    @display(description=_("Models"))
    def shown_models(self, key: ApiKey) -> Any:
        return ", ".join(models_in_words(key)) or _("all of the tenant's")

    @display(description=_("Budgets"))
    def shown_budgets(self, key: ApiKey) -> str:
        budgets = budgets_of_keys([key])[key.id]
        return ", ".join(f"{each.get_period_display()}: {spaced_number(each.limit_credits)}" for each in budgets) or "–"

    @display(description=_("State"))
    def state(self, key: ApiKey) -> Any:
        now = timezone.now()
        if key.revoked_at is not None and key.revoked_at > now:
            return badge_of_bool(True, _("Valid until revoked"), "")
        over = _("Revoked") if key.revoked_at else _("Expired")
        return badge_of_bool(key.is_valid(now), _("Valid"), over)
