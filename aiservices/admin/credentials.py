"""Sora tokens and Gemini keys in the admin: lists, forms, and the pages and actions that call the verbs."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path, reverse
from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.html import format_html_join
from django.utils.timezone import localtime
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.decorators import action, display

from aiservices.admin.credential_forms import CredentialForm, ReasonForm, UseAgainForm
from aiservices.credentials import checks as credential_tests
from aiservices.credentials import pool
from aiservices.credentials import services as credentials
from aiservices.credentials.models import Credential, CredentialLease, GeminiKey, SoraToken
from aiservices.monitoring.services_page.credentials import CREDENTIAL_COLOURS, WELL, shown_error, with_trouble
from billing.admin.words import error_in_words
from tenants.admin.audited import AuditHistory
from tenants.admin.words import with_code
from waule.core.admin import PageButton, actor_of, admin_page, badge, badge_of_bool, in_readers_language, next_page
from waule.core.db.transactions import in_current_transaction
from waule.core.errors import NotFound, WauleError

MAX_ACTED = 500  # rows that one bulk action changes
MAX_TESTED = 50  # rows that one bulk action tests: the reader waits for them
MAX_NAMED = 10  # rows that a message names


class Act(NamedTuple):
    """Something that is done with credentials, one or many. `intro` says before what cannot be undone."""

    title: Promise
    verb: Promise
    icon: str
    form: type[forms.Form] = forms.Form
    limit: int = MAX_ACTED
    is_danger: bool = False
    intro: Promise | str = ""


ACTS = {
    "test": Act(_("Test"), _("Test"), "network_check", limit=MAX_TESTED),
    "enable": Act(_("Enable"), _("Enable"), "toggle_on"),
    "use_again": Act(
        _("Use again now"),
        _("Use again now"),
        "restart_alt",
        form=UseAgainForm,
        intro=_("This cannot be undone: its rest ends for every model. If the provider still refuses it, it rests again."),
    ),
    "disable": Act(_("Disable"), _("Disable"), "toggle_off", form=ReasonForm, is_danger=True),
}


VERBS: dict[str, Callable[..., Any]] = {
    "enable": credentials.enable,
    "disable": credentials.disable,
    "use_again": credentials.use_again,
}


def timestamp(at: datetime) -> str:
    return date_format(localtime(at), "DATETIME_FORMAT")


def said(outcome: str, message: str) -> str:
    """Return how an attempt went, in the reader's language, and what was said of it."""
    name = str(dict(CredentialLease.Outcome.choices).get(outcome, _("Out now")))
    return f"{name}: {in_readers_language(message)}" if message and message != outcome else name


