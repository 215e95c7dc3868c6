"""What a tenant's people look through: generations, keys, the ledger, deliveries of webhooks."""

from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from aiservices.admin.generations import STATE_COLOURS, GenerationAdmin, urls_of
from aiservices.generations.models import Generation
from billing.admin.ledger import KIND_COLOURS
from billing.ledger.models import Account, LedgerEntry
from billing.ledger.selectors import entries_of_charge
from tenants.admin.webhooks import AttemptInline, OutboxMessageAdmin
from tenants.admin.words import code_in_words
from tenants.models import ApiKey, Scope, Tenant, TenantMember
from tenants.webhooks.models import OutboxMessage
from waule.console import key_pages, member_pages
from waule.console.base import ConsoleAdmin
from waule.console.site import console_site
from waule.console.tenant import Right, may, membership_of
from waule.core.admin import (
    PageButton,
    SinceFilter,
    badge,
    badge_of_bool,
    local_url,
    mode_badge,
    short_json,
    signed_number,
    spaced_number,
    thumbnail,
)
from waule.core.ids import parse_uuid


@admin.register(Generation, site=console_site)
class GenerationConsole(ConsoleAdmin):
    list_display = ("picture", "shown_prompt", "model_name", "state_badge", "mode_badge", "shown_credits", "created_at")
    list_display_links = ("picture", "shown_prompt")
    list_filter = (SinceFilter, "type", ("state", ChoicesDropdownFilter), "mode")
    list_select_related = ("model",)
    exact_search = ("id",)
    search_help_text = _("Id of a generation")
    fieldsets = (
        (None, {"fields": ("results",)}),
        (
            _("Request"),
            {"fields": ("prompt", ("model_name", "type", "shown_id"), ("api_key_name", "mode_badge"), "shown_parameters")},
        ),
        (
            pgettext_lazy("of a generation", "Outcome"),
            {
                "fields": (
                    ("state_badge", "shown_progress", "shown_credits"),
                    ("shown_error", "shown_error_message"),
                    ("created_at", "started_at", "completed_at"),
                )
            },
        ),
    )
    readonly_fields = (
        *("results", "prompt", "model_name", "type", "shown_id", "api_key_name", "mode_badge", "shown_parameters"),
        *("state_badge", "shown_progress", "shown_credits", "shown_error", "shown_error_message"),
        *("created_at", "started_at", "completed_at"),
    )
    # As the operators read them.
    shown_id, shown_progress = GenerationAdmin.shown_id, GenerationAdmin.shown_progress
    shown_error, shown_error_message = GenerationAdmin.shown_error, GenerationAdmin.shown_error_message

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).filter(deleted_at__isnull=True).exclude(state=Generation.State.NEW)

    @display(description="")
    def picture(self, generation: Generation) -> Any:
        return thumbnail(next(iter(urls_of(generation)), ""), is_video=generation.type == Generation.Type.VIDEO)

    @display(description=_("Prompt"))
    def shown_prompt(self, generation: Generation) -> Any:
        return format_html('<span class="waule-prompt" title="{0}">{0}</span>', generation.prompt[:300])

    @display(description=_("Model"))
    def model_name(self, generation: Generation) -> str:
        return str(generation.model)

    @display(description=_("API key"))
    def api_key_name(self, generation: Generation) -> str:
        return f"{generation.api_key.name} {generation.api_key.masked}".strip() if generation.api_key else "–"

    @display(description=_("State"))
    def state_badge(self, generation: Generation) -> Any:
        return badge(generation.get_state_display(), STATE_COLOURS[generation.state])

    @display(description=_("Mode"))
    def mode_badge(self, generation: Generation) -> Any:
        return mode_badge(generation.mode)

    @display(description=_("Credits"))
    def shown_credits(self, generation: Generation) -> str:
        return spaced_number(generation.credits_charged)

    @display(description=pgettext_lazy("of a generation", "Result"))
    def results(self, generation: Generation) -> Any:
        shown = [{"address": local_url(url), "url": url} for url in urls_of(generation)]
        is_video = generation.type == Generation.Type.VIDEO
        return render_to_string("admin/generation_results.html", {"results": shown, "is_video": is_video})

    @display(description=_("Parameters"))
    def shown_parameters(self, generation: Generation) -> Any:
        return short_json(generation.parameters)


