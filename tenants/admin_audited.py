"""Changes made in the admin's forms, noted in the audit log: which fields, from what, to what."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest

from tenants import audit
from waule.admin_kit import WauleAdmin, actor_of
from waule.encryption import EncryptedTextField

CHANGED = "changed"


class AuditedAdmin(WauleAdmin):
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

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        audit.record(actor=actor_of(request), action=f"{self.opts.model_name}.delete", target=obj)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet) -> None:
        for row in queryset:
            audit.record(actor=actor_of(request), action=f"{self.opts.model_name}.delete", target=row)
        super().delete_queryset(request, queryset)

    def _told(self, name: str, value: Any) -> Any:
        field = next((each for each in self.opts.concrete_fields if each.name == name), None)
        if isinstance(field, EncryptedTextField) or "password" in name:
            return CHANGED
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, QuerySet | list | tuple):
            return [str(each) for each in value]
        return str(value)
