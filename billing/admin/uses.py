"""Charges, holds and refunds in the admin."""

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from billing.admin import acts
from billing.admin.ledger import OWNER, BookAdmin
from billing.admin.money import forms as admin_money
from billing.admin.words import charge_in_words, description_in_words, operation_in_words
from billing.ledger.models import Charge, Hold, Refund
from billing.services.stuck_holds import rejection
from waule.core.admin import DayRangeFilter, PageButton, RelatedFilter, SinceFilter, badge, flat, link, short_json, spaced_number

CHARGE_STATES = {
    "charged": (_("Charged"), "success"),
    "partially_refunded": (_("Partly refunded"), "warning"),
    "refunded": (_("Refunded"), "info"),
}
HOLD_COLOURS = {"held": "warning", "captured": "success", "released": "info", "expired": "danger"}


class UseAdmin(BookAdmin):
    """What charges and holds have in common."""

    list_select_related: ClassVar[Any] = (*OWNER, "model")

    @display(description=_("Credits"))
    def shown_credits(self, use: Any) -> str:
        return spaced_number(use.credits)

    @display(description=_("Model"))
    def model_link(self, use: Any) -> Any:
        return link(use.model) if use.model_id else str(use.use.get("nodeType") or use.use.get("moduleType") or "–")

    @display(description=_("Operation"))
    def shown_operation(self, use: Any) -> str:
        return operation_in_words(use.operation)

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
    list_display = ("created_at", "account_link", "model_link", "shown_operation", "quantity", "shown_credits", "state_badge")
    list_display_links = ("created_at",)
    list_filter = (
        SinceFilter,
        ("created_at", DayRangeFilter),
        ("account", RelatedFilter),
        ("model", RelatedFilter),
        RefundedFilter,
    )
    exact_search = ("id", "hold__id")
    fields = (
        ("account_link", "state_badge", "created_at"),
        ("shown_credits", "shown_refunded", "shortfall"),
        ("model_link", "shown_operation", "quantity", "is_free"),
        ("hold_link", "generation_link", "shown_actor"),
        "shown_use",
        "shown_price",
        "shown_metadata",
    )
    readonly_fields = flat(fields)

    def heading(self, row: Charge) -> str:
        return charge_in_words(row)

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
    list_filter = (SinceFilter, ("created_at", DayRangeFilter), ("account", RelatedFilter), "state")
    list_select_related = (*OWNER, "model", "generation")
    exact_search = ("id",)
    fields = (
        ("account_link", "state_badge", "created_at"),
        ("shown_credits", "expires_at", "is_pinned", "is_unknown"),
        ("model_link", "shown_operation", "quantity", "is_free"),
        ("generation_link", "shown_actor"),
        "shown_use",
        "shown_price",
        "shown_metadata",
    )
    readonly_fields = flat(fields)

    def get_urls(self) -> list[URLPattern]:
        guarded = self.admin_site.admin_view
        return [path("<uuid:hold_id>/release/", guarded(acts.release_hold_view), name="billing_release"), *super().get_urls()]

    def page_buttons(self, request: HttpRequest, row: Hold) -> list[PageButton]:
        if rejection(row) is not None or not request.user.has_perm("billing.adjust_credits"):
            return []
        return [PageButton(_("Release"), reverse("admin:billing_release", args=[row.pk]), "undo")]

    @display(description=_("State"))
    def state_badge(self, hold: Hold) -> Any:
        return badge(hold.get_state_display(), HOLD_COLOURS[hold.state])

    @display(description=_("Generation"))
    def generation_link(self, hold: Hold) -> Any:
        return link(getattr(hold, "generation", None))


@admin.register(Refund)
class RefundAdmin(BookAdmin):
    list_display = ("created_at", "account_link", "shown_credits", "charge_link", "shown_reason", "shown_actor")
    list_display_links = ("created_at",)
    list_filter = (SinceFilter, ("created_at", DayRangeFilter))
    list_select_related = (*OWNER, "charge")
    exact_search = ("id", "charge__id")
    fields = (
        ("account_link", "created_at"),
        ("shown_credits", "shown_total", "shown_full"),
        "charge_link",
        "shown_reason",
        "shown_actor",
    )
    readonly_fields = flat(fields)

    @display(description=_("Credits"))
    def shown_credits(self, refund: Refund) -> str:
        return spaced_number(refund.credits)

    @display(description=_("Refunded in total"))
    def shown_total(self, refund: Refund) -> str:
        return spaced_number(refund.total_after)

    @display(description=_("Charge refunded in full"))
    def shown_full(self, refund: Refund) -> str:
        """Return whether nothing of the charge was left; the column of that name says only how the request was worded."""
        return str(_("Yes") if refund.total_after >= refund.charge.credits else _("No"))

    @display(description=_("Reason"))
    def shown_reason(self, refund: Refund) -> str:
        return description_in_words(refund.reason)

    @display(description=_("Charge"))
    def charge_link(self, refund: Refund) -> Any:
        return link(refund.charge, charge_in_words(refund.charge))
