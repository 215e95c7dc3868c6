"""A tenant's people, on its page."""

from typing import Any

from django.http import HttpRequest
from unfold.admin import TabularInline

from tenants import audit
from tenants.models import TenantMember
from waule.core.admin import RelatedFields, actor_of


class MemberInline(RelatedFields, TabularInline):
    """Who may use `/console/` for the tenant, and as what."""

    model = TenantMember
    fields = ("user", "role")
    autocomplete_fields = ("user",)
    extra = 0


def record_changes(request: HttpRequest, formset: Any) -> None:
    """Note each change that the formset made in the audit log."""
    for member in formset.new_objects:
        _record(request, "member.add", member, after={"role": member.role})
    for member, changed in formset.changed_objects:
        before = {name: formset_initial(formset, member, name) for name in changed}
        _record(request, "member.change", member, before=before, after={"role": member.role})
    for member in formset.deleted_objects:
        _record(request, "member.remove", member, before={"role": member.role})


def formset_initial(formset: Any, member: TenantMember, name: str) -> str:
    form = next(form for form in formset.initial_forms if form.instance is member)
    return str(form.initial.get(name, ""))


def _record(request: HttpRequest, action: str, member: TenantMember, **values: Any) -> None:
    audit.record(actor=actor_of(request), action=action, target=member, request=request, **values)
