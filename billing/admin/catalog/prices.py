"""Price rules and levels in the admin. What cannot work is refused here as in the catalog file."""

import re
from typing import Any, ClassVar

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Model, QuerySet
from django.forms import BaseInlineFormSet, ModelForm
from django.forms.formsets import DELETION_FIELD_NAME
from django.http import HttpRequest
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy
from unfold.admin import TabularInline
from unfold.decorators import display

from billing.admin import acts
from billing.catalog import pricing
from billing.catalog.file.versions import changes_of
from billing.catalog.file.versions import record as record_version
from billing.catalog.models import BillingPrice, BillingRule, CatalogVersion, LevelConfig, ModelPermission, scope_of
from billing.catalog.rules import check_scope, mark_changed, rule_of
from tenants import audit
from tenants.admin.audited import AuditHistory
from tenants.admin.words import actor_in_words, name_in_words
from waule.core.admin import HistoryAdmin, PageButton, badge, short_json

_ROW_FIELD = re.compile(r"prices\[(\d+)\]\.(\w+)")


class CatalogAdmin(AuditHistory):
    """Pages of catalog rows: deleting many at once raises the catalog's version as deleting one does."""

    is_large = False
    asks_password = True  # what is saved here is what everybody pays from now on

    def note(self, request: HttpRequest, action: str, row: Any, *, before: Any = None, after: Any = None) -> None:
        """Keep what became of the catalog as its next version, and who did it in the audit log."""
        author = f"admin:{request.user.get_username()}"
        audit.record(actor=author, action=action, target=row, before=before, after=after, request=request)
        record_version(author=author, note=f"{row._meta.verbose_name} {row}")

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        if change and not (form.has_changed() or any(formset.has_changed() for formset in formsets)):
            return
        if change:
            self.mark_changed(form.instance)
        row = self.model._default_manager.get(pk=form.instance.pk)
        action = f"{self.opts.model_name}.{'change' if change else 'add'}"
        self.note(request, action, row, before=form.before, after=facts(row))

    def mark_changed(self, row: Any) -> None:
        """Numbers the row anew, where rows of its kind have numbers."""

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        before = facts(obj)
        pk = obj.pk
        super().delete_model(request, obj)
        obj.pk = pk  # the audit log still says which one it was
        self.note(request, f"{self.opts.model_name}.delete", obj, before=before)

    @transaction.atomic
    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for row in queryset:
            self.delete_model(request, row)


def facts(row: Any) -> dict[str, Any] | None:
    """Return a rule with its prices, or a level with its permissions, as the audit log keeps it."""
    if row.pk is None:
        return None
    if isinstance(row, BillingRule):
        return pricing.rule_to_json(rule_of(row, row.prices.order_by("pk")))
    return {
        "level": row.level,
        "maxConcurrency": row.max_concurrency,
        "permissions": list(
            row.permissions.order_by("pk").values("scope", "is_allowed", "daily_limit", "is_free_for_member", "free_daily_limit")
        ),
    }


class CatalogForm(ModelForm):
    """Remembers how the row was before the form changed it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.before = facts(self.instance)


def _kept_forms(formset: BaseInlineFormSet) -> list[ModelForm]:
    """Return the rows that will be there after saving."""
    return [
        form
        for form in formset.forms
        if not form.cleaned_data.get(DELETION_FIELD_NAME) and (form.instance.pk is not None or form.has_changed())
    ]


class RuleForm(CatalogForm):
    class Meta:
        model = BillingRule
        fields = "__all__"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "round_up" in self.fields:
            # Django says "Unknown" of a field that may be empty.
            empty = pgettext_lazy("whole seconds", "By billing type")
            self.fields["round_up"].widget.choices = [("unknown", empty), ("true", _("Yes")), ("false", _("No"))]

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        self.instance.model = self.cleaned_data.get("model")
        self.instance.node_type = self.cleaned_data.get("node_type", "")
        self.instance.module_type = self.cleaned_data.get("module_type", "")
        if not self.errors:
            check_scope(self.instance)
        return cleaned


class PriceFormSet(BaseInlineFormSet):
    """The rows of one rule, checked together with the rule's own fields."""

    def clean(self) -> None:
        super().clean()
        if any(self.errors) or not self.instance.billing_type:
            return
        forms = _kept_forms(self)
        of_the_rule = []
        for field, why in pricing.problems(rule_of(self.instance, [form.instance for form in forms])):
            if row := _ROW_FIELD.fullmatch(field):
                forms[int(row[1])].add_error(row[2], str(why))
            else:
                of_the_rule.append(self._worded(field, why))
        if of_the_rule:
            raise ValidationError(of_the_rule)

    def _worded(self, field: str, why: Any) -> str:
        if field == "prices":
            return str(why)
        return f"{BillingRule._meta.get_field(field).verbose_name}: {why}"  # type: ignore[union-attr]


class PriceInline(TabularInline):
    model = BillingPrice
    formset = PriceFormSet
    extra = 0
    fields = ("dimension", "value", "credits", "multiplier", "unit_size")


