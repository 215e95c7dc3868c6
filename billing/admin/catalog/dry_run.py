"""A page on which a draft of the catalog is rehearsed on past charges, and then published."""

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminTextareaWidget, UnfoldBooleanSwitchWidget

from billing.admin.acts import MAY_PUBLISH
from billing.catalog import file as catalog_file
from billing.catalog.changes import Change
from billing.catalog.models import CatalogState
from billing.services.dry_run import Rehearsal, Sum, rehearse, without_price
from waule.core.admin import actor_of, admin_page, is_reauthenticated, spaced_number, unconfirmed_error
from waule.core.errors import WauleError

MAX_DAYS = 366
MAX_CHARGES = 50_000  # a page answers in seconds; the command has no such bound
ROWS_SHOWN = 50
MAY_SEE = "billing.view_billingrule"


class DraftForm(forms.Form):
    days = forms.IntegerField(
        label=gettext_lazy("Days"), min_value=1, max_value=MAX_DAYS, initial=30, widget=UnfoldAdminIntegerFieldWidget
    )
    prune = forms.BooleanField(
        label=gettext_lazy("Switch off what is not listed"), required=False, widget=UnfoldBooleanSwitchWidget
    )
    text = forms.CharField(
        label=gettext_lazy("Catalog"),
        max_length=catalog_file.MAX_FILE_BYTES,
        strip=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 24, "spellcheck": "false", "class": "font-mono"}),
        help_text=gettext_lazy("YAML or JSON, as export_catalog writes it. It begins as the catalog is now."),
    )

    def document(self) -> catalog_file.Document:
        """Return what the text says. Raises InvalidRequest."""
        return catalog_file.parse(self.cleaned_data["text"].encode())

    def mark(self, version: int) -> str:
        """Name the draft and the catalog it was rehearsed against: only what was rehearsed is published."""
        return hashlib.sha256(f"{version} {self.cleaned_data['prune']} {self.cleaned_data['text']}".encode()).hexdigest()


def rehearsal_view(request: HttpRequest) -> HttpResponse:
    """What the last days would have cost under the draft; and, once that was seen, publishing it."""
    if not request.user.has_perm(MAY_SEE):
        raise PermissionDenied
    form = DraftForm(request.POST or None, initial={"text": catalog_file.dump(catalog_file.export())})
    shown: dict[str, Any] = {}
    if request.method == "POST" and form.is_valid():
        version = CatalogState.objects.get(id=1).version
        try:
            if "publish" in request.POST:
                if not is_reauthenticated(request):
                    form.add_error(None, unconfirmed_error())
                elif request.POST.get("rehearsed") == form.mark(version):
                    _publish(request, form, version)
                    return redirect(reverse("admin:aiservices_rehearsal"))
                else:
                    messages.warning(
                        request, _("The draft or the catalog has changed since it was rehearsed. This is how it is now.")
                    )
            shown = _rehearsed(request, form, version)
        except WauleError as error:
            form.add_error("text", str(error))
    return admin_page(
        request,
        "admin/catalog_rehearsal.html",
        title=_("Catalog rehearsal"),
        form=form,
        limit=spaced_number(MAX_CHARGES),
        **shown,
    )


def _publish(request: HttpRequest, form: DraftForm, version: int) -> None:
    if not _may_publish(request, _dry_run(form).changes):
        raise PermissionDenied
    source = str(_("from the rehearsal page"))
    result = catalog_file.apply(
        form.document(),
        actor=actor_of(request),
        prune=form.cleaned_data["prune"],
        source=source,
        expected_version=version,
    )
    messages.success(request, _("Published: %(count)s changes.") % {"count": len(result.changes)})


def _dry_run(form: DraftForm) -> catalog_file.Result:
    return catalog_file.apply(form.document(), actor="rehearsal", prune=form.cleaned_data["prune"], dry_run=True)


def _may_publish(request: HttpRequest, changes: Sequence[Change]) -> bool:
    """Whoever publishes may change each kind of row that the draft changes."""
    return request.user.has_perms({MAY_PUBLISH[change.kind] for change in changes})


def _rehearsed(request: HttpRequest, form: DraftForm, version: int) -> dict[str, Any]:
    draft = _dry_run(form)
    catalog = catalog_file.draft(form.document(), prune=form.cleaned_data["prune"])
    since = timezone.now() - timedelta(days=form.cleaned_data["days"])
    result = rehearse(catalog, since=since, progress=lambda done: None, limit=MAX_CHARGES)
    return {
        "is_rehearsed": True,
        "mark": form.mark(version),
        "may_publish": _may_publish(request, draft.changes),
        "changes": [line for change in draft.changes for line in change.lines()],
        "total": _row(_("Total"), result.total),
        "models": [_row(name, summed) for name, summed in result.models_by_change()][:ROWS_SHOWN],
        "accounts": [_row(str(account), summed) for account, summed in result.most_changed_accounts(ROWS_SHOWN)],
        "rejections": _rejections(result),
        "problems": draft.problems[:ROWS_SHOWN],
        "warnings": draft.warnings[:ROWS_SHOWN],
        "without_price": without_price(catalog),
        "is_cut": result.total.uses >= MAX_CHARGES,
    }


def _row(name: str, summed: Sum) -> dict[str, Any]:
    return {
        "name": name,
        "uses": spaced_number(summed.uses),
        "old": spaced_number(summed.old),
        "new": spaced_number(summed.new),
        "difference": f"{summed.difference:+,}" if summed.difference else "0",
        "is_more": summed.difference > 0,
        "unpriced": spaced_number(summed.unpriced_uses) if summed.unpriced_uses else "",
    }


def _rejections(result: Rehearsal) -> list[str]:
    return [
        f"{name}: {spaced_number(count)} × {code}"
        for name, summed in result.models_by_change()
        for code, count in summed.rejections.most_common()
    ][:ROWS_SHOWN]
