"""Lists that stay quick on ten million rows: pages by key instead of by number, and no COUNT."""

from collections.abc import Iterator
from datetime import datetime, time, timedelta
from typing import Any

from django.contrib.admin import AllValuesFieldListFilter, SimpleListFilter
from django.core.exceptions import ValidationError
from django.db import connection, models
from django.db.models import F, Max, Min
from django.forms import DateField
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import RangeDateFilter
from unfold.paginator import InfinitePaginator

from waule.core.admin.lookups import StrictChangeList
from waule.core.ids import uuid7_floor

COUNTED_ROWS = 10_000  # up to here a list says exactly how many rows there are
OLDER = "before"  # query parameters: the rows before or after a key, newest first
NEWER = "after"


class KeysetPaginator(InfinitePaginator):
    """Never counts. Lists move by key (`KeysetChangeList`); autocompletes ask for one page after the other."""

    template_name = "admin/keyset_pagination.html"


class KeysetChangeList(StrictChangeList):
    """The newest rows first; "older" and "newer" continue from the key of a row, whatever was inserted meanwhile."""

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        query = request.GET.copy()
        self.older_than = query.pop(OLDER, [""])[-1]
        self.newer_than = query.pop(NEWER, [""])[-1]
        request.GET = query  # type: ignore[assignment]  # else Django takes the two for filters
        super().__init__(request, *args, **kwargs)

    @cached_property
    def key(self) -> str:
        return str(self.model_admin.get_ordering(self.request)[0]).lstrip("-")

    def get_ordering(self, request: HttpRequest, queryset: models.QuerySet) -> list[str]:
        self.request = request
        return [f"-{self.key}"]

    def get_ordering_field_columns(self) -> dict[int, str]:
        return {}

    def get_results(self, request: HttpRequest) -> None:
        size = self.list_per_page
        rows = self.queryset
        if older_than := self._sane(self.older_than):
            found = list(rows.filter(**{f"{self.key}__lt": older_than})[: size + 1])
            has_older, has_newer = len(found) > size, True
        elif newer_than := self._sane(self.newer_than):
            found = list(rows.filter(**{f"{self.key}__gt": newer_than}).order_by(self.key)[: size + 1])
            has_older, has_newer = True, len(found) > size
            found = found[:size][::-1]
        else:
            found = list(rows[: size + 1])
            has_older, has_newer = len(found) > size, False
        self.result_list = found[:size]
        self.result_count = len(self.result_list)
        self.full_result_count = self.result_count
        self.show_admin_actions = bool(self.result_list)
        self.show_full_result_count = False
        self.can_show_all = self.show_all = self.multi_page = False
        self.paginator = self.model_admin.get_paginator(request, self.queryset, size)
        self.older_url = self._url(OLDER, self.result_list[-1]) if has_older and self.result_list else ""
        self.newer_url = self._url(NEWER, self.result_list[0]) if has_newer and self.result_list else ""
        self.newest_url = self.get_query_string() if has_newer else ""

    @cached_property
    def total(self) -> tuple[int, bool] | None:
        """Rows of the whole list and whether that is exact; None where filters or a search narrow the list."""
        if self.has_active_filters or self.query or self.get_filters_params():
            return None
        is_whole = self.model_admin.lists_whole_table
        rows = self.model._default_manager if is_whole else self.root_queryset
        counted = rows.order_by()[: COUNTED_ROWS + 1].count()
        if counted <= COUNTED_ROWS:
            return counted, True
        if connection.vendor != "postgresql" or not is_whole:
            return None
        with connection.cursor() as cursor:
            cursor.execute("SELECT reltuples::bigint FROM pg_class WHERE oid = %s::regclass", [self.model._meta.db_table])
            return max(cursor.fetchone()[0], counted), False

    def _sane(self, text: str | None) -> Any:
        """Return the key that `text` spells, or None: a mangled address shows the newest rows."""
        if not text:
            return None
        field = self.model._meta.pk if self.key == "pk" else self.model._meta.get_field(self.key)
        try:
            value = field.to_python(text)
        except ValidationError:
            return None
        return None if isinstance(value, int) and abs(value) >= 2**63 else value

    def _url(self, name: str, row: models.Model) -> str:
        return self.get_query_string({name: str(getattr(row, self.key))})