@admin.register(ApiKey, site=console_site)
class ApiKeyConsole(ConsoleAdmin):
    list_display = ("shown_name", "masked", "mode_badge", "shown_scopes", "state", "last_used_at", "expires_at", "created_at")
    list_display_links = ("shown_name",)
    list_filter = ("mode",)
    exact_search = ("id",)
    fields = (
        ("name", "masked", "mode_badge"),
        ("shown_scopes", "shown_models"),
        ("state", "expires_at", "revoked_at"),
        ("created_at", "last_used_at"),
        "webhook_url",
    )
    readonly_fields = (
        *("name", "masked", "mode_badge", "shown_scopes", "shown_models", "state", "expires_at", "revoked_at"),
        *("created_at", "last_used_at", "webhook_url"),
    )

    def get_urls(self) -> list[URLPattern]:
        guarded = self.admin_site.admin_view
        return [
            path("new/", guarded(key_pages.new_key), name="tenants_apikey_new"),
            path("<uuid:key_id>/revoke/", guarded(key_pages.revoke_key), name="tenants_apikey_revoke"),
            *super().get_urls(),
        ]

    def list_button(self, request: HttpRequest) -> PageButton | None:
        address = reverse("console:tenants_apikey_new")
        return PageButton(_("New API key"), address, "add") if may(request, Right.MANAGE_KEYS) else None

    def page_buttons(self, request: HttpRequest, row: ApiKey) -> list[PageButton]:
        if row.revoked_at is not None or not may(request, Right.MANAGE_KEYS):
            return []
        return [PageButton(_("Revoke"), reverse("console:tenants_apikey_revoke", args=[row.pk]), "block")]

    @display(description=_("Name"))
    def shown_name(self, key: ApiKey) -> str:
        return key.name or "–"

    @display(description=_("Mode"))
    def mode_badge(self, key: ApiKey) -> Any:
        return mode_badge(key.mode)

    @display(description=_("Scopes"))
    def shown_scopes(self, key: ApiKey) -> str:
        return ", ".join(str(Scope(scope).label) for scope in key.scopes)

    @display(description=_("Models"))
    def shown_models(self, key: ApiKey) -> Any:
        return ", ".join(key.allowed_models) or _("all of the tenant's")

    @display(description=_("State"))
    def state(self, key: ApiKey) -> Any:
        return badge_of_bool(key.revoked_at is None, _("Active"), _("Revoked"))


@admin.register(LedgerEntry, site=console_site)
class LedgerConsole(ConsoleAdmin):
    list_display = ("created_at", "mode", "seq", "kind_badge", "shown_amount", "shown_balance", "shown_description")
    list_display_links = ("created_at",)
    list_filter = ("kind",)
    list_select_related = ("account",)
    exact_search = ("pk",)
    search_help_text = _("Entry's or charge's id")
    fields = (
        ("created_at", "mode", "seq"),
        ("kind_badge", "shown_amount", "shown_balance"),
        "charge_id_text",
        "shown_description",
    )
    readonly_fields = (
        *("created_at", "mode", "seq", "kind_badge", "shown_amount", "shown_balance", "charge_id_text", "shown_description"),
    )

    def rows_of(self, tenant: Tenant) -> Q:
        """By the accounts' ids: behind a join the planner cannot see whether a tenant has ten entries or ten million."""
        return Q(account__in=list(Account.objects.filter(tenant=tenant).values_list("id", flat=True)))

    def search_conditions(self, term: str) -> list[Q]:
        return [*super().search_conditions(term), entries_of_charge(parse_uuid(term.lower()))]

    @display(description=_("Mode"))
    def mode(self, entry: LedgerEntry) -> Any:
        return mode_badge(entry.account.mode)

    @display(description=_("Kind"))
    def kind_badge(self, entry: LedgerEntry) -> Any:
        return badge(entry.get_kind_display(), KIND_COLOURS.get(entry.kind, ""))

    @display(description=_("Description"))
    def shown_description(self, entry: LedgerEntry) -> str:
        return code_in_words(entry.description)

    @display(description=_("Amount"))
    def shown_amount(self, entry: LedgerEntry) -> Any:
        return signed_number(entry.amount)

    @display(description=_("Balance after"))
    def shown_balance(self, entry: LedgerEntry) -> str:
        return spaced_number(entry.balance)

    @display(description=_("Charge"))
    def charge_id_text(self, entry: LedgerEntry) -> str:
        return str(entry.charge_id or "–")


