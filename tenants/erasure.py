"""What erasing a tenant or a user does to names and to the audit log. `aiservices.retention` erases everything else."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.db import connection, models, transaction
from django.db.models import Q, TextField
from django.db.models.functions import Cast

from tenants.models import AuditEntry, ErasureWindow
from waule.core.db.erasure_window import ERASE, PURGE
from waule.core.db.transactions import retried

BATCH = 500
MIN_NAME_LENGTH = 2  # a single letter stands in too many texts that are about somebody else
ERASED = ".erase"  # how the action ends that says so: it names nobody
AUDIT_TEXTS = ("actor", "target_name", "reason", "before", "after")
_PLAIN = re.compile(
    r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}"  # an id
    r"|\d{4}-\d\d-\d\d(?:[T ][0-9:.]+(?:Z|[+-]\d\d:?\d\d)?)?"  # a date or timestamp
    r"|[+-]?\d+(?:\.\d+)?"
)
# Fields whose texts are words of ours: a tenant that is named "test" is not what such a field says.
_KINDS = frozenset({"mode", "level", "type", "state", "role", "provider", "outcome", "action", "driver"})


@contextmanager
def window(purpose: str = ERASE, *, before: datetime | None = None) -> Iterator[None]:
    """Lets the transaction around it past the triggers of append-only tables, until it ends."""
    assert connection.in_atomic_block, "a window opens inside a transaction"
    opened = ErasureWindow.objects.create(purpose=purpose, before=before)
    yield
    ErasureWindow.objects.filter(id=opened.id).delete()


class Names:
    """The names under which somebody is known in texts, and what is put in their place: the id."""

    def __init__(self, names: Iterable[str], *, replacement: str) -> None:
        self.names = sorted({name.strip() for name in names if len(name.strip()) >= MIN_NAME_LENGTH}, key=len, reverse=True)
        self.replacement = replacement
        # “Al” is not a part of “Alabama”; between Chinese characters there is no border to look for.
        parts = [rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])" for name in self.names]
        self._pattern = re.compile("|".join(parts)) if parts else None

    def replaced(self, value: Any) -> Any:
        """`value` (text, or JSON) with the id in place of each name."""
        return _each_text(value, self._in_text)

    def blanked(self, value: Any) -> Any:
        """`value` with the id in place of each text that is not a number, a date or an id. Keys of objects stay."""
        return _each_text(value, lambda text: text if not text or _PLAIN.fullmatch(text) else self.replacement)

    def within(self, *columns: str) -> Q:
        """Return rows where one of the names stands in one of these columns, text or JSON (annotated as text)."""
        found = Q(pk__in=[])
        for name in self.names:
            for written in {name, json.dumps(name)[1:-1], json.dumps(name, ensure_ascii=False)[1:-1]}:
                for column in columns:
                    found |= Q(**{f"{column}__contains": written})
        return found

    def _in_text(self, text: str) -> str:
        return self._pattern.sub(self.replacement, text) if self._pattern else text


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: item if key in _KINDS and isinstance(item, str) else _each_text(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_each_text(item, change) for item in value]
    return value


def batches(rows: Any, *, size: int = BATCH) -> Iterator[list[Any]]:
    """Yield the rows in the order of their keys, `size` at a time, each batch a query of its own."""
    ordered, last = rows.order_by("pk"), None
    while batch := list((ordered if last is None else ordered.filter(pk__gt=last))[:size]):
        yield batch
        last = batch[-1].pk


# --- the audit log -------------------------------------------------------------------------------------------------


def past_names(target_type: str, target_id: str) -> set[str]:
    """Return the names that the audit log knows an object by."""
    rows = AuditEntry.objects.filter(target_id=target_id, target_type=target_type).order_by()
    return set(rows.values_list("target_name", flat=True).distinct()) - {""}


def entries_about(target_type: str, owned: Callable[[list[str]], set[str]]) -> Iterator[list[int]]:
    """Yield ids of the entries about objects of that type which `owned` picks out of a batch of their ids."""
    ids = AuditEntry.objects.filter(target_type=target_type).order_by("target_id").values_list("target_id", flat=True).distinct()
    last = ""
    while batch := list(ids.filter(target_id__gt=last)[:BATCH]):
        if mine := owned(batch):
            rows = AuditEntry.objects.filter(target_type=target_type, target_id__in=mine).exclude(action__endswith=ERASED)
            yield list(rows.order_by().values_list("id", flat=True))
        last = batch[-1]


def rewrite_audit(*, about: Iterable[int], names: Names, actors: Iterable[str], dry_run: bool = False) -> int:
    """Replace texts of the audit log by the id. Return how many entries changed, or would.

    `about`: entries about the erased objects, which lose every text; elsewhere the names alone go. Entries that one of
    `actors` made lose the address and the request's id, too.
    """
    actors, blank = set(actors), set(about)
    mentions = AuditEntry.objects.annotate(before_text=Cast("before", TextField()), after_text=Cast("after", TextField())).filter(
        Q(actor__in=actors) | names.within("actor", "target_name", "reason", "before_text", "after_text")
    )
    found = sorted(blank | set(mentions.order_by().values_list("id", flat=True)))
    return sum(
        _rewrite(found[start : start + BATCH], blank=blank, names=names, actors=actors, dry_run=dry_run)
        for start in range(0, len(found), BATCH)
    )


@retried
def _rewrite(ids: list[int], *, blank: set[int], names: Names, actors: set[str], dry_run: bool) -> int:
    with transaction.atomic(), window():
        changed = []
        for entry in AuditEntry.objects.filter(id__in=ids):
            texts = [*AUDIT_TEXTS, "address", "request_id"]
            old = [getattr(entry, name) for name in texts]
            if entry.actor in actors:
                entry.address = entry.request_id = ""
            if entry.id in blank:
                for name in ("target_name", "reason", "before", "after"):
                    setattr(entry, name, names.blanked(getattr(entry, name)))
            for name in AUDIT_TEXTS:
                text, limit = names.replaced(getattr(entry, name)), getattr(AuditEntry._meta.get_field(name), "max_length", None)
                setattr(entry, name, text[:limit] if limit and isinstance(text, str) else text)
            if [getattr(entry, name) for name in texts] != old:
                changed.append(entry)
        if not dry_run:
            models.QuerySet(AuditEntry).bulk_update(changed, [*AUDIT_TEXTS, "address", "request_id"])
        return len(changed)


def purge_audit(*, before: datetime, dry_run: bool = False) -> int:
    """Delete entries that are older, BATCH at a time. Return how many, or how many there are."""
    if dry_run:
        return AuditEntry.objects.filter(at__lt=before).count()
    count = 0
    while deleted := _purge_some(before):
        count += deleted
    return count


@retried
def _purge_some(before: datetime) -> int:
    with transaction.atomic(), window(PURGE, before=before):
        ids = AuditEntry.objects.filter(at__lt=before).order_by("at").values_list("id", flat=True)[:BATCH]
        return models.QuerySet(AuditEntry).filter(id__in=list(ids)).delete()[0]
