"""Lists as one person wants them: which columns, and filters kept under a name. Stored with the user, by page."""

from typing import Any
from urllib.parse import parse_qsl, urlencode

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import label_for_field
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.functional import cached_property
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminTextInputWidget

from waule.core.admin.pages import admin_page

MAX_FILTERS = 20  # of one list
MAX_NAME_LENGTH = 60
MAX_QUERY_LENGTH = 1_000
NONE = "-"  # in the place of the columns: only those that every reader sees
_PAGES = ("before", "after", "p", "e")  # where somebody stands in a list is no filter


class OwnListForm(forms.Form):
    columns = forms.MultipleChoiceField(
        label=gettext_lazy("Columns"), required=False, widget=UnfoldAdminCheckboxSelectMultipleWidget
    )
    name = forms.CharField(
        label=gettext_lazy("Keep these filters as"), required=False, max_length=MAX_NAME_LENGTH, widget=UnfoldAdminTextInputWidget
    )
    removed = forms.MultipleChoiceField(
        label=gettext_lazy("Remove kept filters"), required=False, widget=UnfoldAdminCheckboxSelectMultipleWidget
    )
    query = forms.CharField(required=False, max_length=MAX_QUERY_LENGTH, widget=forms.HiddenInput)

    def __init__(self, *args: Any, columns: list[tuple[str, str]], filters: list[str], query: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["columns"].choices = columns  # type: ignore[attr-defined]
        self.fields["removed"].choices = [(name, name) for name in filters]  # type: ignore[attr-defined]
        self.filters = filters
        if not filters:
            del self.fields["removed"]
        if not query:
            del self.fields["name"]

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"]).strip()
        if name and name not in self.filters and len(self.filters) >= MAX_FILTERS:
            raise forms.ValidationError(_("A list keeps at most %(count)s filters: remove one.") % {"count": MAX_FILTERS})
        return name


class OwnLists:
    """For admin classes: `get_list_display` as the reader has chosen, and the page on which that is done."""

    has_own_list = True
    opts: Any
    list_display: Any
    list_display_links: Any
    admin_site: Any

    @cached_property
    def _page(self) -> str:
        return f"{self.admin_site.name}:{self.opts.label_lower}"

    def get_list_display(self, request: HttpRequest) -> Any:
        """Return the chosen columns, in the list's own order; what leads to a row's page is always among them."""
        shown = list(super().get_list_display(request))  # type: ignore[misc]
        chosen = self._kept(request).get("columns") or []
        kept = [name for name in shown if name in chosen or name in self._fixed(shown)]
        is_of_now = chosen == [NONE] or set(chosen) & set(map(str, shown))  # else the columns were renamed since
        return kept if is_of_now else shown

    def own_filters(self, request: HttpRequest) -> list[dict[str, str]]:
        return [
            {"name": str(kept["name"]), "link": f"?{kept['query']}"}
            for kept in self._kept(request).get("filters") or []
            if isinstance(kept, dict) and kept.get("name")
        ]

    def own_list_view(self, request: HttpRequest) -> HttpResponse:
        """Choose columns, keep the filters of the list that one came from, remove kept ones."""
        if not self.has_view_permission(request):  # type: ignore[attr-defined]
            raise PermissionDenied
        back = f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_changelist"
        shown = list(super().get_list_display(request))  # type: ignore[misc]
        choices = [(str(name), self._label(name)) for name in shown if name not in self._fixed(shown)]
        query = _filters_of(request.POST.get("query", "") if request.method == "POST" else request.META.get("QUERY_STRING", ""))
        form = OwnListForm(
            request.POST if request.method == "POST" else None,
            columns=choices,
            filters=[kept["name"] for kept in self.own_filters(request)],
            query=query,
            initial={"columns": self.get_list_display(request), "query": query},
        )
        if request.method == "POST" and form.is_valid():
            self._keep(request, form.cleaned_data, query, every=[name for name, _label in choices])
            messages.success(request, _("This list is kept as you want it."))
            response = redirect(back)
            response["Location"] += f"?{query}" if query else ""
            return response
        return admin_page(
            request,
            "admin/page_form.html",
            title=_("This list"),
            form=form,
            verb=_("Save"),
            back=f"../{f'?{query}' if query else ''}",
            intro=_("For you alone. The first column stays."),
        )

    # --- what is kept ------------------------------------------------------------------------------------------------

    def _kept(self, request: HttpRequest) -> dict[str, Any]:
        kept = getattr(request.user, "list_preferences", None) or {}
        found = kept.get(self._page)
        return found if isinstance(found, dict) else {}

    def _keep(self, request: HttpRequest, given: dict[str, Any], query: str, *, every: list[str]) -> None:
        users: Any = get_user_model()._default_manager
        with transaction.atomic():
            user = users.select_for_update().get(pk=request.user.pk)
            kept = dict(user.list_preferences or {})
            own = dict(kept.get(self._page) or {})
            chosen = [name for name in given["columns"] if name in every]
            own["columns"] = [] if len(chosen) == len(every) else chosen or [NONE]
            filters = [one for one in own.get("filters") or [] if one["name"] not in given.get("removed", [])]
            if name := given.get("name"):
                filters = [*(one for one in filters if one["name"] != name), {"name": name, "query": query}]
            own["filters"] = filters
            kept[self._page] = own
            user.list_preferences = kept
            user.save(update_fields=["list_preferences"])

    def _fixed(self, shown: list[Any]) -> list[Any]:
        return [name for name in shown if name in (self.list_display_links or ())] or shown[:1]

    def _label(self, name: Any) -> str:
        model_admin: Any = self
        label: Any = label_for_field(name, self.opts.model, model_admin)
        return str(capfirst(label))


def _filters_of(query: str) -> str:
    """Return the filters of a query string, without the place in the list."""
    try:
        pairs = parse_qsl(query[:MAX_QUERY_LENGTH])
    except ValueError:
        return ""
    return urlencode([(name, value) for name, value in pairs if name not in _PAGES])
