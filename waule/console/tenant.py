"""Who is at the console, for which tenant, and what the role allows. Every page and every list asks here."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import wraps
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse

from billing.ledger.models import Account
from tenants.models import Mode, Tenant, TenantMember

CHOSEN = "console_tenant"  # in the session: the tenant that a member of several has chosen
MAX_TENANTS = 200
View = Callable[..., HttpResponse]


class Right(StrEnum):
    """What a role may do."""

    VIEW = "view"  # home, generations, prices, usage, ledger, keys as rows
    GENERATE = "generate"
    MANAGE_KEYS = "manage_keys"
    MANAGE_WEBHOOK = "manage_webhook"
    MANAGE_BUCKET = "manage_bucket"
    MANAGE_MEMBERS = "manage_members"
    REDEEM = "redeem"


RIGHTS = {
    TenantMember.Role.OWNER: frozenset(Right),
    TenantMember.Role.DEVELOPER: frozenset({Right.VIEW, Right.GENERATE, Right.MANAGE_KEYS, Right.MANAGE_WEBHOOK}),
    TenantMember.Role.BILLING: frozenset({Right.VIEW, Right.REDEEM}),
}


@dataclass(frozen=True)
class Membership:
    """The reader's place at the tenant that the console shows now."""

    member: TenantMember
    tenant: Tenant
    others: tuple[Tenant, ...]  # further tenants that the reader may change to

    def may(self, right: Right) -> bool:
        return right in RIGHTS[TenantMember.Role(self.member.role)]

    def account(self, mode: str = Mode.LIVE) -> Account:
        return Account.objects.select_related("tenant").get(tenant=self.tenant, mode=mode)


def membership_of(request: HttpRequest) -> Membership | None:
    """Return the membership this request is made under, read once per request; None for who belongs to no active tenant."""
    if not hasattr(request, "_membership"):
        request._membership = _read(request)  # type: ignore[attr-defined]
    found: Membership | None = request._membership  # type: ignore[attr-defined]
    return found


def tenant_of(request: HttpRequest) -> Tenant:
    """Return the tenant whose rows this request may see. The site lets nobody in who has none."""
    found = membership_of(request)
    assert found is not None
    return found.tenant


def may(request: HttpRequest, right: Right) -> bool:
    found = membership_of(request)
    return found is not None and found.may(right)


def _read(request: HttpRequest) -> Membership | None:
    user: Any = request.user
    if not user.is_authenticated or not user.is_active:
        return None
    rows = TenantMember.objects.filter(user=user, tenant__is_active=True).select_related("tenant").order_by("created_at", "id")
    members = {str(row.tenant_id): row for row in rows[:MAX_TENANTS]}
    if not members:
        return None
    chosen = members.get(request.session.get(CHOSEN, "")) or next(iter(members.values()))
    return Membership(chosen, chosen.tenant, tuple(row.tenant for row in members.values() if row is not chosen))


def right_required(right: Right) -> Callable[[View], View]:
    """Let only roles with this right open a page; others get a 403."""

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not may(request, right):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        return guarded

    return decorate
