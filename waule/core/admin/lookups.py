"""What a list may be asked in its query string: what it offers, and nothing else.

Django lets a query string name any field with any lookup: `?prompt__regex=` runs a reader's pattern over every row.
Here whatever no filter of the list has taken is refused, before the database is asked.
"""

from collections.abc import Callable, Collection
from functools import wraps
from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import SuspiciousOperation, ValidationError
from django.db import DataError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from unfold.views import ChangeList

MAX_NAME_LENGTH = 100
MAX_VALUE_LENGTH = 300
_PRESERVED = "_changelist_filters"  # a whole query string, which Django carries from page to page
MAX_PRESERVED_LENGTH = 4000


class UndeclaredLookups(Exception):
    """These parameters belong to no filter of the list."""

    def __init__(self, names: Collection[str]) -> None:
        super().__init__(", ".join(names))
        self.names = names


class StrictChangeList(ChangeList):
    """A list that answers only to the filters that it offers."""

    def get_filters(self, request: HttpRequest) -> Any:
        try:
            found = super().get_filters(request)
        except (ValueError, ValidationError) as error:
            raise IncorrectLookupParameters(error) from error
        _specs, _has_filters, remaining, *_rest = found
        if remaining:
            raise UndeclaredLookups(remaining)
        return found

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if not self.has_active_filters and not self.query:  # all are shown: the theme need not offer them
            self.full_result_count = self.result_count


def offered_lookups_only(view: Callable[..., Any]) -> Callable[..., Any]:
    """For the views of a list: a query string that it does not offer leads to the same list without it, never to a 500."""

    @wraps(view)
    def guarded(self: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        given = request.GET.copy()
        if unusable := [name for name, values in given.lists() if not _is_usable(name, values)]:
            return _without(request, given, unusable)
        try:
            return view(self, request, *args, **kwargs)
        except UndeclaredLookups as error:
            return _without(request, given, error.names)
        except (IncorrectLookupParameters, SuspiciousOperation, ValidationError, ValueError, OverflowError, DataError):
            if not given:
                raise  # then it is no fault of the query
            return _without(request, given, list(given))

    return guarded


def _is_usable(name: str, values: list[Any]) -> bool:
    """No value that a database cannot even be asked about."""
    limit = MAX_PRESERVED_LENGTH if name == _PRESERVED else MAX_VALUE_LENGTH
    return len(name) <= MAX_NAME_LENGTH and all(
        len(text) <= limit and "\x00" not in text and "\ufffd" not in text and text.isprintable() for text in (name, *values)
    )


def _without(request: HttpRequest, given: QueryDict, names: Collection[str]) -> HttpResponse:
    for name in names:
        given.pop(name, None)
    query = given.urlencode()
    return HttpResponseRedirect(f"{request.path}?{query}" if query else request.path)
