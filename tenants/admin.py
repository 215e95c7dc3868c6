"""Tenants, users, groups, API keys and the audit log in the admin."""

from typing import Any

from django import forms
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django_otp.plugins.otp_totp.models import TOTPDevice
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from tenants import (
    admin_keys,
    admin_outbox,  # noqa: F401  (registers the pages of webhooks and messages)
    admin_panels,
)
from tenants.admin_audited import AuditedAdmin
from tenants.models import ALL_MODELS, ApiKey, AuditEntry, Mode, Tenant, User
from waule.admin_kit import (
    HistoryAdmin,
    PageButton,
    SeenValuesFilter,
    badge,
    badge_of_bool,
    link,
    mode_badge,
    short_json,
    spaced_number,
)

admin.site.unregister(Group)
admin.site.unregister(TOTPDevice)  # its page would show the secret behind the codes


class TenantForm(forms.ModelForm):
    """The models are picked from those there are; entries that name none of them are kept."""

    all_models = forms.BooleanField(label=_("All models"), required=False, help_text=_("Those of tomorrow as well."))
    picked_models = forms.MultipleChoiceField(
        label=_("Enabled models"), required=False, widget=UnfoldAdminCheckboxSelectMultipleWidget
    )

    class Meta:
        model = Tenant
        fields = ("name", "is_active", "time_zone", "note")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Looked up by name: who is who comes below the models in the layers.
        rows = apps.get_model("aiservices", "AIModel")._default_manager.values_list("id", "model_id", "name", "provider")
        enabled = set(self.instance.enabled_models)
        self.ids_by_entry: dict[str, str] = {}
        choices, picked = [], []
        for key, model_id, name, provider in rows:
            choices.append((str(key), f"{name} · {provider} · {model_id}"))
            if enabled & {str(key), model_id}:
                picked.append(str(key))
            self.ids_by_entry |= {str(key): str(key), model_id: str(key)}
        self.fields["picked_models"].choices = choices  # type: ignore[attr-defined]
        if "note" in self.fields:
            self.fields["note"].widget.attrs["rows"] = 3
        else:  # the page of who may only look at it
            self.fields["all_models"].disabled = self.fields["picked_models"].disabled = True
        self.initial.update(picked_models=picked, all_models=ALL_MODELS in enabled)

    def save(self, commit: bool = True) -> Any:
        picked = self.cleaned_data["picked_models"]
        before: list[str] = [entry for entry in self.instance.enabled_models if entry != ALL_MODELS]
        # Entries stay as they were written (a name may mean two models) as long as what they name is still picked.
        kept = [entry for entry in before if self.ids_by_entry.get(entry) in picked or entry not in self.ids_by_entry]
        covered = {self.ids_by_entry.get(entry) for entry in kept}
        chosen = [*kept, *(key for key in picked if key not in covered)]
        self.instance.enabled_models = [ALL_MODELS, *chosen] if self.cleaned_data["all_models"] else chosen
        return super().save(commit)


@admin.register(Tenant)
class TenantAdmin(AuditedAdmin):
    form = TenantForm
    list_display = ("name", "shown_active", "live_balance", "models", "created_at")
    list_filter = ("is_active",)
    search_fields = ("name",)
    search_help_text = _("Name or id")
    fieldsets = ((None, {"fields": ("name", "is_active", "time_zone", "note")}),)
    change_form_outer_before_template = "admin/tenant/panels.html"
    change_form_before_template = "admin/tenant/models.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tenant]:
        return super().get_queryset(request).prefetch_related("accounts")

    def search_conditions(self, term: str) -> list[Q]:
        return [*super().search_conditions(term), Q(name__icontains=term)]

    exact_search = ("id",)

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if (tenant := kwargs.get("obj")) is not None:
            context["panels"] = admin_panels.shown_panels(request, tenant)
        return super().render_change_form(request, context, *args, **kwargs)

    @display(description=_("State"))
    def shown_active(self, tenant: Tenant) -> Any:
        return badge_of_bool(tenant.is_active, _("Active"), _("Switched off"))

    @display(description=_("Credits"))
    def live_balance(self, tenant: Tenant) -> str:
        return spaced_number(next((each.spendable for each in tenant.accounts.all() if each.mode == Mode.LIVE), None))

    @display(description=_("Models"))
    def models(self, tenant: Tenant) -> Any:
        return _("all") if ALL_MODELS in tenant.enabled_models else str(len(tenant.enabled_models))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # the books keep their owner; switch it off instead


