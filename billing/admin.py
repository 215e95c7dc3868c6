"""The books in the admin: windows only. Credits move by the pages of `billing.admin_money`."""

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import display

from billing import (
    admin_money,
    admin_prices,  # noqa: F401  (registers the pages of prices)
    admin_statement,
    admin_tenant,  # noqa: F401  (adds its tabs to a tenant's page)
    admin_watch,  # noqa: F401  (registers the pages of what watches the books)
)
from billing.models import Account, Charge, Hold, LedgerEntry, Refund
from tenants.selectors import owners_named
from waule.admin_kit import (
    HistoryAdmin,
    PageButton,
    SinceFilter,
    badge,
    flat,
    link,
    mode_badge,
    short_json,
    signed_number,
    spaced_number,
)

KIND_COLOURS = {
    "RECHARGE": "success",
    "GIFT": "success",
    "REDEEM": "success",
    "REFUND": "info",
    "ADMIN": "warning",
    "EXPIRE": "danger",
}
CHARGE_STATES = {
    "charged": (_("Charged"), "success"),
    "partially_refunded": (_("Partly refunded"), "warning"),
    "refunded": (_("Refunded"), "info"),
}
HOLD_COLOURS = {"held": "warning", "captured": "success", "released": "info", "expired": "danger"}
OWNER = ("account__tenant", "account__user")


def accounts_of_owners(term: str) -> list[int]:
    """Accounts of tenants and users whose name begins with `term`."""
    tenants, users = owners_named(term)
    return list(Account.objects.filter(Q(tenant__in=tenants) | Q(user__in=users)).values_list("id", flat=True))


class BookAdmin(HistoryAdmin):
    """A list of things that happened to accounts."""

    list_select_related: ClassVar[Any] = OWNER
    search_help_text = _("Tenant, user or id")

    def search_conditions(self, term: str) -> list[Q]:
        return [*super().search_conditions(term), Q(account__in=accounts_of_owners(term))]

    @display(description=_("Account"))
    def account_link(self, row: Any) -> Any:
        return link(row.account)


@admin.register(Account)
class AccountAdmin(HistoryAdmin):
    list_display = ("owner", "mode_badge", "shown_spendable", "shown_balance", "shown_held", "last_seq", "last_entry_at")
    list_display_links = ("owner",)
    list_filter = ("mode",)
    list_select_related = ("tenant", "user")
    exact_search = ("id", "tenant__id", "user__id")
    search_help_text = _("Tenant, user or id")
    fields = ("owner", "mode_badge", "shown_spendable", "shown_balance", "shown_held", "last_seq", "last_entry_at")
    readonly_fields = fields

    def search_conditions(self, term: str) -> list[Q]:
        return [*super().search_conditions(term), Q(id__in=accounts_of_owners(term))]

    def get_urls(self) -> list[URLPattern]:
        guarded = self.admin_site.admin_view
        return [
            path("<int:account_id>/grant/", guarded(admin_money.grant_view), name="billing_grant"),
            path("<int:account_id>/statement/", guarded(admin_statement.statement_view), name="billing_statement"),
            path("<int:account_id>/adjust/", guarded(admin_money.adjust_view), name="billing_adjust"),
            *super().get_urls(),
        ]

    def page_buttons(self, request: HttpRequest, row: Account) -> list[PageButton]:
        entries = f"{reverse('admin:billing_ledgerentry_changelist')}?account__id__exact={row.pk}"
        buttons = [
            PageButton(_("Ledger"), entries, "receipt_long"),
            PageButton(_("Statement"), reverse("admin:billing_statement", args=[row.pk]), "summarize"),
        ]
        if request.user.has_perm("billing.grant_credits"):
            buttons.append(PageButton(_("Grant"), reverse("admin:billing_grant", args=[row.pk]), "add_card"))
        if request.user.has_perm("billing.adjust_credits"):
            buttons.append(PageButton(_("Adjust"), reverse("admin:billing_adjust", args=[row.pk]), "tune"))
        return buttons

    @display(description=_("Owner"))
    def owner(self, account: Account) -> str:
        return str(account.tenant or account.user)

    @display(description=_("Mode"))
    def mode_badge(self, account: Account) -> Any:
        return mode_badge(account.mode)

    @display(description=_("Can be spent"))
    def shown_spendable(self, account: Account) -> str:
        return spaced_number(account.spendable)

    @display(description=_("Balance"))
    def shown_balance(self, account: Account) -> str:
        return spaced_number(account.balance)

    @display(description=_("Held"))
    def shown_held(self, account: Account) -> str:
        return spaced_number(account.held)


@admin.register(LedgerEntry)
class LedgerEntryAdmin(BookAdmin):
    list_display = ("created_at", "account_link", "seq", "kind_badge", "shown_amount", "shown_balance", "description", "actor")
    list_display_links = ("created_at",)
    list_filter = (("account", AutocompleteSelectFilter), "kind")
    exact_search = ("pk", "charge__id")
    search_help_text = _("Tenant, user, entry's or charge's id")
    fields = (
        ("account_link", "seq", "created_at"),
        ("kind_badge", "shown_amount", "shown_balance"),
        "charge_link",
        "description",
        "actor",
        "hash",
    )
    readonly_fields = (
        "account_link",
        "seq",
        "created_at",
        "kind_badge",
        "shown_amount",
        "shown_balance",
        "charge_link",
        *fields[3:],
    )

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        # Within one account the numbers are the order, and their index finds the page.
        return ("-seq",) if "account__id__exact" in request.GET else ("-pk",)

    @display(description=_("Kind"))
    def kind_badge(self, entry: LedgerEntry) -> Any:
        return badge(entry.get_kind_display(), KIND_COLOURS.get(entry.kind, ""))

    @display(description=_("Amount"))
    def shown_amount(self, entry: LedgerEntry) -> Any:
        return signed_number(entry.amount)

    @display(description=_("Balance after"))
    def shown_balance(self, entry: LedgerEntry) -> str:
        return spaced_number(entry.balance)

    @display(description=_("Charge"))
    def charge_link(self, entry: LedgerEntry) -> Any:
        return link(entry.charge)