class AttemptLines(AttemptInline):
    """The attempts of a message that the reader may see."""

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True


@admin.register(OutboxMessage, site=console_site)
class DeliveryConsole(ConsoleAdmin):
    list_display = ("created_at", "shown_kind", "to", "state_badge", "tries", "shown_next")
    list_select_related = ("member__user",)
    list_display_links = ("created_at",)
    list_filter = ("state",)
    exact_search = ("id",)
    fields = (("created_at", "shown_kind", "to"), ("state_badge", "tries", "shown_next"), "shown_payload")
    readonly_fields = ("created_at", "shown_kind", "to", "state_badge", "tries", "shown_next", "shown_payload")
    inlines = (AttemptLines,)
    # As the operators read them.
    heading, shown_kind, shown_next = OutboxMessageAdmin.heading, OutboxMessageAdmin.shown_kind, OutboxMessageAdmin.shown_next
    state_badge, shown_payload = OutboxMessageAdmin.state_badge, OutboxMessageAdmin.shown_payload

    @display(description=_("To"))
    def to(self, message: OutboxMessage) -> str:
        return str(message.member.user) if message.member else str(_("Webhook"))


@admin.register(TenantMember, site=console_site)
class MemberConsole(ConsoleAdmin):
    is_large = False
    paginator = Paginator
    sortable_by = None
    list_display = ("user", "shown_role", "created_at")
    list_select_related = ("user",)
    ordering = ("created_at",)
    fields = ("user_name", "shown_role", "created_at")
    readonly_fields = ("user_name", "shown_role", "created_at")

    def get_urls(self) -> list[URLPattern]:
        guarded = self.admin_site.admin_view
        return [
            path("new/", guarded(member_pages.new_member), name="tenants_tenantmember_new"),
            path("<uuid:member_id>/role/", guarded(member_pages.change_member), name="tenants_tenantmember_role"),
            path("<uuid:member_id>/remove/", guarded(member_pages.remove_member), name="tenants_tenantmember_remove"),
            *super().get_urls(),
        ]

    def list_button(self, request: HttpRequest) -> PageButton | None:
        address = reverse("console:tenants_tenantmember_new")
        return PageButton(_("Add a member"), address, "person_add") if may(request, Right.MANAGE_MEMBERS) else None

    def page_buttons(self, request: HttpRequest, row: TenantMember) -> list[PageButton]:
        if not may(request, Right.MANAGE_MEMBERS) or (found := membership_of(request)) is None or found.member == row:
            return []
        return [
            PageButton(_("Change the role"), reverse("console:tenants_tenantmember_role", args=[row.pk]), "badge"),
            PageButton(_("Remove"), reverse("console:tenants_tenantmember_remove", args=[row.pk]), "person_remove"),
        ]

    @display(description=_("User"))
    def user_name(self, member: TenantMember) -> str:
        return member.user.get_username()

    @display(description=_("Role"))
    def shown_role(self, member: TenantMember) -> Any:
        return badge(member.get_role_display(), "primary" if member.role == TenantMember.Role.OWNER else "info")
