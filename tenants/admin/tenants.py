"""Tenants, users, groups, API keys and the audit log in the admin."""

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from tenants import audit, staff_rights
from tenants.admin import tabs as admin_panels
from tenants.admin.audited import AuditedAdmin
from tenants.admin.members import MemberInline, record_changes
from tenants.admin.permissions import GroupFilter, GroupsField, PermissionsField, group_in_words, permission_in_words
from tenants.admin.second_factors import reset_view
from tenants.admin.words import with_code
from tenants.login import second_factor
from tenants.models import ALL_MODELS, Mode, Tenant, TenantMember, User
from waule.core.admin import PageButton, actor_of, badge, badge_of_bool, spaced_number

admin.site.unregister(Group)


class TenantForm(forms.ModelForm):
    """The models are picked from those there are; entries that name none of them are kept."""

    all_models = forms.BooleanField(label=_("All models"), required=False, help_text=_("Those of tomorrow as well."))
    picked_models = forms.MultipleChoiceField(
        label=_("Enabled models"), required=False, widget=UnfoldAdminCheckboxSelectMultipleWidget
    )

    class Meta:
        model = Tenant
        fields = ("name", "is_active", "time_zone", "note")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rows = [row for rows in admin_panels.MODELS for row in rows()]
        enabled = set(self.instance.enabled_models)
        self.ids_by_entry: dict[str, str] = {}
        choices, picked = [], []
        for key, model_id, name, provider in rows:
            choices.append((str(key), f"{name} · {provider} · {model_id}"))
            if enabled & {str(key), model_id}:
                picked.append(str(key))
            self.ids_by_entry |= {str(key): str(key), model_id: str(key)}
        self.fields["picked_models"].choices = choices  # type: ignore[attr-defined]
        if "note" in self.fields:
            self.fields["note"].widget.attrs["rows"] = 3
        else:  # the page of who may only look at it
            self.fields["all_models"].disabled = self.fields["picked_models"].disabled = True
        self.initial.update(picked_models=picked, all_models=ALL_MODELS in enabled)

    def save(self, commit: bool = True) -> Any:
        picked = self.cleaned_data["picked_models"]
        before: list[str] = [entry for entry in self.instance.enabled_models if entry != ALL_MODELS]
        # Entries stay as they were written (a name may mean two models) as long as what they name is still picked.
        kept = [entry for entry in before if self.ids_by_entry.get(entry) in picked or entry not in self.ids_by_entry]
        covered = {self.ids_by_entry.get(entry) for entry in kept}
        chosen = [*kept, *(key for key in picked if key not in covered)]
        self.instance.enabled_models = [ALL_MODELS, *chosen] if self.cleaned_data["all_models"] else chosen
        return super().save(commit)


@admin.register(Tenant)
class TenantAdmin(AuditedAdmin):
    form = TenantForm
    list_display = ("name", "shown_active", "live_balance", "models", "created_at")
    list_filter = ("is_active",)
    search_fields = ("name",)
    search_help_text = _("Name or id")
    fieldsets = ((None, {"fields": ("name", "is_active", "time_zone", "note")}),)
    change_form_outer_before_template = "admin/tenant/panels.html"
    change_form_before_template = "admin/tenant/models.html"
    inlines: Any = (MemberInline,)

    def get_inlines(self, request: HttpRequest, obj: Any) -> list[Any]:
        return [*super().get_inlines(request, obj), *admin_panels.INLINES]

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        if formset.model is TenantMember:  # noted in words of their own
            formset.save()
            record_changes(request, formset)
        else:
            super().save_formset(request, form, formset, change)

    def page_buttons(self, request: HttpRequest, row: Tenant) -> list[PageButton]:
        return [PageButton(_("Overview"), reverse("admin:tenant_overview", args=[row.pk]), "space_dashboard")]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tenant]:
        return super().get_queryset(request).prefetch_related("accounts")

    def search_conditions(self, term: str) -> list[Q]:
        return [*super().search_conditions(term), Q(name__icontains=term)]

    exact_search = ("id",)

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if (tenant := kwargs.get("obj")) is not None:
            context["panels"] = admin_panels.shown_panels(request, tenant)
        return super().render_change_form(request, context, *args, **kwargs)

    @display(description=_("State"))
    def shown_active(self, tenant: Tenant) -> Any:
        return badge_of_bool(tenant.is_active, _("Active"), _("Switched off"))

    @display(description=_("Credits"))
    def live_balance(self, tenant: Tenant) -> str:
        return spaced_number(next((each.spendable for each in tenant.accounts.all() if each.mode == Mode.LIVE), None))

    @display(description=_("Models"))
    def models(self, tenant: Tenant) -> Any:
        return _("all") if ALL_MODELS in tenant.enabled_models else str(len(tenant.enabled_models))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # the ledger keeps their owner; switch it off instead