@admin.register(User)
class UserAdmin(DjangoUserAdmin, AuditedAdmin):
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "email", "level_badge", "credits", "shown_active", "is_staff", "date_joined")
    list_filter = ("level", "is_active", "is_staff", "groups")
    search_fields = ("username",)
    search_help_text = _("User name, e-mail or id")
    exact_search = ("id", "email")
    ordering = ("-pk",)
    list_select_related = ("account",)
    filter_horizontal = ()
    autocomplete_fields = ("groups",)
    readonly_fields = ("last_login", "date_joined", "second_factor")
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        (_("Level"), {"fields": ("level", "membership_expires_at")}),
        (_("Person"), {"fields": ("first_name", "last_name", "email")}),
        (_("Access"), {"fields": ("is_active", "is_staff", "is_superuser", "groups", "second_factor")}),
        (_("Dates"), {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = ((None, {"fields": ("username", "usable_password", "password1", "password2", "level")}),)

    def search_conditions(self, term: str) -> list[Q]:
        return [*super().search_conditions(term), Q(username__istartswith=term)]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        fields = tuple(super().get_readonly_fields(request, obj))
        # Who is not a superuser cannot make one, nor raise anyone's rights by a group.
        return fields if request.user.is_superuser else (*fields, "is_superuser", "is_staff", "groups")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        above = obj is not None and obj.is_superuser and not request.user.is_superuser
        return not above and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # the books keep their owner; switch it off instead

    @display(description=_("Level"))
    def level_badge(self, user: User) -> Any:
        return badge(user.get_level_display())

    @display(description=_("Credits"))
    def credits(self, user: User) -> str:
        account = getattr(user, "account", None)
        return spaced_number(account.spendable if account else None)

    @display(description=_("State"))
    def shown_active(self, user: User) -> Any:
        return badge_of_bool(user.is_active, _("Active"), _("Switched off"))

    @display(description=_("Second factor"))
    def second_factor(self, user: User) -> Any:
        has_one = TOTPDevice.objects.filter(user=user, confirmed=True).exists()
        return badge_of_bool(has_one, _("Set up"), _("None"))


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, AuditedAdmin):
    is_large = False
    ordering = ("name",)


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
    list_filter = (("tenant", AutocompleteSelectFilter), "mode", ValidityFilter)
    list_select_related = ("tenant",)
    exact_search = ("id", "tenant__id", "name", "masked")
    search_help_text = _("Name, mask, id or tenant's id")
    fields = (
        *("masked", "name", "tenant_link", "mode_badge", "state"),
        *("created_at", "expires_at", "revoked_at", "last_used_at", "webhook_url"),
    )
    readonly_fields = fields

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("tenants.add_apikey")

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        return admin_keys.add_view(request)  # not the usual form: it would open a transaction and redirect away from the key

    def get_urls(self) -> list[URLPattern]:
        guarded = self.admin_site.admin_view
        return [
            path("<uuid:key_id>/revoke/", guarded(admin_keys.revoke_view), name="tenants_apikey_revoke"),
            path("<uuid:key_id>/rotate/", guarded(admin_keys.rotate_view), name="tenants_apikey_rotate"),
            *super().get_urls(),
        ]

    def page_buttons(self, request: HttpRequest, row: ApiKey) -> list[PageButton]:
        if not row.is_valid(timezone.now()) or not request.user.has_perm("tenants.change_apikey"):
            return []
        buttons = [
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

    @display(description=_("State"))
    def state(self, key: ApiKey) -> Any:
        now = timezone.now()
        if key.revoked_at is not None and key.revoked_at > now:
            return badge_of_bool(True, _("Valid until revoked"), "")
        over = _("Revoked") if key.revoked_at else _("Expired")
        return badge_of_bool(key.is_valid(now), _("Valid"), over)


@admin.register(AuditEntry)
class AuditEntryAdmin(HistoryAdmin):
    list_display = ("at", "actor", "action_badge", "target", "reason", "address")
    list_filter = (("action", SeenValuesFilter),)
    exact_search = ("pk", "actor", "target_id", "request_id")
    search_help_text = _("Who, object's id or request's id")
    fields = ("at", "actor", "action", "target", "reason", "address", "request_id", "shown_before", "shown_after")
    readonly_fields = fields

    @display(description=_("What"))
    def action_badge(self, entry: AuditEntry) -> Any:
        return badge(entry.action)

    @display(description=_("Object"))
    def target(self, entry: AuditEntry) -> str:
        return entry.target_name or " ".join(filter(None, (entry.target_type, entry.target_id))) or "–"

    @display(description=_("Before"))
    def shown_before(self, entry: AuditEntry) -> Any:
        return short_json(entry.before)

    @display(description=_("After"))
    def shown_after(self, entry: AuditEntry) -> Any:
        return short_json(entry.after)