class UseAdmin(BookAdmin):
    """What charges and holds have in common."""

    list_select_related: ClassVar[Any] = (*OWNER, "model")

    @display(description=_("Credits"))
    def shown_credits(self, use: Any) -> str:
        return spaced_number(use.credits)

    @display(description=_("Model"))
    def model_link(self, use: Any) -> Any:
        return link(use.model) if use.model_id else str(use.use.get("nodeType") or use.use.get("moduleType") or "–")

    @display(description=_("Use"))
    def shown_use(self, use: Any) -> Any:
        return short_json(use.use)

    @display(description=_("Price"))
    def shown_price(self, use: Any) -> Any:
        return short_json(use.snapshot)

    @display(description=_("Metadata"))
    def shown_metadata(self, use: Any) -> Any:
        return short_json(use.metadata)


class RefundedFilter(admin.SimpleListFilter):
    title = _("money")
    parameter_name = "money"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("refunded", _("Refunded")), ("shortfall", _("With a shortfall"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        if self.value() == "refunded":
            return queryset.filter(refunded__gt=0)
        return queryset.filter(shortfall__gt=0) if self.value() == "shortfall" else queryset


@admin.register(Charge)
class ChargeAdmin(UseAdmin):
    list_display = ("created_at", "account_link", "model_link", "operation", "quantity", "shown_credits", "state_badge")
    list_display_links = ("created_at",)
    list_filter = (SinceFilter, ("account", AutocompleteSelectFilter), ("model", AutocompleteSelectFilter), RefundedFilter)
    exact_search = ("id", "hold__id")
    fields = (
        ("account_link", "state_badge", "created_at"),
        ("shown_credits", "shown_refunded", "shortfall"),
        ("model_link", "operation", "quantity", "is_free"),
        ("hold_link", "generation_link", "actor"),
        "shown_use",
        "shown_price",
        "shown_metadata",
    )
    readonly_fields = flat(fields)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(admin_money.refund_view)
        return [path("<uuid:charge_id>/refund/", view, name="billing_refund"), *super().get_urls()]

    def page_buttons(self, request: HttpRequest, row: Charge) -> list[PageButton]:
        if row.refunded == row.credits or not request.user.has_perm("billing.refund_charge"):
            return []
        return [PageButton(_("Refund"), reverse("admin:billing_refund", args=[row.pk]), "undo")]

    @display(description=_("State"))
    def state_badge(self, charge: Charge) -> Any:
        if charge.is_free and charge.state == "charged":
            return badge(_("Free"), "primary")
        return badge(*CHARGE_STATES[charge.state])

    @display(description=_("Refunded"))
    def shown_refunded(self, charge: Charge) -> str:
        return spaced_number(charge.refunded)

    @display(description=_("Hold"))
    def hold_link(self, charge: Charge) -> Any:
        return link(charge.hold)

    @display(description=_("Generation"))
    def generation_link(self, charge: Charge) -> Any:
        return link(getattr(charge, "generation", None))


@admin.register(Hold)
class HoldAdmin(UseAdmin):
    list_display = ("created_at", "account_link", "model_link", "shown_credits", "state_badge", "expires_at", "generation_link")
    list_display_links = ("created_at",)
    list_filter = (SinceFilter, ("account", AutocompleteSelectFilter), "state")
    list_select_related = (*OWNER, "model", "generation")
    exact_search = ("id",)
    fields = (
        ("account_link", "state_badge", "created_at"),
        ("shown_credits", "expires_at", "is_pinned", "is_unknown"),
        ("model_link", "operation", "quantity", "is_free"),
        ("generation_link", "actor"),
        "shown_use",
        "shown_price",
        "shown_metadata",
    )
    readonly_fields = flat(fields)

    @display(description=_("State"))
    def state_badge(self, hold: Hold) -> Any:
        return badge(hold.get_state_display(), HOLD_COLOURS[hold.state])

    @display(description=_("Generation"))
    def generation_link(self, hold: Hold) -> Any:
        return link(getattr(hold, "generation", None))


@admin.register(Refund)
class RefundAdmin(BookAdmin):
    list_display = ("created_at", "account_link", "shown_credits", "charge_link", "reason", "actor")
    list_display_links = ("created_at",)
    list_filter = (SinceFilter,)
    list_select_related = (*OWNER, "charge")
    exact_search = ("id", "charge__id")
    fields = (("account_link", "created_at"), ("shown_credits", "total_after", "is_full"), "charge_link", "reason", "actor")
    readonly_fields = flat(fields)

    @display(description=_("Credits"))
    def shown_credits(self, refund: Refund) -> str:
        return spaced_number(refund.credits)

    @display(description=_("Charge"))
    def charge_link(self, refund: Refund) -> Any:
        return link(refund.charge)