class TroubleFilter(admin.SimpleListFilter):
    title = _("needs attention")
    parameter_name = "hand"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("yes", _("Yes"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return with_trouble(queryset).filter(trouble__lt=WELL) if self.value() else queryset


class CredentialAdmin(AuditHistory):
    """An upstream key: what the operator wants beside what the system has detected. Changes go through the verbs."""

    is_large = False
    form = CredentialForm
    ordering = ("-created_at",)
    actions = ("test_selected", "use_again_selected", "enable_selected", "disable_selected", "export_selected")

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).filter(pk__in=credentials.rows(self.model.provider).values("pk"))

    @display(description=_("Secret"))
    def shown_secret(self, credential: Credential) -> str:
        return credential.masked

    @display(description=_("Switch"), ordering="is_active")
    def switch(self, credential: Credential) -> Any:
        return badge_of_bool(credential.is_active, _("On"), _("Off"))

    @display(description=_("State"), ordering="state")
    def state_badge(self, credential: Credential) -> Any:
        name = _("Half-open") if credential.is_on_trial else credential.get_state_display()
        return badge(name, CREDENTIAL_COLOURS[credential.state])

    @display(description=_("Today"))
    def today(self, credential: Credential) -> str:
        return _("%(uses)s uses, %(errors)s errors") % {"uses": credential.uses_today, "errors": credential.errors_today}

    @display(description=_("Last error"))
    def shown_error(self, credential: Credential) -> Any:
        said = shown_error(credential)
        return with_code(error_in_words(said), said)

    @display(description=_("Rests for models"))
    def shown_model_cooldowns(self, credential: Credential) -> Any:
        rows = pool.model_cooldowns([credential.pk]).get(credential.pk, [])
        lines = ((row.model, timestamp(row.cooling_until), said(row.outcome, row.message)) for row in rows)
        return format_html_join("", "<div>{}: {} · {}</div>", lines) or "–"

    @display(description=_("Last attempts"))
    def shown_attempts(self, credential: GeminiKey | SoraToken) -> Any:
        """Return what the last uses met, newest first, in the provider's own words."""
        lines = (
            (timestamp(lease.created_at), lease.model or "–", said(lease.outcome, lease.message))
            for lease in credentials.attempts(credential)
        )
        return format_html_join("", "<div>{} · {} · {}</div>", lines) or "–"

    # --- forms -----------------------------------------------------------------------------------------------------

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except WauleError as error:  # from a verb; the form's transaction is rolled back
            messages.error(request, str(error))
            return redirect(request.get_full_path())

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        editable = credentials.EDITABLE[obj.provider] | {"secret", "is_active"}
        given = {name: form.cleaned_data[name] for name in form.changed_data if name in editable}
        who: dict[str, Any] = {"actor": actor_of(request), "request": request}
        if change:
            if given or "disabled_reason" in form.changed_data:
                given.setdefault("is_active", obj.is_active)
                reason = form.cleaned_data["disabled_reason"]
                row = in_current_transaction(credentials.edit)(credential=obj, changes=given, reason=reason, **who)
                transaction.on_commit(lambda: self.tell_upstream([row]))
            return
        row = in_current_transaction(credentials.add)(provider=obj.provider, **given, **who)
        obj.pk = row.pk
        transaction.on_commit(lambda: self.tell_upstream([row]))

    def tell_upstream(self, rows: Sequence[Any]) -> None:
        """Push the change to the Sora service once it is committed."""

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        in_current_transaction(credentials.delete)(credential=obj, actor=actor_of(request), request=request)
        transaction.on_commit(lambda: self.tell_upstream([obj]))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet) -> None:
        rows = list(queryset)
        for row in rows:
            try:
                credentials.delete(credential=row, actor=actor_of(request), request=request)
            except NotFound:
                continue  # someone else was quicker
        self.tell_upstream(rows)

    # --- acts ------------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.act_view)
        name = f"aiservices_{self.opts.model_name}"
        acts = [path(f"<uuid:pk>/{act}/", view, {"name": act}, name=f"{name}_{act}") for act in ACTS]
        return [*acts, *super().get_urls()]

    def page_buttons(self, request: HttpRequest, row: Any) -> list[PageButton]:
        if not self.has_change_permission(request):
            return []
        is_resting = row.state != row.State.READY or pool.model_cooldowns([row.pk])
        names = ["test", *(["use_again"] if is_resting else []), "disable" if row.is_active else "enable"]
        pages = [(ACTS[name], reverse(f"admin:aiservices_{self.opts.model_name}_{name}", args=[row.pk])) for name in names]
        return [PageButton(act.title, link, act.icon) for act, link in pages]

    def act_view(self, request: HttpRequest, pk: UUID, name: str) -> HttpResponse:
        """Ask first where it is opened; a POST does it, and goes back to where the reader came from."""
        if not self.has_change_permission(request):
            raise PermissionDenied
        row = get_object_or_404(self.get_queryset(request), pk=pk)
        back = next_page(request, reverse(f"admin:aiservices_{self.opts.model_name}_change", args=[pk]))
        form = ACTS[name].form(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            self.act(request, [row], name, form)
            return redirect(back)
        return self.act_page(request, [row], name, form, back=back, hidden=[("next", back)])

    @action(description=_("Test the selected ones"), permissions=["change"])
    def test_selected(self, request: HttpRequest, queryset: QuerySet) -> HttpResponse | None:
        return self.act_on_many(request, queryset, "test")

    @action(description=_("Use the selected ones again now"), permissions=["change"])
    def use_again_selected(self, request: HttpRequest, queryset: QuerySet) -> HttpResponse | None:
        return self.act_on_many(request, queryset, "use_again")

    @action(description=_("Enable the selected ones"), permissions=["change"])
    def enable_selected(self, request: HttpRequest, queryset: QuerySet) -> HttpResponse | None:
        return self.act_on_many(request, queryset, "enable")

    @action(description=_("Disable the selected ones"), permissions=["change"])
    def disable_selected(self, request: HttpRequest, queryset: QuerySet) -> HttpResponse | None:
        return self.act_on_many(request, queryset, "disable")

    def act_on_many(self, request: HttpRequest, queryset: QuerySet, name: str) -> HttpResponse | None:
        """Ask first, as Django does before it deletes: the confirmation is the action once more, with `post`."""
        limit = ACTS[name].limit
        rows = list(queryset[: limit + 1])
        if len(rows) > limit:
            messages.error(request, _("Choose at most %(limit)s at once.") % {"limit": limit})
            return None
        is_confirmed = "post" in request.POST
        form = ACTS[name].form(request.POST if is_confirmed else None)
        if is_confirmed and form.is_valid():
            self.act(request, rows, name, form)
            return None
        hidden = [("action", f"{name}_selected"), ("post", "yes"), *((ACTION_CHECKBOX_NAME, row.pk) for row in rows)]
        return self.act_page(request, rows, name, form, back=request.get_full_path(), hidden=hidden)

    def act_page(self, request: HttpRequest, rows: list[Any], name: str, form: forms.Form, **context: Any) -> HttpResponse:
        act = ACTS[name]
        many = ngettext("%(count)s credential", "%(count)s credentials", len(rows)) % {"count": len(rows)}
        facts = [(row, row.get_state_display()) for row in rows[:MAX_NAMED]]
        more = [(_("and more"), len(rows) - MAX_NAMED)] if len(rows) > MAX_NAMED else []
        return admin_page(
            request,
            "admin/page_form.html",
            title=f"{act.title}: {rows[0] if len(rows) == 1 else many}",
            facts=[*facts, *more],
            form=form,
            verb=act.verb,
            intro=act.intro,
            is_danger=act.is_danger,
            **context,
        )

    def act(self, request: HttpRequest, rows: list[Any], name: str, form: forms.Form) -> None:
        """Call the verb for each, and say how it went."""
        who: dict[str, Any] = {"actor": actor_of(request), "request": request}
        if name == "test":
            tell_tests(request, rows, credential_tests.test_many(rows=rows, **who))
            return
        verb = VERBS[name]
        done = []
        for row in rows:
            try:
                done.append(verb(credential=row, reason=form.cleaned_data.get("reason", ""), **who))
            except NotFound:
                continue  # someone else deleted it
        self.tell_upstream(done)
        count = {"count": len(done)}
        if name == "use_again":
            messages.success(request, ngettext("%(count)s is ready again.", "%(count)s are ready again.", len(done)) % count)
            return
        if name == "enable":
            messages.success(request, ngettext("%(count)s is enabled.", "%(count)s are enabled.", len(done)) % count)
        else:
            messages.success(request, ngettext("%(count)s is disabled.", "%(count)s are disabled.", len(done)) % count)
        warn_of_waiting(request, done)


def tell_tests(request: HttpRequest, rows: list[Any], results: list[credential_tests.TestResult]) -> None:
    """Say how the tests went: how many work, and what is the matter with the others."""
    working = [(row, result) for row, result in zip(rows, results, strict=True) if result.is_working]
    others = [(row, result) for row, result in zip(rows, results, strict=True) if not result.is_working]
    if len(working) == 1:
        said = {"name": working[0][0], "ms": working[0][1].latency_ms}
        messages.success(request, _("%(name)s works (%(ms)s ms).") % said)
    elif working:
        messages.success(request, _("%(count)s work.") % {"count": len(working)})
    for row, result in others[:MAX_NAMED]:
        said = {"name": row, "message": in_readers_language(result.message)}
        if result.is_working is None:
            messages.warning(request, _("%(name)s could not be tested: %(message)s") % said)
        else:
            messages.error(request, _("%(name)s does not work: %(message)s") % said)
    if len(others) > MAX_NAMED:
        messages.error(request, _("And %(count)s more do not work.") % {"count": len(others) - MAX_NAMED})


def warn_of_waiting(request: HttpRequest, rows: Sequence[Any]) -> None:
    """Warn the reader where changes still have to be pushed to the Sora service."""
    waiting = SoraToken.objects.filter(pk__in=[row.pk for row in rows if isinstance(row, SoraToken)]).exclude(to_push=[])
    if waiting.exists():
        messages.warning(request, _("It is saved here, and will be pushed to the Sora service as soon as it answers."))
