"""Redemption codes in the admin: batches are made and closed on pages of their own, and codes are shown once."""

import csv
import uuid
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, Subquery, Sum
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminBigIntegerFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextInputWidget,
)

from billing.admin.money import two_persons
from billing.approvals.models import ApprovalRequest
from billing.ledger.models import MAX_CREDITS
from billing.redemption import services
from billing.redemption.models import MAX_BATCH_NAME, Redemption, RedemptionBatch, RedemptionCode
from tenants.admin.words import actor_in_words
from waule.core.admin import HistoryAdmin, actor_of, admin_page, badge, link, reauthentication_required, spaced_number
from waule.core.admin.base import PageButton
from waule.core.admin.csv_export import cell
from waule.core.errors import WauleError


class BatchForm(forms.Form):
    """A name is required: a page that is sent twice is refused the second time. The hidden key is that of a request."""

    idempotency_key = forms.UUIDField(widget=forms.HiddenInput, initial=uuid.uuid4, required=False)
    name = forms.CharField(label=gettext_lazy("Name"), max_length=MAX_BATCH_NAME, widget=UnfoldAdminTextInputWidget)
    count = forms.IntegerField(
        label=gettext_lazy("Codes"), min_value=1, max_value=services.MAX_CODES, widget=UnfoldAdminIntegerFieldWidget
    )
    credits = forms.IntegerField(
        label=gettext_lazy("Credits"), min_value=1, max_value=MAX_CREDITS, widget=UnfoldAdminBigIntegerFieldWidget
    )
    uses = forms.IntegerField(
        label=gettext_lazy("Uses of each code"),
        min_value=1,
        max_value=services.MAX_USES,
        initial=1,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=gettext_lazy("Each by another account: nobody uses two codes of a batch."),
    )
    expires_at = forms.SplitDateTimeField(
        label=gettext_lazy("Expires"),
        required=False,
        widget=UnfoldAdminSplitDateTimeWidget,
        help_text=gettext_lazy("Empty: the codes never expire."),
    )
    output = forms.ChoiceField(
        label=gettext_lazy("Codes come as"),
        choices=[("page", gettext_lazy("a page")), ("csv", gettext_lazy("a CSV file"))],
        widget=UnfoldAdminSelectWidget,
        help_text=gettext_lazy("They are given this once. What is kept is their hashes."),
    )


class CloseForm(forms.Form):
    reason = forms.CharField(label=gettext_lazy("Reason"), max_length=500, widget=UnfoldAdminTextInputWidget)


@admin.register(RedemptionBatch)
class RedemptionBatchAdmin(HistoryAdmin):
    list_display = ("name", "shown_credits", "code_count", "uses", "shown_used", "expires_at", "state_badge", "shown_creator")
    list_display_links = ("name",)
    search_fields = ("name",)
    fields = (
        ("name", "state_badge"),
        ("shown_credits", "code_count", "uses", "shown_used"),
        ("expires_at", "closed_at"),
        ("created_at", "shown_creator"),
    )
    readonly_fields = ("shown_credits", "shown_used", "state_badge", "shown_creator")

    def get_queryset(self, request: HttpRequest) -> Any:
        uses = RedemptionCode.objects.filter(batch=OuterRef("pk")).order_by().values("batch").annotate(sum=Sum("used"))
        return super().get_queryset(request).annotate(used=Coalesce(Subquery(uses.values("sum")), 0))

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("billing.add_redemptionbatch")

    def get_urls(self) -> list[URLPattern]:
        guarded = self.admin_site.admin_view
        return [
            path("add/", guarded(create_view), name="billing_redemptionbatch_add"),
            path("<uuid:batch_id>/close/", guarded(close_view), name="billing_redemptionbatch_close"),
            *super().get_urls(),
        ]

    def page_buttons(self, request: HttpRequest, row: RedemptionBatch) -> list[PageButton]:
        redeemed = f"{reverse('admin:billing_redemption_changelist')}?batch__id__exact={row.pk}"
        buttons = [PageButton(_("Redemptions"), redeemed, "redeem")]
        if row.closed_at is None and request.user.has_perm("billing.change_redemptionbatch"):
            buttons.append(PageButton(_("Close"), reverse("admin:billing_redemptionbatch_close", args=[row.pk]), "block"))
        return buttons

    @display(description=gettext_lazy("Credits"))
    def shown_credits(self, batch: RedemptionBatch) -> str:
        return spaced_number(batch.credits)

    @display(description=gettext_lazy("Used"))
    def shown_used(self, batch: RedemptionBatch) -> str:
        return spaced_number(batch.used)  # type: ignore[attr-defined]  # by get_queryset

    @display(description=gettext_lazy("created by"))
    def shown_creator(self, batch: RedemptionBatch) -> str:
        return actor_in_words(batch.created_by)

    @display(description=gettext_lazy("State"))
    def state_badge(self, batch: RedemptionBatch) -> Any:
        if batch.closed_at is not None:
            return badge(_("Closed"), "danger")
        if batch.expires_at is not None and batch.expires_at <= timezone.now():
            return badge(_("Expired"), "warning")
        return badge(pgettext("state of redemption codes", "Open"), "success")


