"""Reading generations: one, or a page of them, of their owner alone."""

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from aiservices.generations.models import Generation
from aiservices.generations.requests import generations_of
from aiservices.generations.services.joining import READ
from tenants.principal import Principal
from waule.core.errors import InvalidRequest, NotFound
from waule.core.ids import parse_uuid

State = Generation.State
MAX_PAGE = 100


def find(caller: Principal, task_id: str, *, type: Generation.Type | None = None) -> Generation:
    """Return the caller's own generation of that id.

    Raises:
        NotFound: nobody's, or another's.
    """
    pk = parse_uuid(task_id)
    rows = _visible(caller, type).select_related(*READ)
    found = rows.filter(id=pk).first() if pk else None
    if found is None:
        raise NotFound
    return found


@dataclass(frozen=True)
class Page:
    generations: list[Generation]
    has_more: bool


def page(
    caller: Principal, *, limit: int, after: str | None = None, type: Generation.Type | None = None, oldest_first: bool = False
) -> Page:
    """Return the caller's generations, newest first, from behind the one with the id `after`; stable while rows are written.

    Raises:
        InvalidRequest: `after` is no id.
    """
    rows = _visible(caller, type).select_related(*READ).order_by("id" if oldest_first else "-id")
    if after is not None:
        pk = parse_uuid(after)
        if pk is None:
            raise InvalidRequest.of_field("after", _("This cursor is not one of ours."))
        rows = rows.filter(id__gt=pk) if oldest_first else rows.filter(id__lt=pk)
    found = list(rows[: limit + 1])
    return Page(found[:limit], len(found) > limit)


def tenant_page(
    caller: Principal,
    *,
    limit: int,
    after: str | None = None,
    type: Generation.Type | None = None,
    state: Generation.State | None = None,
) -> Page:
    """Return a tenant's generations, newest first, of one type or both and in one state or any; by an index whatever is asked.

    Raises:
        InvalidRequest: `after` is no id.
    """
    pk = parse_uuid(after) if after is not None else None
    if after is not None and pk is None:
        raise InvalidRequest.of_field("after", _("This cursor is not one of ours."))
    found: list[Generation] = []
    for each in [type] if type else list(Generation.Type):  # both types at once would not be in the order of an index
        rows = _visible(caller, each).select_related(*READ).order_by("-id")
        rows = rows.filter(state=state) if state else rows
        rows = rows.filter(id__lt=pk) if pk else rows
        found += rows[: limit + 1]
    found.sort(key=lambda generation: generation.id, reverse=True)
    return Page(found[:limit], len(found) > limit)


def _visible(caller: Principal, type: Generation.Type | None) -> Any:
    rows = Generation.objects.filter(generations_of(caller), deleted_at=None).exclude(state=State.NEW)
    return rows.filter(type=type) if type else rows
