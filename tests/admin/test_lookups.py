"""Lists answer to the query strings that they offer; any other leads back to the list, and none to a 500."""

from collections.abc import Iterator
from urllib.parse import quote

import pytest
from django.contrib import admin
from django.contrib.messages.storage.cookie import CookieStorage
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection, models
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext
from django.urls import resolve, reverse

from aiservices.generations.models import Generation
from tests.admin.pages import LISTED, address

LOOKUPS = ("exact", "regex", "iregex", "year", "gte", "in", "isnull", "date__year", "contains", "nonsense", "")
VALUES = (
    *("0", "10000", "-1", str(2**70), "1e400", "NaN", "-", "null", "[]", "true", "9999-99-99", "10000-01-01", "0000-00-00"),
    *("0001-01-01T00:00:00+14:00", "(a+)+$", "%", "'", '"><script>', "a" * 5000, "été", "中文", "\U0001f433"),
    *("\x00", "a\x00b", "\r\n", "\u202e", "\ud800".encode("utf-8", "surrogatepass")),
)
GENERAL = (
    "q",
    "p",
    "o",
    "e",
    "all",
    "before",
    "after",
    "_popup",
    "_to_field",
    "_facets",
    "_changelist_filters",
    "since",
    "%00",
    "",
)


def pages(model: type[models.Model]) -> Iterator[str]:
    yield address(model)
    if hasattr(admin.site._registry[model], "export_view"):
        yield address(model, "export")


def undeclared(model: type[models.Model]) -> Iterator[str]:
    """Every field of the row, and every field of the rows it points to, with every lookup; each with one of the values."""
    paths = []
    for field in model._meta.get_fields():
        if not field.auto_created or field.concrete:
            paths.append(field.name)
            if field.related_model is not None:
                paths += [f"{field.name}__{each.name}" for each in field.related_model._meta.concrete_fields]
    for number, path in enumerate(paths):
        for step, lookup in enumerate(LOOKUPS):
            name = f"{path}__{lookup}" if lookup else path
            yield f"{name}={quote(VALUES[(number + step) % len(VALUES)])}"


def declared(client, model: type[models.Model]) -> set[str]:
    """The parameters of the list's own filters."""
    changelist = client.get(address(model)).context["cl"]
    return {name for spec in changelist.filter_specs for name in spec.expected_parameters()}


def ask(rf, root, model: type[models.Model], page: str, query: str) -> tuple[str, int]:
    """The view of a list, asked directly: where it leads ("" where it answers), and the status."""
    view = resolve(page).func
    request = rf.get(f"{page}?{query}")
    request.user, request.session = root, SessionStore()
    request._messages = CookieStorage(request)
    answer = view(request)
    return answer.get("Location", ""), answer.status_code


@pytest.mark.parametrize("model", LISTED, ids=lambda model: model._meta.model_name)
def test_no_query_string_is_a_500(rf, root, admin_client, history, model):
    names = (*GENERAL, *sorted(declared(admin_client, model)))
    root.is_verified = lambda: True
    for page in pages(model):
        for number, name in enumerate(names):
            for value in VALUES[number % 4 :: 1 if name not in GENERAL and page == address(model) else 4]:
                location, status = ask(rf, root, model, page, f"{name}={quote(value)}")
                for _hop in range(3):
                    if not location:
                        break
                    assert location.startswith(page), (page, name, value)
                    location, status = ask(rf, root, model, page, location.partition("?")[2])
                assert (location, status) == ("", 200), (page, name, value)
    for number, name in enumerate(names):  # and as it is drawn
        query = f"{name}={quote(VALUES[number % len(VALUES)])}"
        assert admin_client.get(f"{address(model)}?{query}", follow=True).status_code == 200, query


@pytest.mark.once  # none reaches it
@pytest.mark.parametrize("model", LISTED, ids=lambda model: model._meta.model_name)
def test_no_lookup_that_a_list_does_not_offer_reaches_the_database(rf, root, admin_client, history, model):
    offered = declared(admin_client, model)
    page = address(model)
    root.is_verified = lambda: True
    for query in undeclared(model):
        (name,) = QueryDict(query)
        if name in (*offered, "before", "after"):  # the last two are also how a list is paged
            continue
        with CaptureQueriesContext(connection) as queries:
            assert ask(rf, root, model, page, query) == (page, 302), query
        assert not [each for each in queries if f'FROM "{model._meta.db_table}"' in each["sql"] and name in each["sql"]], query


def test_a_pattern_is_never_run(admin_client, history):
    Generation.objects.update(prompt="a" * 40)
    answer = admin_client.get(address(Generation), {"prompt__regex": "(a+)+$", "type__exact": "image"})
    assert (answer.status_code, answer["Location"]) == (302, f"{address(Generation)}?type__exact=image")
    assert admin_client.get(address(Generation, "export"), {"prompt__regex": "(a+)+$"})["Location"] == address(
        Generation, "export"
    )


def test_what_a_list_offers_still_works(admin_client, history):
    shown = admin_client.get(address(Generation), {"type__exact": "image", "since": "24h"}).context["cl"]
    assert shown.result_count == 3
    assert admin_client.get(address(Generation), {"type__exact": "video"}).context["cl"].result_count == 0
    assert admin_client.get(address(Generation), {"tenant__id__exact": str(history.pk)}).context["cl"].result_count == 3


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_other_pages_with_a_query_string(admin_client, history, value):
    admin_client.raise_request_exception = False
    account = history.accounts.first()
    for name, args, parameters in (
        ("autocomplete", [], ("term", "app_label", "model_name", "field_name", "page")),
        ("search", [], ("s", "extended", "page")),
        ("index", [], ("days", "q")),
        ("ai_services", [], ("q",)),
        ("billing_statement", [account.pk], ("month", "from", "to", "page", "format")),
        ("billing_simulator", [], ("model", "operation", "duration")),
        ("tenants_apikey_add", [], ("tenant",)),
        ("tenants_tenant_add", [], ("name", "is_active", "time_zone", "_changelist_filters")),
    ):
        for parameter in parameters:
            answer = admin_client.get(f"{reverse(f'admin:{name}', args=args)}?{parameter}={quote(value)}")
            assert answer.status_code < 500, (name, parameter)
