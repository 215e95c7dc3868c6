"""The two kinds of admin pages: of things that are kept (`WauleAdmin`), and of things that happened (`HistoryAdmin`)."""

import contextlib
from collections.abc import Iterable, Iterator
from functools import reduce
from operator import or_
from typing import Any, ClassVar, NamedTuple

from django.contrib.admin import ShowFacets
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.paginator import Paginator
from django.db import models
from django.forms import ModelForm
from django.http import HttpRequest, StreamingHttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import action

from waule.core.admin.changelist import KeysetChangeList, KeysetPaginator
from waule.core.admin.csv_export import export_csv
from waule.core.admin.lookups import StrictChangeList, offered_lookups_only
from waule.core.admin.own_lists import OwnLists
from waule.core.admin.pages import UnconfirmedForm, ask_password, is_reauthenticated
from waule.core.admin.related import RelatedFields, is_key
from waule.core.admin.secrets import SecretsForm
from waule.core.admin.versions import VersionedFormSet, versioned, versions_of
from waule.core.crypto.encryption import EncryptedTextField
from waule.core.ids import parse_uuid

MAX_SEARCH_LENGTH = 200
MAX_NEW_ROWS = 100  # below a form, sent at once


class PageButton(NamedTuple):
    title: Any
    link: str
    icon: str