@admin.register(BillingRule)
class BillingRuleAdmin(CatalogAdmin):
    form = RuleForm
    inlines = (PriceInline,)
    list_display = ("name", "shown_scope", "billing_type", "shown_price", "active_badge", "version", "updated_at")
    list_filter = ("billing_type", "is_active", "is_free")
    list_select_related = ("model",)
    search_fields = ("name", "scope", "model__name", "model__model_id")
    ordering = ("name",)
    readonly_fields = ("version", "updated_at")
    conditional_fields: ClassVar[Any] = {  # shown where the billing type makes something of them
        "round_up": "['PER_DURATION', 'DURATION_RESOLUTION', 'DURATION_MODE'].includes(billing_type)",
        "pricing_unit": "billing_type == 'DURATION_MODE'",
    }
    fieldsets = (
        (None, {"fields": ("name", "is_active")}),
        (
            _("What it prices"),
            {"fields": (("model", "node_type", "module_type"),), "description": _("Exactly one of the three.")},
        ),
        (_("Price"), {"fields": (("billing_type", "base_credits"), ("round_up", "pricing_unit"), "is_free")}),
        (_("Changes"), {"fields": (("version", "updated_at"),)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[BillingRule]:
        return super().get_queryset(request).prefetch_related("prices")

    @display(description=_("Scope"))
    def shown_scope(self, row: BillingRule) -> str:
        return str(row.model) if row.model_id else row.scope

    @display(description=_("Price"))
    def shown_price(self, row: BillingRule) -> str:
        """Return the base, or from the cheapest to the dearest row."""
        if row.is_free:
            return str(_("free"))
        prices = [price.credits for price in row.prices.all() if price.credits is not None]
        if row.base_credits:
            prices.append(row.base_credits)
        if not prices:
            return "–"
        low, high = min(prices), max(prices)
        return f"{low:,}" if low == high else f"{low:,} – {high:,}"

    @display(description=_("Active"), ordering="is_active")
    def active_badge(self, row: BillingRule) -> Any:
        return badge(_("for sale"), "success") if row.is_active else badge(_("not for sale"), "danger")

    def mark_changed(self, row: BillingRule) -> None:
        mark_changed(row)


class PermissionFormSet(BaseInlineFormSet):
    """One row per scope."""

    def clean(self) -> None:
        super().clean()
        if any(self.errors):
            return
        seen: set[str] = set()
        for form in _kept_forms(self):
            row = form.instance
            try:
                check_scope(row)
            except ValidationError as error:
                form.add_error(None, error)
                continue
            scope = scope_of(model_pk=row.model_id, node_type=row.node_type, module_type=row.module_type)
            if scope in seen:
                form.add_error(None, _("Another row of this level is about the same."))
            seen.add(scope)


class PermissionInline(TabularInline):
    model = ModelPermission
    formset = PermissionFormSet
    extra = 0
    hide_title = True
    fields = ("model", "node_type", "module_type", "is_allowed", "daily_limit", "is_free_for_member", "free_daily_limit")


@admin.register(LevelConfig)
class LevelConfigAdmin(CatalogAdmin):
    form = CatalogForm
    inlines = (PermissionInline,)
    list_display = ("level", "shown_concurrency", "shown_permissions")
    ordering = ("id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[LevelConfig]:
        return super().get_queryset(request).prefetch_related("permissions")

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return ("level",) if obj else ()

    @display(description=_("Concurrent uses"), ordering="max_concurrency")
    def shown_concurrency(self, row: LevelConfig) -> str:
        return str(_("without limit")) if row.max_concurrency == -1 else str(row.max_concurrency)

    @display(description=_("permissions"))
    def shown_permissions(self, row: LevelConfig) -> int:
        return len(row.permissions.all())


@admin.register(CatalogVersion)
class CatalogVersionAdmin(HistoryAdmin):
    list_display = ("number", "created_at", "shown_author", "shown_note")
    exact_search = ("number", "author")
    search_help_text = _("Number or who")
    fields = (("number", "created_at", "shown_author"), "shown_note", "shown_changes", "shown_catalog")
    readonly_fields = ("number", "created_at", "shown_author", "shown_note", "shown_changes", "shown_catalog")

    def get_urls(self) -> list[URLPattern]:
        guarded = self.admin_site.admin_view
        return [path("<int:number>/restore/", guarded(acts.restore_catalog_view), name="billing_restore"), *super().get_urls()]

    def page_buttons(self, request: HttpRequest, row: CatalogVersion) -> list[PageButton]:
        newest = CatalogVersion.objects.order_by("-number").values_list("number", flat=True).first()
        if row.number == newest or not any(request.user.has_perm(permission) for permission in acts.MAY_PUBLISH.values()):
            return []
        return [PageButton(_("Restore"), reverse("admin:billing_restore", args=[row.number]), "history")]

    @display(description=_("Who"))
    def shown_author(self, row: CatalogVersion) -> str:
        return actor_in_words(row.author)

    @display(description=_("note"))
    def shown_note(self, row: CatalogVersion) -> str:
        return name_in_words(row.note) or "–"

    @display(description=_("What changed"))
    def shown_changes(self, row: CatalogVersion) -> str:
        lines = [line for change in changes_of(row) for line in change.lines()]
        return format_html('<pre class="waule-json">{}</pre>', "\n".join(lines))

    @display(description=_("The catalog then"))
    def shown_catalog(self, row: CatalogVersion) -> Any:
        return short_json(row.document)
