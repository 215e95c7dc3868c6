"""Two-person approval in the admin: the list of requests, their pages, and the two pages on which one is decided."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget

from billing.admin.money.redemption import codes_as_csv
from billing.admin.money.two_persons import decided_before
from billing.approvals import services
from billing.approvals.errors import ApprovalOver
from billing.approvals.models import ApprovalRequest
from billing.ledger.models import MAX_REASON_LENGTH, Charge, Kind
from waule.core.admin import (
    HistoryAdmin,
    PageButton,
    admin_page,
    badge,
    flat,
    in_readers_language,
    link,
    reauthentication_required,
    spaced_number,
)
from waule.core.errors import Unavailable, WauleError

State = ApprovalRequest.State
COLOURS = {
    "pending": "warning",
    "approved": "warning",
    "done": "success",
    "failed": "danger",
    "rejected": "danger",
    "expired": "",
}
RESULTS = {
    "balance": gettext_lazy("Could be spent then"),
    "settled": gettext_lazy("Settled"),
    "skipped": gettext_lazy("Had ended meanwhile"),
    "credits": gettext_lazy("Credits"),
    "batch": gettext_lazy("Batch"),
}


class RejectForm(forms.Form):
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=MAX_REASON_LENGTH,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text=gettext_lazy("Whoever asked reads it. Stays in the audit log."),
    )


@admin.register(ApprovalRequest)
class ApprovalRequestAdmin(HistoryAdmin):
    list_display = ("asked_at", "kind", "shown_credits", "shown_account", "asked_by", "state_badge", "expires_at", "decided_by")
    list_display_links = ("asked_at",)
    list_filter = ("state", "kind")
    list_select_related = ("account__tenant", "account__user", "asked_by", "decided_by")
    exact_search = ("id", "account__id")
    fields = (
        ("kind", "shown_credits", "state_badge"),
        "shown_what",
        "reason",
        ("asked_by", "asked_at", "expires_at"),
        ("decided_by", "decided_at", "shown_decision"),
        "shown_result",
    )
    readonly_fields = flat(fields)

    def get_urls(self) -> list[URLPattern]:
        guarded = self.admin_site.admin_view
        return [
            path("<uuid:request_id>/approve/", guarded(approve_view), name="billing_approvalrequest_approve"),
            path("<uuid:request_id>/reject/", guarded(reject_view), name="billing_approvalrequest_reject"),
            *super().get_urls(),
        ]

    def page_buttons(self, request: HttpRequest, row: ApprovalRequest) -> list[PageButton]:
        buttons = []
        if request.user.has_perm("tenants.view_auditentry"):
            history = f"{reverse('admin:tenants_auditentry_changelist')}?object=billing.approvalrequest:{row.pk}"
            buttons.append(PageButton(_("History"), history, "history"))
        if services.may_decide(row, request.user):  # type: ignore[arg-type]
            buttons.append(PageButton(_("Reject"), _address(row, "reject"), "block"))
            buttons.append(PageButton(_("Approve"), _address(row, "approve"), "how_to_reg"))
        return buttons

    @display(description=gettext_lazy("Credits"), ordering="credits")
    def shown_credits(self, row: ApprovalRequest) -> str:
        return spaced_number(row.credits)

    @display(description=gettext_lazy("Account"))
    def shown_account(self, row: ApprovalRequest) -> Any:
        return link(row.account)

    @display(description=gettext_lazy("State"))
    def state_badge(self, row: ApprovalRequest) -> Any:
        is_over = row.state == State.PENDING and row.expires_at <= timezone.now()
        state = State.EXPIRED if is_over else State(row.state)
        return badge(state.label, COLOURS[state])

    @display(description=gettext_lazy("What is asked for"))
    def shown_what(self, row: ApprovalRequest) -> str:
        return " · ".join(f"{name}: {value}" for name, value in what_is_asked(row))

    @display(description=gettext_lazy("Why so decided"))
    def shown_decision(self, row: ApprovalRequest) -> str:
        return row.decision_reason or "–"

    @display(description=gettext_lazy("What came of it"))
    def shown_result(self, row: ApprovalRequest) -> str:
        if row.problem:
            return in_readers_language(row.problem)
        told = [f"{RESULTS[name]}: {_shown(value)}" for name, value in row.result.items() if name in RESULTS]
        return " · ".join(told) or "–"


def _shown(value: Any) -> str:
    return spaced_number(value) if isinstance(value, int) else str(value)


def what_is_asked(row: ApprovalRequest) -> list[tuple[Any, Any]]:
    """Return what would be done, for people."""
    given = row.params
    lines: list[tuple[Any, Any]] = [(_("Credits"), f"{row.credits:+,}" if row.account_id else spaced_number(row.credits))]
    if row.account is not None:
        lines.append((_("Account"), str(row.account)))
    if row.kind == ApprovalRequest.Kind.GRANT:
        lines.append((_("Kind"), Kind(given["kind"]).label))
    elif row.kind == ApprovalRequest.Kind.REFUND:
        lines.append((_("Charge"), str(Charge.objects.filter(id=given["charge"]).first() or given["charge"])))
    elif row.kind == ApprovalRequest.Kind.SETTLE:
        lines.append((_("Generations"), spaced_number(len(given["generations"]))))
        lines.append((_("What happened"), _("They were made: charge") if given["charge"] else _("They were not made: give back")))
    elif row.kind == ApprovalRequest.Kind.REDEMPTION:
        lines += [
            (_("Batch"), given["batch"]),
            (_("Codes"), spaced_number(given["codes"])),
            (_("Credits of each use"), spaced_number(given["credits"])),
            (_("Uses of each code"), spaced_number(given["uses"])),
            (_("Expires"), given["expiresAt"] or "–"),
        ]
    return lines


# --- deciding ------------------------------------------------------------------------------------------------------


def approve_view(request: HttpRequest, request_id: UUID) -> HttpResponse:
    """Show what is asked for; a POST does it, once."""
    return _decide(request, _may_be_decided_by(request, request_id), is_approval=True)


def reject_view(request: HttpRequest, request_id: UUID) -> HttpResponse:
    """Ask why not; a POST refuses it for good."""
    return _decide(request, _may_be_decided_by(request, request_id), is_approval=False)


def _may_be_decided_by(request: HttpRequest, request_id: UUID) -> ApprovalRequest:
    """Raise PermissionDenied before the password is asked for: whoever asked, or lacks the right, is told so."""
    rows = ApprovalRequest.objects.select_related("account__tenant", "account__user", "asked_by")
    row = get_object_or_404(rows, id=request_id)
    if not request.user.has_perm(services.OPERATIONS[row.kind].permission) or row.asked_by_id == request.user.pk:
        raise PermissionDenied
    return row


@reauthentication_required
def _decide(request: HttpRequest, row: ApprovalRequest, *, is_approval: bool) -> HttpResponse:
    back = _address(row, "change")
    if row.state != State.PENDING and request.method != "POST":
        messages.warning(request, decided_before(row.state))
        return redirect(back)
    form = (forms.Form if is_approval else RejectForm)(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            return _approve(request, row) if is_approval else _reject(request, row, form.cleaned_data["reason"])
        except ApprovalOver as over:
            messages.warning(request, decided_before(over.details["state"]))
            return redirect(back)
        except WauleError as error:
            form.add_error(None, str(error))
    return admin_page(
        request,
        "admin/page_form.html",
        title=_("Approve a request") if is_approval else _("Reject a request"),
        form=form,
        intro=_intro(row) if is_approval else "",
        facts=[
            (_("Kind"), row.get_kind_display()),
            *what_is_asked(row),
            (_("Reason"), row.reason),
            (_("Asked by"), str(row.asked_by)),
            (_("Asked"), timezone.localtime(row.asked_at)),
            (_("Expires"), timezone.localtime(row.expires_at)),
        ],
        verb=_("Approve") if is_approval else _("Reject"),
        back=back,
        is_danger=not is_approval,
    )


def _intro(row: ApprovalRequest) -> str:
    if row.kind == ApprovalRequest.Kind.REDEMPTION:
        return _("The codes are made at once and shown to you, this once: pass them on to whoever asked.")
    return _("It is done at once when you approve.")


def _approve(request: HttpRequest, row: ApprovalRequest) -> HttpResponse:
    back = _address(row, "change")
    try:
        done, made = services.approve(request_id=row.pk, approver=request.user)  # type: ignore[arg-type]
    except Unavailable:
        messages.warning(request, _("Approved. The database was busy: it is done within a quarter of an hour."))
        return redirect(back)
    if done.state == State.FAILED:
        messages.error(request, _("Approved, but it was refused: %(why)s") % {"why": done.problem})
    elif made is not None:
        if row.params["output"] == "csv":
            return codes_as_csv(made)
        title = _("The codes of %(batch)s") % {"batch": made.batch}
        return admin_page(request, "admin/billing/codes_once.html", title=title, made=made, back=back)
    else:
        messages.success(request, _("Approved and done."))
    return redirect(back)


def _reject(request: HttpRequest, row: ApprovalRequest, reason: str) -> HttpResponse:
    services.reject(request_id=row.pk, approver=request.user, reason=reason)  # type: ignore[arg-type]
    messages.success(request, _("Rejected. Nothing has moved."))
    return redirect(_address(row, "change"))


def _address(row: ApprovalRequest, page: str) -> str:
    return reverse(f"admin:billing_approvalrequest_{page}", args=[row.pk])