class WauleAdmin(OwnLists, RelatedFields, ModelAdmin):
    """Lists by key, newest first, with a CSV of what the filters leave.

    `exact_search` names the fields in which a search finds whole values (ids; each needs an index); `search_fields`
    those in which it finds parts of a value. `is_large=False` is for tables that stay short: numbered pages, sorting.
    """

    form: Any = SecretsForm
    counted: Any = ""  # what the rows are called beside their number, where the list's name is no plural
    asks_password = False  # saving and deleting ask for the password again
    is_large = True
    lists_whole_table = True  # else the rows of others are not counted beside the list
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
        # A short list below a class for large ones must not inherit that its columns cannot be sorted.
        cls.sortable_by, cls.paginator = ((), KeysetPaginator) if cls.is_large else (cls.__dict__.get("sortable_by"), Paginator)
        cls.form = versioned(cls.form)
        if cls.exact_search and not cls.search_fields:
            cls.search_fields = ("pk",)  # shows the box; `search_conditions` says what is found

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return KeysetChangeList if self.is_large else StrictChangeList

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        return True  # the list itself refuses whatever no filter of it has taken

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Return what the address fills in, but for times: a widget breaks on a text that is none."""
        times = {field.name for field in self.opts.fields if isinstance(field, models.DateField)}
        return {name: value for name, value in super().get_changeform_initial_data(request).items() if name not in times}

    def response_action(self, request: HttpRequest, queryset: models.QuerySet) -> Any:
        """With those chosen rows alone whose keys can be some."""
        post = request.POST.copy()
        post.setlist(ACTION_CHECKBOX_NAME, [key for key in post.getlist(ACTION_CHECKBOX_NAME) if is_key(self.opts.pk, key)])
        request.POST = post  # type: ignore[assignment]
        return super().response_action(request, queryset)

    @offered_lookups_only
    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        deletes = request.POST.get("action") == "delete_selected" and "post" in request.POST
        if self.asks_password and deletes and not is_reauthenticated(request):
            return ask_password(request)
        own = {"own_filters": self.own_filters(request)}
        return super().changelist_view(request, {**own, **(extra_context or {})})

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet, search_term: str
    ) -> tuple[models.QuerySet, bool]:
        term = search_term.strip()[:MAX_SEARCH_LENGTH].replace("\x00", "")  # PostgreSQL takes no NUL
        if not self.exact_search:
            return super().get_search_results(request, queryset, term)
        if not term:
            return queryset, False
        # Only what some row has is asked for: of an OR of several columns no index finds the newest rows.
        everything = self.model._default_manager.order_by()
        found = [condition for condition in self.search_conditions(term) if everything.filter(condition).exists()]
        return (queryset.filter(reduce(or_, found)) if found else queryset.none()), False

    def search_conditions(self, term: str) -> list[models.Q]:
        """Return what a search may mean: rows that have `term` as a whole in one of `exact_search`, where it is of that type."""
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

    @offered_lookups_only
    def export_view(self, request: HttpRequest) -> StreamingHttpResponse:
        """The list as it is filtered now."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return export_csv(self.get_changelist_instance(request).queryset)

    def heading(self, row: Any) -> str:
        """Return what the page of `row` is called: words, where the row calls itself by a code."""
        return str(row)

    def page_buttons(self, request: HttpRequest, row: Any) -> list[PageButton]:
        """Buttons above the page of `row`, to pages that do more than save a form."""
        return []

    def reveal_buttons(self, request: HttpRequest, row: Any) -> list[PageButton]:
        """Return one for each secret that is stored in `row`, for those who might replace it."""
        if not request.user.has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}"):
            return []
        secrets = [field for field in self.opts.concrete_fields if isinstance(field, EncryptedTextField)]
        return [
            PageButton(
                _("Reveal: %(name)s") % {"name": field.verbose_name},
                reverse("admin:reveal", args=[self.opts.app_label, self.opts.model_name, row.pk, field.name]),
                "visibility",
            )
            for field in secrets
            if getattr(row, field.attname)
        ]

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        row = kwargs.get("obj")
        if row is not None:
            row.heading_in_admin = context["subtitle"] = self.heading(row)
        context["page_buttons"] = [*self.page_buttons(request, row), *self.reveal_buttons(request, row)] if row else []
        below = [form for formset in context["inline_admin_formsets"] for form in formset.formset.initial_forms]
        context["versions"] = versions_of([context["adminform"].form, *below])
        return super().render_change_form(request, context, *args, **kwargs)

    # --- what asks for the password again ---------------------------------------------------------------------------

    def get_form(self, request: Any, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        if self.asks_password and request.method == "POST" and not is_reauthenticated(request):
            return type(form.__name__, (UnconfirmedForm, form), {})
        return form

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        if self.asks_password and request.method == "POST" and not is_reauthenticated(request):
            return ask_password(request)
        return super().delete_view(request, object_id, extra_context)

    # --- old forms do not undo newer changes (`waule.core.admin.versions`) -------------------------------------------

    def _changeform_view(self, request: HttpRequest, object_id: str | None, form_url: str, extra_context: Any) -> Any:
        if request.method == "POST" and object_id is not None:  # in a transaction: nobody changes the row meanwhile
            with contextlib.suppress(ValueError, ValidationError):
                key = self.opts.pk.to_python(unquote(object_id))
                self.model._base_manager.select_for_update(no_key=True).filter(pk=key).values_list("pk").first()
        return super()._changeform_view(request, object_id, form_url, extra_context)

    def get_inline_instances(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        inlines = super().get_inline_instances(request, obj)
        for inline in inlines:
            inline.form = versioned(inline.form)
        return inlines

    def get_formsets_with_inlines(self, request: HttpRequest, obj: Any = None) -> Iterator[tuple[Any, Any]]:
        """Yield what reads the rows below a form: as many as there are and MAX_NEW_ROWS more, whatever number was sent."""
        for formset, inline in super().get_formsets_with_inlines(request, obj):
            if request.method == "POST":
                there = 0 if obj is None else formset.model._default_manager.filter(**{formset.fk.name: obj}).count()
                formset.absolute_max = there + MAX_NEW_ROWS
                formset.max_num = min(formset.max_num, formset.absolute_max)
            yield formset, inline

    def get_changelist_form(self, request: HttpRequest, **kwargs: Any) -> Any:
        return super().get_changelist_form(request, **{"form": versioned(ModelForm), **kwargs})

    def get_changelist_formset(self, request: HttpRequest, **kwargs: Any) -> Any:
        return super().get_changelist_formset(request, **{"formset": VersionedFormSet, **kwargs})

    @property
    def export_address(self) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_export")

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_export"
        own = f"{self.opts.app_label}_{self.opts.model_name}_own_list"
        guarded = self.admin_site.admin_view
        return [
            path("export.csv", guarded(self.export_view), name=name),
            path("this-list/", guarded(self.own_list_view), name=own),
            *super().get_urls(),
        ]


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
