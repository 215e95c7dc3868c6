"""Changes made in the admin's forms, noted in the audit log: which fields, from what, to what."""

from typing import Any
from urllib.parse import urlencode

from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest
from django.shortcuts import redirect
from django.urls import reverse

from tenants import audit
from waule.core.admin import WauleAdmin, actor_of
from waule.core.crypto.encryption import EncryptedTextField, Secret

CHANGED = "changed"


class AuditHistory(WauleAdmin):
    """The history of an object is what the audit log keeps of it, whoever changed it and by which way."""

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        if not self.has_view_permission(request) or not request.user.has_perm("tenants.view_auditentry"):
            raise PermissionDenied
        query = urlencode({"object": f"{self.opts.label_lower}:{unquote(object_id)}"})
        return redirect(f"{reverse('admin:tenants_auditentry_changelist')}?{query}")


class AuditedAdmin(AuditHistory):
    """Pages of things whose every change is noted."""

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        super().save_model(request, obj, form, change)
        if not form.changed_data:
            return
        names = [name for name in form.changed_data if name in form.cleaned_data]
        before = {name: self._told(name, form.initial.get(name)) for name in names} if change else None
        after = {name: self._told(name, form.cleaned_data[name]) for name in names}
        verb = "change" if change else "create"
        audit.record(actor=actor_of(request), action=f"{self.opts.model_name}.{verb}", target=obj, before=before, after=after)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: Any) -> None:
        """What is changed in the rows below the form is noted as well, for each row."""
        super().save_formset(request, form, formset, change)
        name = formset.model._meta.model_name
        for row, changed in formset.changed_objects:
            inline = next(each for each in formset.initial_forms if each.instance is row)
            before = {field: self._told(field, inline.initial.get(field)) for field in changed}
            self._note_row(request, f"{name}.change", row, inline, changed, before)
        for row in formset.new_objects:
            inline = next(each for each in formset.extra_forms if each.instance is row)
            self._note_row(request, f"{name}.create", row, inline, inline.changed_data, None)
        for row in formset.deleted_objects:
            audit.record(actor=actor_of(request), action=f"{name}.delete", target=row)

    def _note_row(self, request: HttpRequest, action: str, row: Any, form: Any, changed: Any, before: Any) -> None:
        after = {field: self._told(field, form.cleaned_data[field], row) for field in changed if field in form.cleaned_data}
        audit.record(actor=actor_of(request), action=action, target=row, before=before, after=after)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        audit.record(actor=actor_of(request), action=f"{self.opts.model_name}.delete", target=obj)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet) -> None:
        for row in queryset:
            audit.record(actor=actor_of(request), action=f"{self.opts.model_name}.delete", target=row)
        super().delete_queryset(request, queryset)

    def _told(self, name: str, value: Any, row: Any = None) -> Any:
        if isinstance(value, Secret) or isinstance(self._column(name, row), EncryptedTextField) or "password" in name:
            return CHANGED
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, QuerySet | list | tuple):
            return [str(each) for each in value]
        return str(value)

    def _column(self, name: str, row: Any) -> Any:
        options = self.opts if row is None else row._meta
        return next((each for each in options.concrete_fields if each.name == name), None)
