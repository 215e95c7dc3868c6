"""Webhooks of tenants, and the messages on their way to them, with every try."""

import uuid
from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.admin import TabularInline
from unfold.decorators import display

from tenants import audit
from tenants.admin.audited import AuditedAdmin
from tenants.admin.words import event_in_words, problem_in_words, with_code
from tenants.models import ApiKey
from tenants.webhooks import outbox
from tenants.webhooks.models import OutboxAttempt, OutboxMessage, Webhook
from waule.core.admin import (
    HistoryAdmin,
    PageButton,
    SecretsForm,
    SeenValuesFilter,
    actor_of,
    admin_page,
    badge,
    link,
    short_json,
)


class WebhookForm(SecretsForm):
    class Meta:
        model = Webhook
        fields = ("tenant", "url", "secret", "is_active")


@admin.register(Webhook)
class WebhookAdmin(AuditedAdmin):
    form = WebhookForm
    list_display = ("tenant", "url", "is_active")
    list_select_related = ("tenant",)
    autocomplete_fields = ("tenant",)
    exact_search = ("tenant__id",)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        if request.method == "GET" and ApiKey.objects.exclude(webhook_url="").exists():
            address = f"{reverse('admin:tenants_apikey_changelist')}?webhook_url__isempty=0"
            text = _("These are webhooks of tenants. Some API keys have a webhook of their own:")
            named = _("API keys with a webhook")
            messages.info(request, format_html('{} <a class="waule-link" href="{}">{}</a>', text, address, named))
        return super().changelist_view(request, extra_context)


STATE_COLOURS = {"pending": "warning", "delivered": "success", "failed": "danger"}


class AttemptInline(TabularInline):
    model = OutboxAttempt
    verbose_name_plural = gettext_lazy("Attempts")
    hide_title = True
    fields = readonly_fields = ("at", "host", "status", "shown_problem", "elapsed_ms")
    extra = 0
    ordering = ("-id",)
    can_delete = False

    @display(description=gettext_lazy("problem"))
    def shown_problem(self, attempt: OutboxAttempt) -> Any:
        return with_code(problem_in_words(attempt.problem), attempt.problem)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class EventFilter(SeenValuesFilter):
    def in_words(self, value: str) -> str:
        return str(event_in_words(value))


@admin.register(OutboxMessage)
class OutboxMessageAdmin(HistoryAdmin):
    list_display = ("created_at", "shown_kind", "to", "state_badge", "tries", "shown_next")
    list_display_links = ("created_at",)
    list_filter = ("state", ("kind", EventFilter))
    list_select_related = ("tenant",)
    exact_search = ("id", "tenant__id")
    fields = (("created_at", "shown_kind", "to"), ("state_badge", "tries", "shown_next"), "shown_payload")
    readonly_fields = ("created_at", "shown_kind", "to", "state_badge", "tries", "shown_next", "shown_payload")
    inlines = (AttemptInline,)

    def heading(self, row: OutboxMessage) -> str:
        return event_in_words(row.kind)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(resend_view)
        return [path("<uuid:message_id>/resend/", view, name="tenants_outboxmessage_resend"), *super().get_urls()]

    def page_buttons(self, request: HttpRequest, row: OutboxMessage) -> list[PageButton]:
        if not request.user.has_perm("tenants.change_outboxmessage"):
            return []
        return [PageButton(_("Send again"), reverse("admin:tenants_outboxmessage_resend", args=[row.pk]), "send")]

    @display(description=gettext_lazy("Event"))
    def shown_kind(self, message: OutboxMessage) -> Any:
        return with_code(event_in_words(message.kind), message.kind)

    @display(description=gettext_lazy("To"))
    def to(self, message: OutboxMessage) -> Any:
        host = urlsplit(message.url).hostname or ""
        return link(message.tenant) if message.tenant_id else host or _("Operator")

    @display(description=gettext_lazy("State"))
    def state_badge(self, message: OutboxMessage) -> Any:
        return badge(message.get_state_display(), STATE_COLOURS.get(message.state, ""))

    @display(description=gettext_lazy("Next try"))
    def shown_next(self, message: OutboxMessage) -> Any:
        if message.state != OutboxMessage.State.PENDING:
            return "–"
        return date_format(timezone.localtime(message.next_at), "DATETIME_FORMAT")

    @display(description=gettext_lazy("Content"))
    def shown_payload(self, message: OutboxMessage) -> Any:
        return short_json(message.payload)


def resend_view(request: HttpRequest, message_id: uuid.UUID) -> HttpResponse:
    """Ask first; a POST sends it again."""
    if not request.user.has_perm("tenants.change_outboxmessage"):
        raise PermissionDenied
    message = get_object_or_404(OutboxMessage.objects.select_related("tenant"), id=message_id)
    back = reverse("admin:tenants_outboxmessage_change", args=[message.id])
    if request.method == "POST":
        outbox.send_again(message)
        audit.record(actor=actor_of(request), action="outbox.resend", target=message, request=request)
        messages.success(request, _("It is sent again within seconds."))
        return redirect(back)
    facts = [
        (_("Event"), with_code(event_in_words(message.kind), message.kind)),
        (_("To"), str(message.tenant or urlsplit(message.url).hostname or _("Operator"))),
        (_("State"), message.get_state_display()),
    ]
    return admin_page(
        request,
        "admin/money_form.html",
        title=_("Send a message again"),
        form=forms.Form(),
        facts=facts,
        preview=facts[:1],
        verb=_("Send again"),
        back=back,
    )
