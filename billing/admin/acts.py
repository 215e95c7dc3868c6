"""What staff undo or end by hand: a stuck hold, a catalog, an alert. Each asks for a reason and says what cannot be undone."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from billing import services
from billing.catalog import file as catalog_file
from billing.catalog.changes import Change
from billing.catalog.models import CatalogState, CatalogVersion
from billing.ledger.models import MAX_REASON_LENGTH
from billing.ledger.selectors import find_hold
from billing.monitoring import alerts
from billing.monitoring.models import Alert
from billing.services.stuck_holds import rejection
from tenants import audit
from waule.core.admin import actor_of, admin_page, reauthentication_required, spaced_number, tell_form
from waule.core.errors import WauleError

MAY_PUBLISH = {"model": "billing.change_aimodel", "rule": "billing.change_billingrule", "level": "billing.change_levelconfig"}
HOUR = 3600
SILENCES = (
    (0, gettext_lazy("Not at all")),
    (HOUR, gettext_lazy("For an hour")),
    (8 * HOUR, gettext_lazy("For 8 hours")),
    (24 * HOUR, gettext_lazy("For a day")),
    (7 * 24 * HOUR, gettext_lazy("For a week")),
)


class ReasonForm(forms.Form):
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=MAX_REASON_LENGTH,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text=gettext_lazy("Stays in the audit log."),
    )


class RestoreForm(ReasonForm):
    expected_version = forms.IntegerField(widget=forms.HiddenInput)


class AcknowledgeForm(ReasonForm):
    silence = forms.TypedChoiceField(
        label=gettext_lazy("Send no message"),
        choices=SILENCES,
        coerce=int,
        initial=0,
        widget=UnfoldAdminSelectWidget,
        help_text=gettext_lazy("Until then it is opened again in silence. Not at all: the next time it is told again."),
    )
    field_order = ("silence", "reason")


# --- holds ---------------------------------------------------------------------------------------------------------


@reauthentication_required("billing.adjust_credits")
def release_hold_view(request: HttpRequest, hold_id: UUID) -> HttpResponse:
    """Give back what a hold holds that nobody will end."""
    hold = find_hold(str(hold_id))
    if hold is None:
        messages.error(request, _("There is no hold %(id)s.") % {"id": hold_id})
        return redirect("admin:billing_hold_changelist")
    back = reverse("admin:billing_hold_change", args=[hold_id])
    if request.method != "POST" and (why := rejection(hold)) is not None:
        messages.warning(request, str(why))
        return redirect(back)

    def act(form: forms.Form) -> str:
        done = services.release_stuck(hold_id=str(hold_id), reason=form.cleaned_data["reason"], actor=actor_of(request))
        return _("Released: %(credits)s credits can be spent again.") % {"credits": f"{done.credits_released:,}"}

    return _page(
        request,
        ReasonForm(request.POST or None),
        act,
        title=_("Release a hold"),
        verb=_("Release"),
        intro=_("This cannot be undone: whoever captures the hold later is refused, and the use is not paid for."),
        facts=[(_("Account"), str(hold.account)), (_("Held"), spaced_number(hold.credits)), (_("Model"), str(hold.model or "–"))],
        back=back,
        is_danger=True,
    )


# --- the catalog ---------------------------------------------------------------------------------------------------


@reauthentication_required
def restore_catalog_view(request: HttpRequest, number: int) -> HttpResponse:
    """Make the catalog what it was at a version, as a new version."""
    version = get_object_or_404(CatalogVersion, number=number)
    back = reverse("admin:billing_catalogversion_change", args=[version.pk])
    current = CatalogState.objects.get(id=1).version
    document = catalog_file.from_json(version.document)
    try:
        changes = catalog_file.apply(document, actor="restore", prune=True, dry_run=True).changes
    except WauleError as error:
        messages.error(request, _("Version %(number)s cannot be restored: %(why)s") % {"number": number, "why": error})
        return redirect(back)
    if not request.user.has_perms({MAY_PUBLISH[change.kind] for change in changes} or set(MAY_PUBLISH.values())):
        messages.error(request, _("You may not change everything that this version would change."))
        return redirect(back)
    if not changes:
        messages.info(request, _("The catalog is already as it was at version %(number)s.") % {"number": number})
        return redirect(back)

    def act(form: forms.Form) -> str:
        reason, actor = form.cleaned_data["reason"], actor_of(request)
        source = _("version %(number)s restored: %(reason)s") % {"number": number, "reason": reason}
        expected = form.cleaned_data["expected_version"]
        made = catalog_file.apply(document, actor=actor, prune=True, source=source[:400], expected_version=expected)
        audit.record(
            actor=actor,
            action="catalog.restore",
            target=version,
            reason=reason,
            after={"changes": len(made.changes)},
            request=request,
        )
        count = len(made.changes)
        return ngettext("Restored: %(count)s change.", "Restored: %(count)s changes.", count) % {"count": count}

    return _page(
        request,
        RestoreForm(request.POST or None, initial={"expected_version": current}),
        act,
        title=_("Restore version %(number)s of the catalog") % {"number": number},
        verb=_("Restore"),
        intro=_("What is not in that version is switched off. It can be undone: restore the version before this one."),
        facts=_change_facts(changes),
        back=back,
        is_danger=True,
    )


def _change_facts(changes: tuple[Change, ...]) -> list[tuple[str, str]]:
    lines = [line for change in changes for line in change.lines()]
    shown = [(str(number), line) for number, line in enumerate(lines[:100], 1)]
    return [*shown, ("…", _("and %(count)s more") % {"count": len(lines) - 100})] if len(lines) > 100 else shown


# --- alerts --------------------------------------------------------------------------------------------------------


def acknowledge_view(request: HttpRequest, alert_id: int) -> HttpResponse:
    """Note that somebody takes care of an alert, and keep it silent for a while."""
    back = reverse("admin:billing_alert_change", args=[alert_id])
    if not request.user.has_perm("billing.change_alert"):
        messages.error(request, _("You may not acknowledge alerts."))
        return redirect(back)
    alert = get_object_or_404(Alert, id=alert_id)

    def act(form: forms.Form) -> str:
        given = form.cleaned_data
        alerts.acknowledge(alert_id=alert.id, silent_seconds=given["silence"], reason=given["reason"], actor=actor_of(request))
        return _("Acknowledged.")

    return _page(
        request,
        AcknowledgeForm(request.POST or None),
        act,
        title=_("Acknowledge an alert"),
        verb=_("Acknowledge"),
        intro=_("It stays open until what it tells of is over. Acknowledging cannot be taken back; the silence can be changed."),
        facts=[(_("Alert"), alert.get_kind_display()), (_("Tenant"), str(alert.tenant or "–"))],
        back=back,
    )


def _page(
    request: HttpRequest, form: forms.Form, act: Callable[[Any], str], *, back: str, is_danger: bool = False, **texts: Any
) -> HttpResponse:
    """The form with what it is about; what the verb refuses becomes an error of the form."""
    if request.method == "POST" and form.is_valid():
        try:
            messages.success(request, act(form))
            return redirect(back)
        except WauleError as error:
            tell_form(form, error)
    return admin_page(request, "admin/page_form.html", form=form, back=back, is_danger=is_danger, **texts)