class SeenValuesFilter(AllValuesFieldListFilter):
    """The values that a column has; each is found by a look into its index, where DISTINCT would read every row."""

    statement = """
        WITH RECURSIVE seen AS (
            SELECT min({column}) AS value FROM {table}
            UNION ALL
            SELECT (SELECT min({column}) FROM {table} WHERE {column} > seen.value) FROM seen WHERE seen.value IS NOT NULL
        )
        SELECT value FROM seen WHERE value IS NOT NULL
    """

    def __init__(self, field: Any, request: HttpRequest, params: Any, model: Any, model_admin: Any, field_path: str) -> None:
        super().__init__(field, request, params, model, model_admin, field_path)
        with connection.cursor() as cursor:
            cursor.execute(self.statement.format(column=field.column, table=model._meta.db_table))
            self.lookup_choices: Any = [value for (value,) in cursor.fetchall()]

    def in_words(self, value: str) -> str:
        """Return how the filter names a value."""
        return value

    def choices(self, changelist: Any) -> Any:
        for choice in super().choices(changelist):
            yield choice | {"display": self.in_words(str(choice["display"]))}


class SinceFilter(SimpleListFilter):
    """Rows made lately, found by their version 7 key: the primary key's index is enough."""

    title = _("made")
    parameter_name = "since"
    spans = {"1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7), "30d": timedelta(days=30)}

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("1h", _("in the last hour")), ("24h", _("in 24 hours")), ("7d", _("in 7 days")), ("30d", _("in 30 days"))]

    def queryset(self, request: HttpRequest, queryset: models.QuerySet) -> models.QuerySet:
        span = self.spans.get(self.value() or "")
        return queryset.filter(pk__gte=uuid7_floor(timezone.now() - span)) if span else queryset


# At each end of a range of days rows are looked for in such a stretch, a longer one where there are none. A row's number and its
# time never differ by more than the shorter: both are taken when it is written.
EDGES = (timedelta(days=1), timedelta(days=7))


class DayRangeFilter(RangeDateFilter):
    """Rows from one day to another, both inclusive, in the reader's zone.

    Version 7 keys are found by the primary key's index. Of numbered rows the first and the last number are looked up by the
    index of their time, so that the list, which goes by number, begins and ends there instead of reading its way.
    """

    def queryset(self, request: HttpRequest, queryset: models.QuerySet) -> models.QuerySet:
        first = self._midnight("from", 0)
        end = self._midnight("to", 1)
        if isinstance(queryset.model._meta.pk, models.UUIDField):
            queryset = queryset.filter(pk__gte=uuid7_floor(first)) if first else queryset
            return queryset.filter(pk__lt=uuid7_floor(end)) if end else queryset
        name = self.field_path
        for low, high in self._numbers(queryset.model, first, end):
            queryset = queryset.filter(**({"pk__gte": low} if low else {}), **({"pk__lte": high} if high else {}))
        queryset = queryset.filter(**{f"{name}__gte": first}) if first else queryset
        return queryset.filter(**{f"{name}__lt": end}) if end else queryset

    def _numbers(self, model: type[models.Model], first: datetime | None, end: datetime | None) -> Iterator[tuple[Any, Any]]:
        """Bounds of the numbers between two times. An end that is unbounded, or at which there are no rows, has none."""
        if connection.vendor != "postgresql" or not isinstance(model._meta.pk, models.IntegerField):
            return
        # `+ 0` keeps the planner from walking along the numbers until it meets one of that time.
        number, rows = F("pk") + 0, model._default_manager.order_by()
        for edge in EDGES:
            if first is None:
                break
            found = self._between(rows, first, min(first + edge, end or first + edge)).aggregate(low=Min(number))
            if found["low"] is not None:
                yield found["low"], None
                break
        for edge in EDGES:
            if end is None or end > timezone.now():
                break
            found = self._between(rows, max(end - edge, first or end - edge), end).aggregate(high=Max(number))
            if found["high"] is not None:
                yield None, found["high"]
                break

    def _between(self, rows: models.QuerySet, first: datetime, end: datetime) -> models.QuerySet:
        return rows.filter(**{f"{self.field_path}__gte": first, f"{self.field_path}__lt": end})

    def _midnight(self, side: str, days: int) -> datetime | None:
        text = str(self.used_parameters.get(f"{self.field_path}_{side}", ""))
        try:
            given = DateField(required=False).clean(text)
        except ValidationError:
            return None
        if given is None:
            return None
        try:
            return datetime.combine(given + timedelta(days=days), time(), timezone.get_current_timezone())
        except OverflowError:
            return None
