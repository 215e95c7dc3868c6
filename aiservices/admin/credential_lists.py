"""Sora tokens and Gemini keys: which columns their lists and pages have."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from aiservices.admin.credential_forms import SoraTokenForm
from aiservices.admin.credentials import CredentialAdmin, TroubleFilter
from aiservices.credentials import sora as sora_sync
from aiservices.credentials.models import GeminiKey, SoraToken
from waule.core.admin import badge, in_readers_language, short_json

POOL_FIELDS = (("priority", "weight"), ("max_in_flight", "daily_limit"))
DETECTED_FIELDS = (
    *("state_badge", "cooling_until", "shown_model_cooldowns", "accepted_at", "today", "in_flight", "last_used_at"),
    *("shown_error", "last_error_at", "shown_attempts"),
)


@admin.register(SoraToken)
class SoraTokenAdmin(CredentialAdmin):
    form = SoraTokenForm
    list_display = ("shown_name", "shown_secret", "switch", "state_badge", "step", "today", "cooling_until", "expires_at")
    list_filter = (TroubleFilter, "is_active", "state", "image_enabled", "video_enabled")
    search_fields = ("email", "name", "remark")
    fieldsets = (
        (None, {"fields": (("name", "email"), "remark")}),
        (_("Secrets"), {"fields": ("secret", "session_token", "refresh_token", "client_id", "proxy_url")}),
        (_("Switch"), {"fields": ("is_active", "disabled_reason", "reenable_after_cooldown")}),
        (_("Uses"), {"fields": (("image_enabled", "image_concurrency"), ("video_enabled", "video_concurrency"), *POOL_FIELDS)}),
        (_("Detected state"), {"fields": (*DETECTED_FIELDS, "expires_at", "step", "shown_push_error", "shown_conflict")}),
    )
    readonly_fields = (*DETECTED_FIELDS, "expires_at", "step", "shown_push_error", "shown_conflict")

    def tell_upstream(self, rows: Sequence[Any]) -> None:
        sora_sync.push_quietly([row.pk for row in rows])

    @display(description=_("Account"))
    def shown_name(self, token: SoraToken) -> str:
        return token.email or token.name or token.masked

    @display(description=_("In step with the service"))
    def step(self, token: SoraToken) -> Any:
        if token.conflict or token.is_missing_there:
            return badge(_("Conflict") if token.conflict else _("Missing there"), "danger")
        return badge(_("To be pushed"), "warning") if token.to_push else badge(_("In step"), "success")

    @display(description=_("Why not pushed"))
    def shown_push_error(self, token: SoraToken) -> str:
        return in_readers_language(token.push_error) or "–"

    @display(description=_("Conflict"))
    def shown_conflict(self, token: SoraToken) -> Any:
        return short_json(token.conflict)


@admin.register(GeminiKey)
class GeminiKeyAdmin(CredentialAdmin):
    list_display = ("shown_name", "shown_secret", "switch", "state_badge", "today", "cooling_until", "last_used_at")
    list_filter = (TroubleFilter, "is_active", "state")
    search_fields = ("name", "masked")
    fieldsets = (
        (None, {"fields": ("name", "secret")}),
        (_("Switch"), {"fields": ("is_active", "disabled_reason")}),
        (_("Uses"), {"fields": POOL_FIELDS}),
        (_("Detected state"), {"fields": DETECTED_FIELDS}),
    )
    readonly_fields = DETECTED_FIELDS

    @display(description=_("Name"))
    def shown_name(self, key: GeminiKey) -> str:
        return key.name or key.masked
