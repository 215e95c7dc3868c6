"""Members in the console: add, change, remove."""

import uuid
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from tenants import selectors
from tenants.models import TenantMember
from tenants.services import add_member, change_role
from tenants.services import remove_member as end_membership
from waule.console.forms import actor_of, form_page
from waule.console.tenant import Right, membership_of, right_required, tenant_of
from waule.core.errors import Duplicate


class RoleForm(forms.Form):
    role = forms.ChoiceField(label=gettext_lazy("Role"), choices=TenantMember.Role.choices, widget=UnfoldAdminSelectWidget)


class MemberForm(RoleForm):
    username = forms.CharField(
        label=gettext_lazy("User name"), max_length=150, widget=UnfoldAdminTextInputWidget(attrs={"autofocus": True})
    )
    field_order = ("username", "role")


def _another_member(request: HttpRequest, member_id: uuid.UUID) -> TenantMember:
    """Return a member of the reader's tenant who is not the reader."""
    found = membership_of(request)
    assert found is not None
    member = TenantMember.objects.select_related("user").filter(tenant=found.tenant, pk=member_id).first()
    if member is None:
        raise Http404
    if member == found.member:
        raise PermissionDenied
    return member


@right_required(Right.MANAGE_MEMBERS)
def new_member(request: HttpRequest) -> HttpResponse:
    """Add a user of the platform by the user name."""
    back = reverse("console:tenants_tenantmember_changelist")

    def act(fields: dict[str, Any]) -> HttpResponse:
        user = selectors.find_user_by_id_or_name(fields["username"])
        tenant = tenant_of(request)
        if TenantMember.objects.filter(tenant=tenant, user=user).exists():
            raise Duplicate(_("%(user)s is a member already; the role can be changed in the list.") % {"user": user})
        add_member(tenant=tenant, user=user, role=fields["role"], actor=actor_of(request))
        messages.success(request, _("%(user)s is a member now.") % {"user": user})
        return redirect(back)

    return form_page(request, MemberForm(request.POST or None), act, title=_("Add a member"), verb=_("Add"), back=back)


@right_required(Right.MANAGE_MEMBERS)
def change_member(request: HttpRequest, member_id: uuid.UUID) -> HttpResponse:
    """Give a member another role."""
    member = _another_member(request, member_id)
    back = reverse("console:tenants_tenantmember_changelist")

    def act(fields: dict[str, Any]) -> HttpResponse:
        change_role(member=member, role=fields["role"], actor=actor_of(request))
        return redirect(back)

    form = RoleForm(request.POST or None, initial={"role": member.role})
    return form_page(request, form, act, title=_("Role of %(user)s") % {"user": member.user}, verb=_("Save"), back=back)


@right_required(Right.MANAGE_MEMBERS)
def remove_member(request: HttpRequest, member_id: uuid.UUID) -> HttpResponse:
    """End a membership; the user stays."""
    member = _another_member(request, member_id)
    back = reverse("console:tenants_tenantmember_changelist")

    def act(_fields: dict[str, Any]) -> HttpResponse:
        end_membership(member=member, actor=actor_of(request))
        return redirect(back)

    form = forms.Form(request.POST if request.method == "POST" else None)
    facts = [(_("User"), str(member.user)), (_("Role"), member.get_role_display())]
    return form_page(request, form, act, title=_("Remove a member"), verb=_("Remove"), back=back, facts=facts, is_danger=True)