@admin.register(Redemption)
class RedemptionAdmin(HistoryAdmin):
    list_display = ("created_at", "batch", "code", "shown_account", "shown_credits", "shown_actor")
    list_display_links = ("created_at",)
    list_filter = ("batch",)
    list_select_related = ("batch", "code", "account__tenant", "account__user")
    exact_search = ("account__id", "batch__id")
    fields = (("batch", "code"), ("shown_account", "shown_credits"), ("created_at", "shown_actor"), ("entry",))
    readonly_fields = ("shown_account", "shown_credits", "shown_actor")

    @display(description=gettext_lazy("Who"))
    def shown_actor(self, redemption: Redemption) -> str:
        return actor_in_words(redemption.actor)

    @display(description=gettext_lazy("Account"))
    def shown_account(self, redemption: Redemption) -> Any:
        return link(redemption.account)

    @display(description=gettext_lazy("Credits"))
    def shown_credits(self, redemption: Redemption) -> str:
        return spaced_number(redemption.batch.credits)


@reauthentication_required
def create_view(request: HttpRequest) -> HttpResponse:
    """Make a batch and give its codes, once: as a page or as a file."""
    if not request.user.has_perm("billing.add_redemptionbatch"):
        raise PermissionDenied
    back = reverse("admin:billing_redemptionbatch_changelist")
    form = BatchForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        credits = services.credits_given(count=given["count"], credits=given["credits"], uses=given["uses"])
        try:
            if two_persons.is_needed(credits):
                return _ask(request, given, credits)
            made = services.create_codes(
                count=given["count"],
                credits=given["credits"],
                uses=given["uses"],
                expires_at=given["expires_at"],
                batch=given["name"],
                actor=actor_of(request),
            )
        except WauleError as error:
            form.add_error(None, str(error))
        else:
            if given["output"] == "csv":
                return codes_as_csv(made)
            title = _("The codes of %(batch)s") % {"batch": made.batch}
            return admin_page(request, "admin/billing/codes_once.html", title=title, made=made, back=back)
    return admin_page(
        request,
        "admin/page_form.html",
        title=_("New redemption codes"),
        form=form,
        notice=_limit_notice(),
        verb=_("Make the codes"),
        back=back,
    )


def _limit_notice() -> str:
    notice = two_persons.limit_notice()
    return f"{notice} " + _("What counts is what all codes give together.") if notice else ""


def _ask(request: HttpRequest, given: dict[str, Any], credits: int) -> HttpResponse:
    services.check_batch(name=given["name"], expires_at=given["expires_at"])
    params = {
        "batch": given["name"],
        "codes": given["count"],
        "credits": given["credits"],
        "uses": given["uses"],
        "expiresAt": given["expires_at"].isoformat() if given["expires_at"] else "",
        "output": given["output"],
    }
    return two_persons.ask(
        request,
        kind=ApprovalRequest.Kind.REDEMPTION,
        credits=credits,
        params=params,
        reason=_("Redemption codes %(batch)s") % {"batch": given["name"]},
        idempotency_key=f"admin-{given['idempotency_key'] or uuid.uuid4()}",
    )


def codes_as_csv(made: services.NewBatch) -> HttpResponse:
    """A line for each code."""
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="codes.csv"'
    response["Cache-Control"] = "no-store"
    write = csv.writer(response).writerow
    write(("code", "credits", f"expires_at ({timezone.get_current_timezone_name()})"))
    for code in made.codes:
        write((code, made.batch.credits, cell(made.batch.expires_at)))
    return response


def close_view(request: HttpRequest, batch_id: UUID) -> HttpResponse:
    """End a batch whose codes got into the wrong hands."""
    if not request.user.has_perm("billing.change_redemptionbatch"):
        raise PermissionDenied
    batch = get_object_or_404(RedemptionBatch, pk=batch_id)
    back = reverse("admin:billing_redemptionbatch_change", args=[batch.pk])
    form = CloseForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        services.close_batch(batch_id=batch.pk, reason=form.cleaned_data["reason"], actor=actor_of(request))
        messages.success(request, _("The batch is closed."))
        return redirect(back)
    title = _("Close %(batch)s") % {"batch": batch}
    return admin_page(request, "admin/page_form.html", title=title, form=form, verb=_("Close"), back=back, is_danger=True)
