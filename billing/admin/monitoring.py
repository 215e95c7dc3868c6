"""What watches the ledger, in the admin: proofs, budgets, thresholds and alerts."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext
from unfold.decorators import display

from billing.admin import acts
from billing.budgets.limits import standing_of
from billing.budgets.models import Budget
from billing.ledger.models import Account
from billing.monitoring.models import Alert, AlertThreshold, ReconcileRun
from tenants.admin.audited import AuditedAdmin
from tenants.admin.words import actor_in_words
from tenants.models import Mode
from waule.core.admin import HistoryAdmin, PageButton, badge, flat, link, short_json, spaced_number


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

    @display(description=_("Result"))
    def ok_badge(self, run: ReconcileRun) -> Any:
        return badge(_("The ledger is right"), "success") if run.ok else badge(_("The ledger does not add up"), "danger")

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
        return date_format(timezone.localtime(standing.opens_at), "DATETIME_FORMAT") if standing else "–"


@admin.register(AlertThreshold)
class AlertThresholdAdmin(AuditedAdmin):
    list_display = ("account", "low_balance")
    list_select_related = ("account__tenant", "account__user")
    autocomplete_fields = ("account",)
    exact_search = ("account__tenant__id", "account__user__id")
    fields = ("account", "low_balance")


@admin.register(Alert)
class AlertAdmin(HistoryAdmin):
    list_display = ("kind_badge", "tenant_link", "state_badge", "raised_at", "recovered_at", "times")
    list_display_links = ("kind_badge",)
    list_filter = ("is_raised", "kind")
    list_select_related = ("tenant",)
    exact_search = ("key", "tenant__id")
    fields = (
        ("kind_badge", "tenant_link", "state_badge"),
        ("raised_at", "recovered_at", "times"),
        ("acknowledged_at", "shown_acknowledged_by", "silenced_until"),
        "key",
        "shown_details",
    )
    readonly_fields = flat(fields)

    def heading(self, row: Alert) -> str:
        return row.get_kind_display()

    def get_urls(self) -> list[URLPattern]:
        guarded = self.admin_site.admin_view
        return [
            path("<int:alert_id>/acknowledge/", guarded(acts.acknowledge_view), name="billing_acknowledge"),
            *super().get_urls(),
        ]

    def page_buttons(self, request: HttpRequest, row: Alert) -> list[PageButton]:
        if not request.user.has_perm("billing.change_alert") or not (row.is_raised or row.silenced_until):
            return []
        name = _("Acknowledge") if row.is_raised else _("Change the silence")
        return [PageButton(name, reverse("admin:billing_acknowledge", args=[row.pk]), "notifications_paused")]

    @display(description=_("Acknowledged by"))
    def shown_acknowledged_by(self, alert: Alert) -> str:
        return actor_in_words(alert.acknowledged_by) if alert.acknowledged_by else "–"

    @display(description=_("Kind"))
    def kind_badge(self, alert: Alert) -> Any:
        return badge(alert.get_kind_display())

    @display(description=_("State"))
    def state_badge(self, alert: Alert) -> Any:
        if not alert.is_raised:
            return badge(_("Recovered"), "success")
        if alert.acknowledged_at is not None:
            return badge(_("Acknowledged"), "warning")
        return badge(pgettext("state of an alert", "Open"), "danger")

    @display(description=_("Tenant"))
    def tenant_link(self, alert: Alert) -> Any:
        return link(alert.tenant)

    @display(description=_("Details"))
    def shown_details(self, alert: Alert) -> Any:
        return short_json(alert.details)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("billing.view_alert")