@admin.register(User)
class UserAdmin(DjangoUserAdmin, AuditedAdmin):  # type: ignore[misc]  # the stubs' signatures differ
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "email", "level_badge", "credits", "shown_active", "is_staff", "date_joined")
    list_filter = ("level", "is_active", "is_staff", ("groups", GroupFilter))
    search_fields = ("username",)
    search_help_text = _("User name, e-mail or id")
    exact_search = ("id", "email")
    ordering = ("-pk",)
    list_select_related = ("account",)
    filter_horizontal = ()
    readonly_fields = ("last_login", "date_joined", "second_factor", "shown_groups")
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        (_("Level"), {"fields": ("level", "membership_expires_at")}),
        (_("Person"), {"fields": ("first_name", "last_name", "email")}),
        (_("Access"), {"fields": ("is_active", "is_staff", "is_superuser", "groups", "second_factor")}),
        (_("Dates"), {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = ((None, {"fields": ("username", "usable_password", "password1", "password2", "level")}),)

    def search_conditions(self, term: str) -> list[Q]:
        return [*super().search_conditions(term), Q(username__istartswith=term)]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        fields = tuple(super().get_readonly_fields(request, obj))
        # Who is not a superuser cannot make one, nor raise anyone's rights by a group.
        return fields if request.user.is_superuser else (*fields, "is_superuser", "is_staff", "groups")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if request.user.is_superuser and self.has_change_permission(request, obj):
            return fieldsets
        named: dict[Any, Any] = {"groups": "shown_groups"}
        return [(title, about | {"fields": [named.get(each, each) for each in about["fields"]]}) for title, about in fieldsets]

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "groups":
            kwargs |= {"form_class": GroupsField, "widget": UnfoldAdminCheckboxSelectMultipleWidget()}
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def formfield_for_choice_field(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "level":
            kwargs["choices"] = [(level.value, level.label) for level in staff_rights.levels_given_by(request.user)]
        return super().formfield_for_choice_field(db_field, request, **kwargs)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        outranked = obj is None or staff_rights.may_change(request.user, obj)
        return outranked and super().has_change_permission(request, obj)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(reset_view)
        return [path("<uuid:user_id>/second-factor/reset/", view, name="tenants_user_reset_second_factor"), *super().get_urls()]

    def page_buttons(self, request: HttpRequest, row: User) -> list[PageButton]:
        buttons = [PageButton(_("Overview"), reverse("admin:user_overview", args=[row.pk]), "space_dashboard")]
        if second_factor.is_set_up(row) and staff_rights.may_reset_second_factor(request.user, row):
            address = reverse("admin:tenants_user_reset_second_factor", args=[row.pk])
            buttons.append(PageButton(_("Remove the second factor"), address, "phonelink_erase"))
        return buttons

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        response: HttpResponse = super().user_change_password(request, id, form_url)
        if request.method == "POST" and response.status_code == 302:
            user = self.get_object(request, unquote(id))
            audit.record(actor=actor_of(request), action="user.password", target=user, request=request)
        return response

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # the ledger keeps their owner; switch it off instead

    @display(description=_("Level"))
    def level_badge(self, user: User) -> Any:
        return badge(user.get_level_display())

    @display(description=_("Credits"))
    def credits(self, user: User) -> str:
        account = getattr(user, "account", None)
        return spaced_number(account.spendable if account else None)

    @display(description=_("State"))
    def shown_active(self, user: User) -> Any:
        return badge_of_bool(user.is_active, _("Active"), _("Switched off"))

    @display(description=_("Second factor"))
    def second_factor(self, user: User) -> Any:
        return badge_of_bool(second_factor.is_set_up(user), _("Set up"), _("None"))

    @display(description=_("Groups"))
    def shown_groups(self, user: User) -> Any:
        return _lines(map(group_in_words, user.groups.order_by("name")))


def _lines(texts: Iterable[str]) -> Any:
    return format_html_join(mark_safe("<br>"), "{}", ((text,) for text in texts)) or "–"


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, AuditedAdmin):
    """A group's permissions are those of its members: superusers alone change them."""

    is_large = False
    ordering = ("name",)
    list_display = ("shown_name",)
    readonly_fields = ("shown_permissions",)

    @display(description=_("Group"), ordering="name")
    def shown_name(self, group: Group) -> Any:
        return with_code(group_in_words(group), group.name)

    @display(description=_("Permissions"))
    def shown_permissions(self, group: Group) -> Any:
        return _lines(map(permission_in_words, group.permissions.select_related("content_type")))

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Without the rows that merely join a group to its permissions and members."""
        named, _counts, needed, protected = super().get_deleted_objects(objs, request)
        return [each for each in named if isinstance(each, str)], {self.opts.verbose_name_plural: len(objs)}, needed, protected

    def heading(self, row: Group) -> str:
        return group_in_words(row)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("name", "permissions" if self.has_change_permission(request, obj) else "shown_permissions")

    def formfield_for_manytomany(self, db_field: Any, request: Any = None, **kwargs: Any) -> Any:
        return super().formfield_for_manytomany(db_field, request, **kwargs, form_class=PermissionsField)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser) and super().has_add_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser) and super().has_delete_permission(request, obj)


MAX_CHANGES, MAX_CHANGE_LENGTH = 6, 120  # lines, and letters of each, in a list
