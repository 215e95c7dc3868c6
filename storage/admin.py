"""Buckets, quotas and stored objects in the admin."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.defaultfilters import filesizeformat
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext, pgettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import StackedInline
from unfold.decorators import display

from storage.backends import backend_of_config, folder_of
from storage.checks.backend import check
from storage.media import url_of
from storage.models import OssConfig, StorageUsage, StoredObject
from storage.quota_field import QuotaField
from tenants import audit
from tenants.admin.audited import AuditedAdmin
from tenants.admin.tabs import TenantPanel, add_inline, add_panel
from tenants.models import Tenant
from tenants.principal import Principal
from waule.core.admin import (
    DayRangeFilter,
    HistoryAdmin,
    PageButton,
    RelatedFilter,
    SecretsForm,
    SinceFilter,
    actor_of,
    admin_page,
    badge,
    badge_of_bool,
    flat,
    link,
    local_url,
)
from waule.core.crypto.encryption import SecretUnreadable

DRIVERS = {"local": _("This machine"), **dict(OssConfig.Driver.choices)}


class OssConfigForm(SecretsForm):
    """A bucket of the tenant's own is complete, or is not saved: else every result would wait for it."""

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if cleaned.get("mode") == OssConfig.Mode.CUSTOM:
            needed = ["bucket", "access_key_id", "access_key_secret"]
            needed += ["region"] if cleaned.get("driver") == OssConfig.Driver.OSS else []
            for name in needed:
                if not cleaned.get(name) and name not in self.errors:
                    self.add_error(name, self.fields[name].error_messages["required"])
        return cleaned


@admin.register(OssConfig)
class OssConfigAdmin(AuditedAdmin):
    form = OssConfigForm
    list_display = ("tenant_link", "mode_badge", "driver", "region", "bucket", "custom_domain", "is_public", "updated_at")
    list_filter = ("mode", "driver")
    list_select_related = ("tenant",)
    search_fields = ("bucket", "tenant__name")
    search_help_text = _("Bucket or tenant")
    autocomplete_fields = ("tenant",)
    fieldsets = (
        (None, {"fields": ("tenant", "mode")}),
        (
            _("The tenant's own bucket"),
            {"fields": (("driver", "region"), ("bucket", "endpoint"), ("custom_domain", "is_public"))},
        ),
        (_("Access"), {"fields": ("access_key_id", "access_key_secret")}),
    )

    @display(description=_("Tenant"))
    def tenant_link(self, config: OssConfig) -> str:
        return str(config.tenant)

    @display(description=_("Storage"))
    def mode_badge(self, config: OssConfig) -> Any:
        return badge(config.get_mode_display(), "info" if config.mode == OssConfig.Mode.CUSTOM else "")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("tenant",) if obj else ()

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(check_view)
        return [path("<int:config_id>/check/", view, name="storage_ossconfig_check"), *super().get_urls()]

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        config: OssConfig | None = kwargs.get("obj")
        if request.method == "GET" and config is not None and config.mode == OssConfig.Mode.PLATFORM and config.bucket:
            messages.warning(request, _("This bucket is not used: results go to the platform's storage, as “Storage” says."))
        return super().render_change_form(request, context, *args, **kwargs)

    def page_buttons(self, request: HttpRequest, row: OssConfig) -> list[PageButton]:
        if not self.has_change_permission(request, row):
            return []
        return [PageButton(_("Test the bucket"), reverse("admin:storage_ossconfig_check", args=[row.pk]), "network_check")]


def check_view(request: HttpRequest, config_id: int) -> HttpResponse:
    """Ask first; a POST writes, reads and deletes a small file in the bucket, and says what came of it."""
    if not request.user.has_perm("storage.change_ossconfig"):
        raise PermissionDenied
    config = get_object_or_404(OssConfig.objects.select_related("tenant"), id=config_id)
    back = reverse("admin:storage_ossconfig_change", args=[config.pk])
    if request.method == "POST":
        try:
            checked = check(backend_of_config(config), folder_of(Principal("tenant", str(config.tenant_id))))
        except SecretUnreadable as error:
            messages.error(request, str(error))
            return redirect(back)
        after = {"ok": checked.ok, "reason": checked.reason}
        audit.record(actor=actor_of(request), action="ossconfig.check", target=config, after=after, request=request)
        if checked.ok:
            told = gettext("The bucket works: a file was written, read and deleted in %(ms)s ms.") % {"ms": checked.elapsed_ms}
            if checked.clock_skew_seconds:
                told += " " + gettext("Its clock and ours differ by %(seconds)s s.") % {
                    "seconds": abs(checked.clock_skew_seconds)
                }
            messages.success(request, told)
        else:
            messages.error(request, gettext("The bucket does not work: %(why)s") % {"why": checked.message})
        return redirect(back)
    facts = [
        (_("Tenant"), str(config.tenant)),
        (_("Bucket"), config.bucket or "–"),
        (_("Region"), config.region or "–"),
        (_("Endpoint"), config.endpoint or "–"),
    ]
    asked = _("A small file is written, read and deleted. The settings that are saved are used.")
    return admin_page(
        request,
        "admin/money_form.html",
        title=_("Test the bucket"),
        form=forms.Form(),
        facts=facts,
        preview=[(_("What is done"), asked)],
        verb=_("Test now"),
        back=back,
    )


