"""What watches the books, in the admin: proofs, budgets, thresholds and alerts."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from billing.budgets import standing_of
from billing.models import Account, Alert, AlertThreshold, Budget, ReconcileRun
from tenants.admin_audited import AuditedAdmin
from tenants.models import Mode
from waule.admin_kit import HistoryAdmin, link, short_json, spaced_number


@admin.register(ReconcileRun)
class ReconcileRunAdmin(HistoryAdmin):
    list_display = ("started_at", "finished_at", "ok_badge", "entries", "problem_count")
    list_display_links = ("started_at",)
    list_filter = ("ok",)
    fields = (
        ("started_at", "finished_at", "ok_badge"),
        ("accounts", "entries", "holds", "charges"),
        ("problem_count",),
        "shown_problems",
    )
    readonly_fields = (
        "started_at",
        "finished_at",
        "ok_badge",
        "accounts",
        "entries",
        "holds",
        "charges",
        "problem_count",
        "shown_problems",
    )

    @display(description=_("Result"), label={"right": "success", "differ": "danger"})
    def ok_badge(self, run: ReconcileRun) -> Any:
        return ("right", _("The books are right")) if run.ok else ("differ", _("The books differ"))

    @display(description=_("What differs"))
    def shown_problems(self, run: ReconcileRun) -> Any:
        return short_json(run.problems)


@admin.register(Budget)
class BudgetAdmin(AuditedAdmin):
    list_display = ("tenant", "api_key", "period", "shown_limit", "is_active")
    list_filter = ("period", "is_active")
    list_select_related = ("tenant", "api_key")
    autocomplete_fields = ("tenant", "api_key")
    exact_search = ("tenant__id", "api_key__id")
    fields = (("tenant", "api_key"), ("period", "limit_credits", "is_active"), ("shown_used", "shown_opens"))
    readonly_fields = ("shown_used", "shown_opens")

    def _standing(self, budget: Budget) -> Any:
        if budget._state.adding:
            return None
        mode = budget.api_key.mode if budget.api_key else Mode.LIVE
        account = Account.objects.get(tenant_id=budget.tenant_id, mode=mode)
        return standing_of(budget, account.id, now=timezone.now(), held=account.held)

    @display(description=_("Credits"))
    def shown_limit(self, budget: Budget) -> str:
        return spaced_number(budget.limit_credits)

    @display(description=_("Used"))
    def shown_used(self, budget: Budget) -> str:
        standing = self._standing(budget)
        return f"{standing.used:,} ({standing.percent:.0f} %)" if standing else "–"

    @display(description=_("Next period"))
    def shown_opens(self, budget: Budget) -> str:
        standing = self._standing(budget)
        return standing.opens_at.strftime("%Y-%m-%d %H:%M %Z") if standing else "–"


@admin.register(AlertThreshold)
class AlertThresholdAdmin(AuditedAdmin):
    list_display = ("account", "low_balance")
    list_select_related = ("account__tenant", "account__user")
    autocomplete_fields = ("account",)
    exact_search = ("account__tenant__id", "account__user__id")
    fields = ("account", "low_balance")


@admin.register(Alert)
class AlertAdmin(HistoryAdmin):
    list_display = ("kind_badge", "tenant_link", "is_raised", "raised_at", "recovered_at", "times")
    list_display_links = ("kind_badge",)
    list_filter = ("is_raised", "kind")
    list_select_related = ("tenant",)
    exact_search = ("key", "tenant__id")
    fields = (("kind_badge", "tenant_link", "is_raised"), ("raised_at", "recovered_at", "times"), "key", "shown_details")
    readonly_fields = (
        "kind_badge",
        "tenant_link",
        "is_raised",
        "raised_at",
        "recovered_at",
        "times",
        "key",
        "shown_details",
    )

    @display(description=_("Kind"), label=True)
    def kind_badge(self, alert: Alert) -> Any:
        return alert.get_kind_display()

    @display(description=_("Tenant"))
    def tenant_link(self, alert: Alert) -> Any:
        return link(alert.tenant)

    @display(description=_("Details"))
    def shown_details(self, alert: Alert) -> Any:
        return short_json(alert.details)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("billing.view_alert")
