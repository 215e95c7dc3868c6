"""One search over everything an operator may be asked about, for Unfold's command palette (Ctrl+K and the box).

Each source is asked only where the reader may view its list. Tenants, users and keys are found by parts of their names and
masks; charges and generations by any part of an id (`waule.core.db.part_search`); prompts by their words.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.dataclasses import SearchResult

from aiservices.generations.models import Generation
from billing.ledger.models import Charge, Hold, Refund
from tenants.models import ApiKey, AuditEntry, Tenant, User
from waule.core.admin import spaced_number
from waule.core.db import part_search
from waule.core.ids import parse_uuid

MIN_LENGTH = 2
MAX_LENGTH = 200
SHOWN = 6  # of each kind, the newest
NEWEST_PROMPTS = 2_000  # read word by word before the index is asked


@dataclass(frozen=True)
class Source:
    """One kind of things; `find` looks for a term, and may take its time."""

    title: Any
    permission: str
    url_name: str
    find: Callable[[str], list[SearchResult]]


def search_view(request: HttpRequest) -> HttpResponse:
    """The palette's results as HTML. Never kept: they are what this reader may see now."""
    results = find(request.user, request.GET.get("s", ""))
    response = TemplateResponse(request, "admin/search_results.html", {"results": results, "term": request.GET.get("s", "")})
    response["HX-Trigger"] = "search"
    response["Cache-Control"] = "no-store"
    return response


def find(reader: AbstractBaseUser | AnonymousUser, term: str) -> list[SearchResult]:
    """Return what the reader may see of what `term` may mean."""
    term = " ".join(term.replace("\x00", "").split())[:MAX_LENGTH]
    if len(term) < MIN_LENGTH:
        return []
    results: list[SearchResult] = []
    for source in SOURCES:
        if not reader.has_perm(source.permission):  # type: ignore[union-attr]
            continue
        found = part_search.within_time(lambda source=source: source.find(term))  # type: ignore[misc]
        results += [_too_slow(source)] if found is None else found
    return results


def _too_slow(source: Source) -> SearchResult:
    said = _("The search took too long. Give more characters or rarer words.")
    return SearchResult(str(source.title), said, reverse(f"admin:{source.url_name}_changelist"), "hourglass_disabled")


def _result(row: Any, title: Any, *about: Any, icon: str, page: str = "") -> SearchResult:
    page = page or f"{row._meta.app_label}_{row._meta.model_name}_change"
    description = " · ".join(str(each) for each in (row._meta.verbose_name, *about) if each)
    return SearchResult(str(title) or "–", description, reverse(f"admin:{page}", args=[row.pk]), icon)


def _at(timestamp: Any) -> str:
    return date_format(timezone.localtime(timestamp), "DATETIME_FORMAT")


def _id_part(term: str) -> Q:
    return Q(id__icontains=term) if part_search.is_part(term) else Q(pk__in=[])


# --- who -----------------------------------------------------------------------------------------------------------


def _tenants(term: str) -> list[SearchResult]:
    rows = Tenant.objects.filter(Q(name__icontains=term) | _id_part(term)).order_by("-pk")[:SHOWN]
    return [
        _result(row, row.name, "" if row.is_active else _("Switched off"), icon="apartment", page="tenant_overview")
        for row in rows
    ]


def _users(term: str) -> list[SearchResult]:
    rows = User.objects.filter(Q(username__icontains=term) | Q(email__icontains=term) | _id_part(term)).order_by("-pk")[:SHOWN]
    return [_result(row, row.username, row.email, row.get_level_display(), icon="person", page="user_overview") for row in rows]


def _keys(term: str) -> list[SearchResult]:
    mask = term.replace("...", "…")
    by_name = Q(masked__icontains=mask) | Q(name__icontains=term) | _id_part(term)
    rows = ApiKey.objects.filter(by_name).select_related("tenant").order_by("-pk")[:SHOWN]
    return [_result(row, row, row.tenant, icon="key") for row in rows]


# --- what was taken ------------------------------------------------------------------------------------------------