@admin.register(StoredObject)
class StoredObjectAdmin(HistoryAdmin):
    list_display = ("shown_key", "owner", "size", "content_type", "where", "state", "created_at")
    list_filter = (
        SinceFilter,
        ("created_at", DayRangeFilter),
        ("waiting_since", admin.EmptyFieldListFilter),
        ("tenant", RelatedFilter),
    )
    list_select_related = ("tenant", "user")
    exact_search = ("id", "object_key", "tenant__id")
    search_help_text = _("Key, id or tenant's id")
    fields = (
        "shown_key",
        "owner",
        ("size", "content_type"),
        ("where", "bucket", "is_own"),
        "address",
        ("state", "waiting_since"),
        ("created_at", "released_at"),
    )
    readonly_fields = flat(fields)

    @display(description=_("Object key"))
    def shown_key(self, stored: StoredObject) -> str:
        return stored.object_key or str(stored.id)

    @display(description=_("Owner"))
    def owner(self, stored: StoredObject) -> Any:
        return link(stored.tenant or stored.user)

    @display(description=_("Size"))
    def size(self, stored: StoredObject) -> str:
        return filesizeformat(stored.size_bytes)

    @display(description=_("where"))
    def where(self, stored: StoredObject) -> str:
        return str(DRIVERS.get(stored.driver, stored.driver)) or "–"

    @display(description=_("State"))
    def state(self, stored: StoredObject) -> Any:
        if stored.waiting_since is not None and stored.released_at is None:
            return badge(_("Waits for its bucket"), "warning")
        return badge_of_bool(stored.released_at is None, pgettext("state of a stored object", "Stored"), _("Deleted"))

    @display(description=_("URL"))
    def address(self, stored: StoredObject) -> Any:
        address = local_url(url_of(stored)) if stored.driver and stored.released_at is None else ""
        if not address:
            return stored.url or "–"
        return format_html('<a href="{}" class="waule-link" rel="noreferrer" target="_blank">{}</a>', address, stored.url)


class QuotaForm(forms.ModelForm):
    """A quota is typed with its unit: "10" was taken for bytes where 10 GB were meant."""

    quota_bytes = QuotaField(
        label=_("Quota"), required=False, help_text=_("With a unit, such as 500 MB or 10 GB. Empty: no quota.")
    )


class StorageInline(StackedInline):
    """What a tenant stores, on its page; only the quota is for people to set."""

    model = StorageUsage
    form = QuotaForm
    fields = ("shown_used", "quota_bytes")
    readonly_fields = ("shown_used",)
    extra = 1  # a quota can be set before anything is stored
    max_num = 1
    can_delete = False
    tab = True
    verbose_name_plural = _("Storage")

    @display(description=_("Used"))
    def shown_used(self, usage: StorageUsage) -> str:
        return filesizeformat(usage.used_bytes)


def _stored(tenant: Tenant) -> dict[str, Any]:
    """Return how full it is, and where results go."""
    usage: StorageUsage | None = getattr(tenant, "storage", None)
    config: OssConfig | None = getattr(tenant, "oss_config", None)
    used, quota = (usage.used_bytes, usage.quota_bytes) if usage else (0, None)
    return {
        "used": filesizeformat(used),
        "quota": filesizeformat(quota) if quota is not None else "",
        "percent": min(100, round(100 * used / quota)) if quota else None,
        "config": config,
        "objects": f"{reverse('admin:storage_storedobject_changelist')}?tenant__id__exact={tenant.pk}",
    }


add_inline(StorageInline)
# The quota's form has the same name (its prefix), and so stands in the same tab.
add_panel(TenantPanel(40, "storage", _("Storage"), "storage.view_storageusage", "admin/tenant/storage.html", _stored))
