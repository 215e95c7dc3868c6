"""The two kinds of admin pages: of things that are kept (`WauleAdmin`), and of things that happened (`HistoryAdmin`)."""

from collections.abc import Iterable
from functools import reduce
from operator import or_
from typing import Any, ClassVar, NamedTuple

from django.contrib.admin import ShowFacets
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import models
from django.http import HttpRequest, StreamingHttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import action

from waule.admin_kit.changelist import KeysetChangeList, KeysetPaginator
from waule.admin_kit.csv_export import export_csv
from waule.ids import parse_uuid

MAX_SEARCH_LENGTH = 200


class PageButton(NamedTuple):
    title: Any
    link: str
    icon: str


class WauleAdmin(ModelAdmin):
    """Lists by key, newest first, with a CSV of what the filters leave.

    `exact_search` names the fields in which a search finds whole values (ids; each needs an index); `search_fields`
    those in which it finds parts of a value. `is_large=False` is for tables that stay short: numbered pages, sorting.
    """

    is_large = True
    exact_search: ClassVar[Any] = ()
    list_per_page = 50
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    list_filter_sheet = True
    ordering: ClassVar[Any] = ("-pk",)
    search_fields: ClassVar[Any] = ()
    list_select_related: ClassVar[Any] = False
    paginator: ClassVar[Any] = Paginator
    sortable_by: ClassVar[Any] = None
    actions: ClassVar[Any] = ("export_selected",)
    readonly_fields: ClassVar[Any] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.is_large:
            cls.sortable_by, cls.paginator = (), KeysetPaginator
        if cls.exact_search and not cls.search_fields:
            cls.search_fields = ("pk",)  # shows the box; `search_conditions` says what is found

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return KeysetChangeList if self.is_large else super().get_changelist(request, **kwargs)

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet, search_term: str
    ) -> tuple[models.QuerySet, bool]:
        if not self.exact_search:
            return super().get_search_results(request, queryset, search_term[:MAX_SEARCH_LENGTH])
        term = search_term.strip()[:MAX_SEARCH_LENGTH].replace("\x00", "")
        if not term:
            return queryset, False
        # Only what some row has is asked for: of an OR of several columns no index finds the newest rows.
        everything = self.model._default_manager.order_by()
        found = [condition for condition in self.search_conditions(term) if everything.filter(condition).exists()]
        return (queryset.filter(reduce(or_, found)) if found else queryset.none()), False

    def search_conditions(self, term: str) -> list[models.Q]:
        """What a search may mean: rows that have `term` as a whole in one of `exact_search`, where it is of that type."""
        number = int(term) if term.isascii() and term.isdigit() and len(term) <= 18 else None
        conditions = []
        for name in self.exact_search:
            field = self._field(name)
            if isinstance(field, models.UUIDField):
                value: Any = parse_uuid(term.lower())
            elif isinstance(field, models.IntegerField):
                value = number
            else:
                value = term
            if value is not None:
                conditions.append(models.Q(**{name: value}))
        return conditions

    def _field(self, path_: str) -> models.Field:
        options = self.opts
        *parents, last = path_.split("__")
        for parent in parents:
            options = options.get_field(parent).related_model._meta
        field = options.pk if last == "pk" else options.get_field(last)
        while isinstance(field, models.ForeignKey):
            field = field.target_field
        return field

    @action(description=_("Export as CSV"), permissions=["view"])
    def export_selected(self, request: HttpRequest, queryset: models.QuerySet) -> StreamingHttpResponse:
        return export_csv(queryset)

    def export_view(self, request: HttpRequest) -> StreamingHttpResponse:
        """The list as it is filtered now."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return export_csv(self.get_changelist_instance(request).queryset)

    def page_buttons(self, request: HttpRequest, row: Any) -> list[PageButton]:
        """Buttons above the page of `row`, to pages that do more than save a form."""
        return []

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        row = kwargs.get("obj")
        context["page_buttons"] = self.page_buttons(request, row) if row is not None else []
        return super().render_change_form(request, context, *args, **kwargs)

    @property
    def export_address(self) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_export")

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_export"
        return [path("export.csv", self.admin_site.admin_view(self.export_view), name=name), *super().get_urls()]


class HistoryAdmin(WauleAdmin):
    """What happened: to be read, never added, changed or deleted."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_actions(self, request: HttpRequest) -> Any:
        return {name: each for name, each in super().get_actions(request).items() if name != "delete_selected"}

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        # Nothing here is changed in the admin, so Django's own history of the row would always be empty.
        return super().changeform_view(request, object_id, form_url, {**(extra_context or {}), "show_history": False})

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Iterable[str]:
        return self.readonly_fields
