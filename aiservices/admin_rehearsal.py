"""A page on which a draft of the catalog is rehearsed on past charges, and then published."""

import hashlib
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

from aiservices import catalog_file
from aiservices.rehearsal import Rehearsal, Sum, rehearse
from billing.catalog import Catalog
from billing.models import scope_of
from waule.admin_kit import actor_of, admin_page, spaced_number
from waule.errors import WauleError

MAX_DAYS = 366
MAX_CHARGES = 50_000  # a page answers in seconds; the command has no such bound
ROWS_SHOWN = 50
MAY_SEE = "billing.view_billingrule"
MAY_PUBLISH = ("billing.change_billingrule", "billing.change_levelconfig", "aiservices.change_aimodel")


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
        """What the text says. Raises InvalidRequest."""
        return catalog_file.parse(self.cleaned_data["text"].encode())

    @property
    def mark(self) -> str:
        """Names the draft: only what was rehearsed is published."""
        return hashlib.sha256(f"{self.cleaned_data['prune']}{self.cleaned_data['text']}".encode()).hexdigest()


def rehearsal_view(request: HttpRequest) -> HttpResponse:
    """What the last days would have cost under the draft; and, once that was seen, publishing it."""
    if not request.user.has_perm(MAY_SEE):
        raise PermissionDenied
    form = DraftForm(request.POST or None, initial={"text": catalog_file.dump(catalog_file.export())})
    shown: dict[str, Any] = {}
    if request.method == "POST" and form.is_valid():
        try:
            if "publish" in request.POST and request.POST.get("rehearsed") == form.mark:
                _publish(request, form)
                return redirect(reverse("admin:aiservices_rehearsal"))
            shown = _rehearsed(form)
        except WauleError as error:
            form.add_error("text", str(error))
    return admin_page(
        request,
        "admin/catalog_rehearsal.html",
        title=_("Catalog rehearsal"),
        form=form,
        may_publish=request.user.has_perms(MAY_PUBLISH),
        limit=spaced_number(MAX_CHARGES),
        **shown,
    )


def _publish(request: HttpRequest, form: DraftForm) -> None:
    if not request.user.has_perms(MAY_PUBLISH):
        raise PermissionDenied
    source = str(_("from the rehearsal page"))
    result = catalog_file.apply(form.document(), actor=actor_of(request), prune=form.cleaned_data["prune"], source=source)
    messages.success(request, _("Published: %(count)s changes.") % {"count": len(result.changes)})


def _rehearsed(form: DraftForm) -> dict[str, Any]:
    document, prune = form.document(), form.cleaned_data["prune"]
    changes = catalog_file.apply(document, actor="rehearsal", prune=prune, dry_run=True).changes
    catalog = catalog_file.draft(document, prune=prune)
    since = timezone.now() - timedelta(days=form.cleaned_data["days"])
    result = rehearse(catalog, since=since, progress=lambda done: None, limit=MAX_CHARGES)
    return {
        "is_rehearsed": True,
        "mark": form.mark,
        "changes": [line for change in changes for line in change.lines()],
        "total": _row(_("Total"), result.total),
        "models": [_row(name, summed) for name, summed in result.models_by_change()][:ROWS_SHOWN],
        "accounts": [_row(str(account), summed) for account, summed in result.most_changed_accounts(ROWS_SHOWN)],
        "refusals": _refusals(result),
        "without_price": _without_price(catalog),
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


def _refusals(result: Rehearsal) -> list[str]:
    return [
        f"{name}: {spaced_number(count)} × {code}"
        for name, summed in result.models_by_change()
        for code, count in summed.refusals.most_common()
    ][:ROWS_SHOWN]


def _without_price(catalog: Catalog) -> list[str]:
    """Models that are on and have no rule of their own: a use of them by model alone is refused."""
    return sorted(
        f"{model.name} ({model.provider})"
        for model in catalog.models.values()
        if model.is_on(timezone.now()) and scope_of(model_pk=model.id) not in catalog.rules
    )
