"""Generations in the admin."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils.functional import SimpleLazyObject
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import action, display

from aiservices.admin import settle as admin_settle
from aiservices.admin.story import story
from aiservices.admin.words import flags_in_words
from aiservices.generations.approved_settlements import PERMISSION as SETTLE_PERMISSION
from aiservices.generations.models import Generation
from aiservices.generations.settlement import outcomes
from billing.admin.words import charge_in_words, error_in_words
from storage.media import path_of
from tenants.admin.words import with_code
from tenants.selectors import owners_named
from waule.core.admin import (
    DayRangeFilter,
    HistoryAdmin,
    PageButton,
    RelatedFilter,
    SinceFilter,
    badge,
    flat,
    in_readers_language,
    link,
    local_url,
    mode_badge,
    short_json,
    spaced_number,
    thumbnail,
)

STATE_COLOURS = {
    "new": "",
    "queued": "primary",
    "running": "info",
    "succeeded": "success",
    "failed": "danger",
    "canceled": "default",
    "unknown": "warning",
}


@admin.register(Generation)
class GenerationAdmin(HistoryAdmin):
    list_display = ("picture", "shown_prompt", "owner", "model", "state_badge", "shown_credits", "created_at")
    list_display_links = ("picture", "shown_prompt")
    list_filter = (
        SinceFilter,
        ("created_at", DayRangeFilter),
        "type",
        ("state", ChoicesDropdownFilter),
        ("model", RelatedFilter),
        ("tenant", RelatedFilter),
        ("user", RelatedFilter),
    )
    list_select_related = ("tenant", "user", "model")
    exact_search = ("id", "charge__id", "hold__id", "tenant__id", "user__id")
    search_help_text = _("Id, charge, hold, tenant's name or user name")
    request_fields = (
        "prompt",
        ("owner", "api_key_link", "mode_badge"),
        ("model_link", "type"),
        ("request_id", "shown_id"),
        "shown_parameters",
    )
    outcome_fields = (
        ("state_badge", "shown_progress", "shown_flags"),
        ("shown_credits", "charge_link", "hold_link"),
        ("shown_error", "shown_error_message"),
        ("created_at", "started_at", "completed_at"),
    )
    fieldsets = (
        (None, {"fields": ("results",)}),
        (_("Story"), {"fields": ("shown_story",)}),
        (_("Request"), {"fields": request_fields}),
        (pgettext_lazy("of a generation", "Outcome"), {"fields": outcome_fields}),
    )
    readonly_fields = ("results", "shown_story", *flat(request_fields), *flat(outcome_fields))

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(result_view)
        settle = self.admin_site.admin_view(admin_settle.settle_view)
        return [
            path("<uuid:generation_id>/result/<int:number>/", view, name="aiservices_generation_result"),
            path("<uuid:generation_id>/settle/<str:how>/", settle, name="aiservices_generation_settle"),
            path("settle/", self.admin_site.admin_view(admin_settle.settle_many_view), name="aiservices_generation_settle_many"),
            *super().get_urls(),
        ]

    def page_buttons(self, request: HttpRequest, row: Generation) -> list[PageButton]:
        buttons = admin_settle.settle_buttons(request, row)
        charge = row.charge
        if charge is not None and charge.refunded < charge.credits and request.user.has_perm("billing.refund_charge"):
            buttons.append(PageButton(_("Refund"), reverse("admin:billing_refund", args=[charge.pk]), "undo"))
        return buttons

    actions = ("settle_selected",)

    def has_settle_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(SETTLE_PERMISSION)

    @action(description=_("Settle the selected unknown outcomes"), permissions=["settle"])
    def settle_selected(self, request: HttpRequest, queryset: QuerySet) -> HttpResponse | None:
        return admin_settle.select_many(request, queryset)

    def search_conditions(self, term: str) -> list[Q]:
        tenants, users = owners_named(term)
        return [*super().search_conditions(term), Q(tenant__in=tenants), Q(user__in=users)]

    @display(description="")
    def picture(self, generation: Generation) -> Any:
        first = next(iter(urls_of(generation)), "")
        return thumbnail(first, is_video=generation.type == Generation.Type.VIDEO)

    @display(description=_("Prompt"))
    def shown_prompt(self, generation: Generation) -> Any:
        return format_html('<span class="waule-prompt" title="{0}">{0}</span>', generation.prompt[:300])

    @display(description=_("Owner"))
    def owner(self, generation: Generation) -> Any:
        return link(generation.tenant or generation.user)

    @display(description=_("State"))
    def state_badge(self, generation: Generation) -> Any:
        return badge(generation.get_state_display(), STATE_COLOURS[generation.state])

    @display(description=_("Mode"))
    def mode_badge(self, generation: Generation) -> Any:
        return mode_badge(generation.mode)

    @display(description=_("Credits"))
    def shown_credits(self, generation: Generation) -> Any:
        return _("free") if generation.is_free else spaced_number(generation.credits_charged)

    @display(description=pgettext_lazy("of a generation", "Result"))
    def results(self, generation: Generation) -> Any:
        """Return the pictures as large as the page allows; what cannot be shown safely is named."""
        shown = [{"address": local_url(url), "url": url} for url in urls_of(generation)]
        is_video = generation.type == Generation.Type.VIDEO
        return render_to_string("admin/generation_results.html", {"results": shown, "is_video": is_video})

    @display(description=_("Model"))
    def model_link(self, generation: Generation) -> Any:
        return link(generation.model)

    @display(description=_("API key"))
    def api_key_link(self, generation: Generation) -> Any:
        return link(generation.api_key)

    @display(description=_("Parameters"))
    def shown_parameters(self, generation: Generation) -> Any:
        return short_json(generation.parameters)

    @display(description=_("ID"))
    def shown_id(self, generation: Generation) -> str:
        return str(generation.id)

    @display(description=_("Progress"))
    def shown_progress(self, generation: Generation) -> str:
        return f"{generation.progress} %"

    @display(description=_("Error"))
    def shown_error(self, generation: Generation) -> Any:
        return with_code(error_in_words(generation.error_code), generation.error_code)

    @display(description=_("Error message"))
    def shown_error_message(self, generation: Generation) -> str:
        return in_readers_language(generation.error_message) or "–"

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        generation = super().get_object(request, object_id, from_field)
        if generation is not None:  # made once: the theme's template asks for a field's value several times
            may_refund = request.user.has_perm("billing.refund_charge")
            generation.story = SimpleLazyObject(lambda: story(generation, may_refund=may_refund))
        return generation

    @display(description=_("What happened"))
    def shown_story(self, generation: Generation) -> Any:
        return generation.story  # type: ignore[attr-defined]

    @display(description=_("Flags"))
    def shown_flags(self, generation: Generation) -> str:
        return flags_in_words(generation.flags)

    @display(description=_("Charge"))
    def charge_link(self, generation: Generation) -> Any:
        return link(generation.charge, charge_in_words(generation.charge))

    @display(description=_("Hold"))
    def hold_link(self, generation: Generation) -> Any:
        return link(generation.hold)


def urls_of(generation: Generation) -> list[str]:
    """Return the addresses of its results for pages of ours, whatever a provider may have made of the list.

    What lies in a bucket may have to be signed: that is done when the page asks for it (`result_view`).
    """
    outputs = generation.outputs if isinstance(generation.outputs, list) else []
    shown = [each for each in outputs if isinstance(each, dict) and isinstance(each.get("url"), str)]
    return [
        each["url"]
        if "objectKey" not in each or path_of(each["objectKey"]).is_file()
        else reverse("admin:aiservices_generation_result", args=[generation.pk, number])
        for number, each in enumerate(shown)
    ]


def result_view(request: HttpRequest, generation_id: UUID, number: int) -> HttpResponse:
    """Lead to where a result lies now."""
    if not request.user.has_perm("aiservices.view_generation"):
        raise PermissionDenied
    generation = get_object_or_404(Generation, id=generation_id)
    (urls,) = outcomes.urls_of(generation)
    if number >= len(urls):
        raise Http404
    return redirect(urls[number])
