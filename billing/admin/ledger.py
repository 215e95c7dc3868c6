"""The ledger in the admin: windows only. Credits move by the pages of `billing.admin.money.forms`."""

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from billing.admin import statement as admin_statement
from billing.admin.money import forms as admin_money
from billing.admin.words import charge_in_words, description_in_words
from billing.ledger.models import Account, LedgerEntry
from billing.ledger.selectors import entries_of_charge
from tenants.admin.words import actor_in_words
from tenants.selectors import owners_named
from waule.core.admin import (
    DayRangeFilter,
    HistoryAdmin,
    PageButton,
    RelatedFilter,
    badge,
    link,
    mode_badge,
    signed_number,
    spaced_number,
)
from waule.core.ids import parse_uuid

KIND_COLOURS = {
    "RECHARGE": "success",
    "GIFT": "success",
    "REDEEM": "success",
    "REFUND": "info",
    "ADMIN": "warning",
    "EXPIRE": "danger",
}
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

    @display(description=_("Who"))
    def shown_actor(self, row: Any) -> str:
        return actor_in_words(row.actor)


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
    counted = _("ledger entries")
    list_display = (
        "created_at",
        "account_link",
        "seq",
        "kind_badge",
        "shown_amount",
        "shown_balance",
        "shown_description",
        "shown_actor",
    )
    list_display_links = ("created_at",)
    list_filter = (("created_at", DayRangeFilter), ("account", RelatedFilter), "kind")
    exact_search = ("pk",)
    search_help_text = _("Tenant, user, entry's or charge's id")
    fields = (
        ("account_link", "seq", "created_at"),
        ("kind_badge", "shown_amount", "shown_balance"),
        "charge_link",
        "shown_description",
        "shown_actor",
        "shown_hash",
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

    def search_conditions(self, term: str) -> list[Q]:
        return [*super().search_conditions(term), entries_of_charge(parse_uuid(term.lower()))]

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
        return link(entry.charge, charge_in_words(entry.charge))

    @display(description=_("Hash"))
    def shown_hash(self, entry: LedgerEntry) -> str:
        return entry.hash

    @display(description=_("Description"))
    def shown_description(self, entry: LedgerEntry) -> str:
        return description_in_words(entry.description)
