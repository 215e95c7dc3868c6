"""The admin's page "AI services", and what it offers for all credentials at once: paste many, sync, check the services."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST
from unfold.widgets import UnfoldAdminTextareaWidget

from aiservices.admin.credentials import ACTS
from aiservices.credentials import pool
from aiservices.credentials import sora as sora_sync
from aiservices.credentials.bulk import ImportResult, import_many
from aiservices.credentials.models import GeminiKey, SoraToken
from aiservices.credentials.pasted import read_lines
from aiservices.monitoring import probes as health
from aiservices.monitoring.models import ServiceStatus
from aiservices.monitoring.services_page.credentials import Section, section, total
from aiservices.monitoring.services_page.generations import MAX_MODELS, Today, models, today
from aiservices.monitoring.services_page.services import HOURS, SERVICE_NAMES, services
from waule.core.admin import actor_of, admin_page, in_readers_language, spaced_number
from waule.core.errors import WauleError

LINE_COLOURS = {"added": "success", "duplicate": "info", "failed": "danger"}
LINE_NAMES = {"added": _("added"), "duplicate": _("duplicate"), "failed": _("invalid")}
MAX_PASTE_LENGTH = 4 << 20


def urls(site: Any) -> list[URLPattern]:
    """Return the pages, for the admin site to serve."""
    return [
        path("ai-services/", site.admin_view(panel_view), name="ai_services"),
        path("ai-services/check/", site.admin_view(check_view), name="ai_services_check"),
        path("ai-services/sync/", site.admin_view(sync_view), name="ai_services_sync"),
        path("ai-services/paste/<str:provider>/", site.admin_view(paste_view), name="ai_services_paste"),
    ]


PERMISSIONS = ("aiservices.view_service", "aiservices.view_soratoken", "aiservices.view_geminikey", "billing.view_aimodel")


def may_see(request: HttpRequest) -> bool:
    """Tell whether there is anything on the page for this reader: services, credentials or models."""
    return any(request.user.has_perm(name) for name in PERMISSIONS)


def _may(request: HttpRequest, permission: str) -> None:
    if not request.user.has_perm(f"aiservices.{permission}"):
        raise PermissionDenied


# --- the page ------------------------------------------------------------------------------------------------------


def panel_view(request: HttpRequest) -> HttpResponse:
    """What the reader may see of it, by their permissions."""
    if not may_see(request):
        raise PermissionDenied
    may = request.user.has_perm
    seen_services = services()
    down = {seen.service.name for seen in seen_services if seen.service.status == ServiceStatus.DOWN}
    sections = [
        section(provider, is_service_down=provider in down)
        for provider in ("sora", "gemini")
        if may(f"aiservices.view_{pool.MODELS[provider]._meta.model_name}")
    ]
    day = today()
    seen_models, model_count, models_off = models(day.by_model)
    return admin_page(
        request,
        "admin/ai_services.html",
        title=_("AI services"),
        cards=_cards(day, sections) if may("aiservices.view_generation") else [],
        services=seen_services if may("aiservices.view_service") else None,
        down=[seen for seen in seen_services if seen.service.name in down],
        hours=HOURS,
        sections=[_section(each, may) for each in sections],
        troubled=total(sections, "troubled"),
        waiting=sum(each.counts.get("waiting", 0) for each in sections),
        models=seen_models if may("billing.view_aimodel") else None,
        model_count=model_count,
        models_off=models_off,
        here=reverse("admin:ai_services"),
    )


def _section(section: Section, may: Callable[[str], bool]) -> dict[str, Any]:
    """Return a section as the template has it: with the names of its pages, and what the reader may do there."""
    options = section.model._meta
    rights = {f"may_{verb}": may(f"aiservices.{verb}_{options.model_name}") for verb in ("add", "change", "delete")}
    pages = {page: f"admin:aiservices_{options.model_name}_{page}" for page in ("changelist", "add", "change", "delete", *ACTS)}
    figures = {"hidden": section.hidden, "hidden_troubled": section.hidden_troubled}
    names = {"title": options.verbose_name_plural, "singular": options.verbose_name}
    return vars(section) | pages | rights | figures | names


def _cards(today: Today, sections: list[Section]) -> list[dict[str, Any]]:
    generations = reverse("admin:aiservices_generation_changelist")
    percent = today.success_percent
    ended = today.images + today.videos + today.errors
    troubled = total(sections, "troubled")
    ready = _("%(ready)s of %(all)s ready") % {
        "ready": spaced_number(total(sections, "ready")),
        "all": spaced_number(total(sections, "all")),
    }
    return [
        {
            "title": _("Images today"),
            "value": spaced_number(today.images),
            "icon": "image",
            "link": f"{generations}?since=24h&type__exact=image",
            "note": _("%(count)s under way") % {"count": spaced_number(today.images_under_way)},
        },
        {
            "title": _("Videos today"),
            "value": spaced_number(today.videos),
            "icon": "movie",
            "link": f"{generations}?since=24h&type__exact=video",
            "note": _("%(count)s under way") % {"count": spaced_number(today.videos_under_way)},
        },
        {
            "title": _("Errors today"),
            "value": spaced_number(today.errors),
            "icon": "error",
            "link": f"{generations}?since=24h&state=failed",
            "note": _("%(count)s of unknown outcome") % {"count": spaced_number(today.unknown)},
            "colour": "danger" if today.errors else "",
        },
        {
            "title": _("Success today"),
            "value": "–" if percent is None else f"{percent:.1f}%",
            "icon": "task_alt",
            "link": f"{generations}?since=24h",
            "note": _("%(count)s generations ended") % {"count": spaced_number(ended)},
        },
        {
            "title": _("Need attention"),
            "value": spaced_number(troubled),
            "icon": "front_hand",
            "link": "#hand",
            "note": ready,
            "colour": "warning" if troubled else "",
        },
    ]


# --- what it offers ------------------------------------------------------------------------------------------------


@require_POST
def check_view(request: HttpRequest) -> HttpResponse:
    """Ask every service now."""
    _may(request, "change_service")
    down = [SERVICE_NAMES[row.name] for row in health.check() if row.status == ServiceStatus.DOWN]
    if down:
        messages.warning(request, _("Checked. Down: %(names)s.") % {"names": ", ".join(str(name) for name in down)})
    else:
        messages.success(request, _("Checked. No service is down."))
    return redirect("admin:ai_services")


@require_POST
def sync_view(request: HttpRequest) -> HttpResponse:
    """Bring tokens and the Sora service into step, and show what was done."""
    _may(request, "change_soratoken")
    try:
        result = sora_sync.sync()
    except WauleError as error:
        said = {"why": in_readers_language(str(error))}
        messages.error(request, _("The Sora service cannot be asked, nothing was changed: %(why)s") % said)
        return redirect("admin:ai_services")
    lists = [
        (_("Both sides changed these; ours counts"), result.conflicts),
        (_("Missing at the Sora service"), result.missing),
        (_("Refused by the Sora service"), result.failed),
        (_("Told to the Sora service"), result.pushed),
        (_("New from the Sora service"), result.adopted),
        (_("Changed by the Sora service"), result.updated),
    ]
    for item in result.failed:
        item["why"] = in_readers_language(item.get("error", ""))
    return admin_page(
        request,
        "admin/sora_sync.html",
        title=_("Sora sync"),
        lists=[(name, items[:MAX_MODELS], len(items)) for name, items in lists if items],
        back=reverse("admin:ai_services"),
    )


class UnechoedTextarea(UnfoldAdminTextareaWidget):
    """A page never shows again what was typed here."""

    def format_value(self, value: Any) -> str:
        return ""


class PasteForm(forms.Form):
    secrets = forms.CharField(
        label=_("One a line"),
        max_length=MAX_PASTE_LENGTH,
        widget=UnechoedTextarea(attrs={"rows": 14, "spellcheck": "false", "autocomplete": "off", "autofocus": True}),
        help_text=_("At most 1000. Empty lines and lines that begin with # are left out."),
    )


@sensitive_post_parameters("secrets")
def paste_view(request: HttpRequest, provider: str) -> HttpResponse:
    """Add what was pasted, a secret a line, and say for each line what became of it; no secret is shown again."""
    if provider not in pool.MODELS:
        raise Http404
    model: type[GeminiKey | SoraToken] = pool.MODELS[provider]
    _may(request, f"add_{model._meta.model_name}")
    form = PasteForm(request.POST if request.method == "POST" else None)
    back = reverse("admin:ai_services")
    title = _("Paste %(names)s") % {"names": model._meta.verbose_name_plural}
    if request.method == "POST" and form.is_valid():
        lines = read_lines(provider, form.cleaned_data["secrets"])
        items = [line.item(provider) for line in lines]
        try:
            result = import_many(provider=provider, items=items, actor=actor_of(request), request=request)
        except WauleError as error:
            form.add_error("secrets", str(error.details.get("fields", {}).get("items", [error])[0]))
        else:
            if provider == "sora":
                sora_sync.push_quietly(result.touched)
            return admin_page(
                request,
                "admin/pasted.html",
                title=title,
                counts=[(LINE_NAMES[name], count, LINE_COLOURS[name]) for name, count in _counts(result)],
                lines=[_line(line.number, row) for line, row in zip(lines, result.results, strict=True)],
                waiting=SoraToken.objects.filter(pk__in=result.touched).exclude(to_push=[]).count(),
                again=request.path,
                all=reverse(f"admin:aiservices_{model._meta.model_name}_changelist"),
                back=back,
            )
    return admin_page(request, "admin/page_form.html", title=title, form=form, verb=_("Add"), back=back, hidden=[])


def _counts(result: ImportResult) -> list[tuple[str, int]]:
    return [("added", result.added), ("duplicate", result.updated + result.skipped), ("failed", result.failed)]


def _line(number: int, row: dict[str, Any]) -> dict[str, Any]:
    status = row["status"] if row["status"] in ("added", "failed") else "duplicate"
    # Why a line was refused begins with the name of the field: there is only one here.
    why = str(row.get("error") or row.get("note", "")).removeprefix("secret: ")
    return {
        "number": number,
        "masked": row.get("secret", ""),
        "name": LINE_NAMES[status],
        "colour": LINE_COLOURS[status],
        "why": why,
    }