def _charges(term: str) -> list[SearchResult]:
    if not (part_search.is_part(term) and part_search.is_hexadecimal(term)):
        return []
    ids = _with_part(Charge, "id", term)
    rows = Charge.objects.filter(pk__in=ids).select_related("account__tenant", "account__user", "model").order_by("-pk")
    return [
        _result(row, spaced_number(row.credits), row.account, row.model, _at(row.created_at), row.pk, icon="payments")
        for row in rows
    ]


def _holds(term: str) -> list[SearchResult]:
    rows: Any = _with_id(Hold, term)
    return [_result(row, spaced_number(row.credits), row.account, row.get_state_display(), icon="hourglass_top") for row in rows]


def _refunds(term: str) -> list[SearchResult]:
    rows: Any = _with_id(Refund, term)
    return [_result(row, spaced_number(row.credits), row.account, _at(row.created_at), icon="undo") for row in rows]


def _with_id(model: Any, term: str) -> Any:
    """Return the row with this id as a whole."""
    pk = parse_uuid(term.lower())
    return model.objects.filter(pk=pk).select_related("account__tenant", "account__user") if pk else ()


# --- what was made -------------------------------------------------------------------------------------------------

ID_COLUMNS = ("id", "request_id", "upstream_id")


def _with_part(model: Any, column: str, term: str) -> list[Any]:
    return part_search.rows_with_part(model._meta.db_table, column, term, is_uuid=column == "id", limit=SHOWN)


def _generations(term: str) -> list[SearchResult]:
    if not part_search.is_part(term) or " " in term:
        return []
    ids = {pk for column in ID_COLUMNS for pk in _with_part(Generation, column, term)}
    return _shown_generations(ids, lambda row: _matched(row, term))


def _matched(row: Generation, term: str) -> str:
    """Return which of its ids has the part."""
    part = part_search.normalized(term)
    named = {"": str(row.pk), _("request"): row.request_id, _("provider's id"): row.upstream_id}
    name, value = next((name, value) for name, value in named.items() if part in part_search.normalized(value))
    return f"{name} {value}".strip()


def _prompts(term: str) -> list[SearchResult]:
    if parse_uuid(term.lower()) is not None:
        return []
    table = Generation._meta.db_table
    ids = part_search.rows_with_words(table, "prompt", term, newest=NEWEST_PROMPTS, limit=SHOWN)
    return _shown_generations(set(ids), lambda row: "")


def _shown_generations(ids: set[Any], more: Callable[[Generation], str]) -> list[SearchResult]:
    rows = Generation.objects.filter(pk__in=ids).select_related("tenant", "user", "model").order_by("-pk")[:SHOWN]
    return [
        _result(
            *(row, row.prompt[:80], row.tenant or row.user, row.get_state_display(), _at(row.created_at), more(row)),
            icon="movie" if row.type == Generation.Type.VIDEO else "image",
        )
        for row in rows
    ]


def _audit(term: str) -> list[SearchResult]:
    """Return what was done in one request, as its list shows it."""
    count = AuditEntry.objects.filter(request_id=term).count() if part_search.is_part(term) else 0
    if not count:
        return []
    address = f"{reverse('admin:tenants_auditentry_changelist')}?q={term}"
    about = _("%(count)s entries of this request") % {"count": spaced_number(count)}
    return [SearchResult(str(AuditEntry._meta.verbose_name_plural), about, address, "policy")]


SOURCES = (
    Source(gettext_lazy("Tenants"), "tenants.view_tenant", "tenants_tenant", _tenants),
    Source(gettext_lazy("Users"), "tenants.view_user", "tenants_user", _users),
    Source(gettext_lazy("API keys"), "tenants.view_apikey", "tenants_apikey", _keys),
    Source(gettext_lazy("Generations"), "aiservices.view_generation", "aiservices_generation", _generations),
    Source(gettext_lazy("Charges"), "billing.view_charge", "billing_charge", _charges),
    Source(gettext_lazy("Holds"), "billing.view_hold", "billing_hold", _holds),
    Source(gettext_lazy("Refunds"), "billing.view_refund", "billing_refund", _refunds),
    Source(gettext_lazy("Audit log"), "tenants.view_auditentry", "tenants_auditentry", _audit),
    Source(gettext_lazy("Prompts"), "aiservices.view_generation", "aiservices_generation", _prompts),
)
