"""The audit log in the admin: read, filtered, never changed."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext, pgettext_lazy
from unfold.decorators import display

from tenants.admin.tenants import MAX_CHANGE_LENGTH, MAX_CHANGES
from tenants.admin.words import action_in_words, actor_in_words, changes_in_words, code_in_words, name_in_words, with_code
from tenants.models import AuditEntry
from waule.core.admin import DayRangeFilter, HistoryAdmin, SeenValuesFilter, badge, short_json


class ActionFilter(SeenValuesFilter):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = pgettext("audit log", "Action")

    def in_words(self, value: str) -> str:
        return action_in_words(value)


class ObjectFilter(admin.SimpleListFilter):
    """The history of one object, as its own page asks for it: `tenants.tenant:<id>`."""

    title = _("object")
    parameter_name = "object"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        asked = request.GET.get(self.parameter_name, "")
        return [(asked, asked.partition(":")[2])] if asked else []

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        kind, _colon, key = (self.value() or "").partition(":")
        return queryset.filter(target_type=kind, target_id=key) if key else queryset


class ActorFilter(SeenValuesFilter):
    """Who did it: each has an index of its own to be found by."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = _("who")

    def in_words(self, value: str) -> str:
        return actor_in_words(value)


@admin.register(AuditEntry)
class AuditEntryAdmin(HistoryAdmin):
    list_display = ("at", "shown_actor", "action_badge", "target", "shown_changes", "shown_reason", "address")
    list_filter = (("actor", ActorFilter), ("at", DayRangeFilter), ("action", ActionFilter), ObjectFilter)
    exact_search = ("pk", "actor", "target_id", "request_id")
    search_help_text = _("Who, object's id or request's id")
    fields = (
        *("at", "shown_actor", "shown_action", "target", "shown_changes", "shown_reason"),
        *("address", "request_id", "shown_before", "shown_after"),
    )
    readonly_fields = fields

    def heading(self, row: AuditEntry) -> str:
        return f"{action_in_words(row.action)} · {self.target(row)}"

    @display(description=_("Who"))
    def shown_actor(self, entry: AuditEntry) -> str:
        return actor_in_words(entry.actor)

    @display(description=pgettext_lazy("audit log", "Action"))
    def action_badge(self, entry: AuditEntry) -> Any:
        return badge(action_in_words(entry.action))

    @display(description=pgettext_lazy("audit log", "Action"))
    def shown_action(self, entry: AuditEntry) -> Any:
        return with_code(action_in_words(entry.action), entry.action)

    @display(description=_("Object"))
    def target(self, entry: AuditEntry) -> str:
        return name_in_words(entry.target_name) or " ".join(filter(None, (entry.target_type, entry.target_id))) or "–"

    @display(description=_("What changed"))
    def shown_changes(self, entry: AuditEntry) -> Any:
        lines = changes_in_words(entry.action, entry.before, entry.after, entry.target_type)
        shown = [line if len(line) <= MAX_CHANGE_LENGTH else f"{line[:MAX_CHANGE_LENGTH]}…" for line in lines[:MAX_CHANGES]]
        if len(lines) > MAX_CHANGES:
            shown.append("…")
        return format_html_join("", '<span class="waule-change">{}</span>', ((line,) for line in shown)) or "–"

    @display(description=_("Reason"))
    def shown_reason(self, entry: AuditEntry) -> str:
        return code_in_words(entry.reason) or "–"

    @display(description=_("Before"))
    def shown_before(self, entry: AuditEntry) -> Any:
        return short_json(entry.before)

    @display(description=_("After"))
    def shown_after(self, entry: AuditEntry) -> Any:
        return short_json(entry.after)
