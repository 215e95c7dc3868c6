"""A tenant or a user on one page: balance, use, success, keys and budgets, last errors, people, storage, audit.

Each part is there for who may view what it is made of, and leads to its list, filtered.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from aiservices.generations.models import Generation
from billing.admin.tenant_tab import balance_by_day
from billing.admin.words import error_in_words
from billing.budgets.limits import standing_of, zone_of
from billing.budgets.models import Budget
from billing.ledger.balances import balance_of, used_since
from billing.ledger.models import Account
from storage.models import StorageUsage
from tenants.admin.words import action_in_words, actor_in_words, code_in_words
from tenants.models import ApiKey, AuditEntry, Mode, Tenant, TenantMember, User
from waule.core.admin import PageButton, admin_page, spaced_number
from waule.core.admin.charts import PRIMARY, line_chart
from waule.core.ids import uuid7_floor

SHOWN_KEYS = 20
SHOWN_BUDGETS = 50
SHOWN_ERRORS = 8
SHOWN_MEMBERS = 20
SHOWN_AUDIT = 8
SUCCESS_DAYS = 7
SUCCESS_SAMPLE = 1_000  # generations, the newest: a larger sample says the same and takes longer
May = Callable[[str], bool]


@dataclass(frozen=True)
class Subject:
    """Whose page it is."""

    owner: Tenant | User
    kind: str  # tenant or user: the name of the column in other tables
    account: Account | None  # the live one
    zone: ZoneInfo

    def list_of(self, url_name: str, column: str, value: Any, **more: Any) -> str:
        """Return the address of a list with the rows of this owner alone."""
        return f"{reverse(f'admin:{url_name}_changelist')}?{urlencode({f'{column}__id__exact': value} | more)}"

    def generations(self, **more: Any) -> str:
        return self.list_of("aiservices_generation", self.kind, self.owner.pk, **more)


def tenant_view(request: HttpRequest, tenant_id: UUID) -> HttpResponse:
    if not request.user.has_perm("tenants.view_tenant"):
        raise PermissionDenied
    tenant = get_object_or_404(Tenant, pk=tenant_id)
    account = Account.objects.filter(tenant=tenant, mode=Mode.LIVE).first()
    subject = Subject(tenant, "tenant", account, zone_of(tenant.time_zone))
    may = request.user.has_perm
    more = {
        "keys": _keys(tenant, account) if may("tenants.view_apikey") else None,
        "all_keys": subject.list_of("tenants_apikey", "tenant", tenant.pk),
        "budgets": _budgets(tenant, account) if account and may("billing.view_budget") else None,
        "members": _members(tenant) if may("tenants.view_tenantmember") else None,
    }
    return _page(request, subject, title=tenant.name, **more)


def user_view(request: HttpRequest, user_id: UUID) -> HttpResponse:
    if not request.user.has_perm("tenants.view_user"):
        raise PermissionDenied
    user = get_object_or_404(User, pk=user_id)
    account = Account.objects.filter(user=user).first()
    subject = Subject(user, "user", account, ZoneInfo(settings.BILLING_TIME_ZONE))
    memberships: list[TenantMember] = []
    if request.user.has_perm("tenants.view_tenantmember"):
        rows = TenantMember.objects.filter(user=user).select_related("tenant").order_by("pk")
        memberships = list(rows[:SHOWN_MEMBERS])
    return _page(request, subject, title=user.username, memberships=memberships)


def _page(request: HttpRequest, subject: Subject, *, title: str, **more: Any) -> HttpResponse:
    may: May = request.user.has_perm
    account = subject.account
    context: dict[str, Any] = {"cards": _cards(subject, may), "links": _links(subject, may), "subject": subject.owner}
    if account is not None and may("billing.view_account"):
        labels, balances = balance_by_day(account, zone=subject.zone)
        context["chart"] = line_chart(labels, (_("Balance"), PRIMARY, balances)) if account.last_seq else ""
        context["has_chart"] = True
    if may("aiservices.view_generation"):
        context["errors"] = _errors(subject)
        context["all_errors"] = subject.generations(state__exact="failed")
    if may("tenants.view_auditentry"):
        context["audit"] = _audit(subject)
        context["all_audit"] = f"{reverse('admin:tenants_auditentry_changelist')}?{urlencode({'object': _object(subject)})}"
    return admin_page(request, "admin/overview.html", title=title, **context, **more)


# --- cards ---------------------------------------------------------------------------------------------------------


def _cards(subject: Subject, may: May) -> list[dict[str, Any]]:
    cards = []
    if subject.account is not None and may("billing.view_account"):
        cards += _credit_cards(subject, subject.account)
    if may("aiservices.view_generation"):
        rate, ended = _success(subject)
        note = _("of the last %(count)s in %(days)s days") % {"count": spaced_number(ended), "days": SUCCESS_DAYS}
        cards.append(_card(_("Success"), rate, subject.generations(since="7d"), "task_alt", note if ended else ""))
    if subject.kind == "tenant" and may("storage.view_storedobject"):
        value, note = _storage(subject.owner.pk)
        cards.append(
            _card(_("Storage"), value, subject.list_of("storage_storedobject", "tenant", subject.owner.pk), "cloud", note)
        )
    return cards


def _credit_cards(subject: Subject, account: Account) -> list[dict[str, Any]]:
    now = timezone.now()
    today = now.astimezone(subject.zone).replace(hour=0, minute=0, second=0, microsecond=0)
    used = dict(zip(("day", "month"), used_since(account.id, [today, today.replace(day=1)], until=now), strict=True))
    balance = balance_of(account.id)
    held = _("and %(held)s held") % {"held": spaced_number(balance.held)} if balance.held else ""
    ledger = subject.list_of("billing_ledgerentry", "account", account.pk)
    charges = subject.list_of("billing_charge", "account", account.pk)
    return [
        _card(_("Balance"), spaced_number(balance.spendable), ledger, "account_balance_wallet", held),
        _card(_("Used today"), spaced_number(used["day"]), charges, "today", _yesterday(account, today, now)),
        _card(_("Used this month"), spaced_number(used["month"]), charges, "calendar_month", _("credits, less refunds")),
    ]


def _yesterday(account: Account, today: datetime, now: datetime) -> str:
    day = timedelta(days=1)
    (used,) = used_since(account.id, [today - day], until=now - day)
    return _("%(credits)s yesterday at this hour") % {"credits": spaced_number(used)}


def _card(title: Any, value: Any, link: str, icon: str, note: str = "") -> dict[str, Any]:
    return {"title": title, "value": value, "link": link, "icon": icon, "note": note}


def _success(subject: Subject) -> tuple[str, int]:
    since = timezone.now() - timedelta(days=SUCCESS_DAYS)
    rows = Generation.objects.filter(**{subject.kind: subject.owner}, mode=Mode.LIVE, id__gte=uuid7_floor(since))
    states = list(rows.order_by("-id").values_list("state", flat=True)[:SUCCESS_SAMPLE])
    good = states.count(Generation.State.SUCCEEDED)
    ended = good + states.count(Generation.State.FAILED)
    return (f"{100 * good / ended:.1f}%" if ended else "–"), ended


def _storage(tenant_id: Any) -> tuple[str, str]:
    usage = StorageUsage.objects.filter(tenant_id=tenant_id).first() or StorageUsage()
    if usage.quota_bytes is None:
        return filesizeformat(usage.used_bytes), _("no quota")
    return filesizeformat(usage.used_bytes), _("of %(quota)s") % {"quota": filesizeformat(usage.quota_bytes)}


# --- lists ---------------------------------------------------------------------------------------------------------


def _keys(tenant: Tenant, account: Account | None) -> list[dict[str, Any]]:
    """Valid keys, those used last first, each with its budgets."""
    now = timezone.now()
    over = Q(revoked_at__lte=now) | Q(expires_at__lte=now)
    keys = list(ApiKey.objects.filter(tenant=tenant).exclude(over).order_by("-last_used_at", "-pk")[:SHOWN_KEYS])
    rows = Budget.objects.filter(api_key__in=keys, is_active=True).select_related("tenant", "checkpoint").order_by("pk")
    budgets: dict[Any, list[dict[str, Any]]] = {}
    if account is not None:
        for budget in rows[:SHOWN_BUDGETS]:
            budgets.setdefault(budget.api_key_id, []).append(_standing(budget, account, now))
    return [{"key": key, "budgets": budgets.get(key.pk, [])} for key in keys]


def _budgets(tenant: Tenant, account: Account) -> list[dict[str, Any]]:
    rows = Budget.objects.filter(tenant=tenant, api_key=None, is_active=True).select_related("tenant", "checkpoint")
    return [_standing(budget, account, timezone.now()) for budget in rows.order_by("pk")[:SHOWN_BUDGETS]]


def _standing(budget: Budget, account: Account, now: datetime) -> dict[str, Any]:
    standing = standing_of(budget, account.id, now=now, held=account.held)
    return {
        "budget": budget,
        "used": spaced_number(standing.used),
        "limit": spaced_number(budget.limit_credits),
        "percent": min(100, round(standing.percent)),
    }


def _members(tenant: Tenant) -> list[TenantMember]:
    return list(TenantMember.objects.filter(tenant=tenant).select_related("user").order_by("pk")[:SHOWN_MEMBERS])


def _errors(subject: Subject) -> list[dict[str, Any]]:
    rows = Generation.objects.filter(
        **{subject.kind: subject.owner}, state__in=[Generation.State.FAILED, Generation.State.UNKNOWN]
    )
    return [
        {
            "link": reverse("admin:aiservices_generation_change", args=[row.pk]),
            "at": row.created_at,
            "words": error_in_words(row.error_code) if row.error_code else row.get_state_display(),
            "code": row.error_code,
            "prompt": row.prompt[:120],
            "model": str(row.model),
        }
        for row in rows.select_related("model").order_by("-id")[:SHOWN_ERRORS]
    ]


def _object(subject: Subject) -> str:
    return f"{subject.owner._meta.label_lower}:{subject.owner.pk}"


def _audit(subject: Subject) -> list[dict[str, Any]]:
    """Return what was done to the owner, its account and its newest keys."""
    kind, _colon, key = _object(subject).partition(":")
    objects = Q(target_type=kind, target_id=key)
    if subject.account is not None:
        objects |= Q(target_type=Account._meta.label_lower, target_id=str(subject.account.pk))
    if isinstance(subject.owner, Tenant):
        keys = ApiKey.objects.filter(tenant=subject.owner).order_by("-pk").values_list("pk", flat=True)[:SHOWN_KEYS]
        objects |= Q(target_type=ApiKey._meta.label_lower, target_id__in=[str(pk) for pk in keys])
    rows = AuditEntry.objects.filter(objects).order_by("-id")[:SHOWN_AUDIT]
    return [
        {
            "link": reverse("admin:tenants_auditentry_change", args=[row.pk]),
            "at": row.at,
            "who": actor_in_words(row.actor),
            "what": action_in_words(row.action),
            "why": code_in_words(row.reason),
        }
        for row in rows
    ]


# --- links ---------------------------------------------------------------------------------------------------------


def _links(subject: Subject, may: May) -> list[PageButton]:
    """To this owner's lists and forms, for who may open them."""
    owner, kind = subject.owner, subject.kind
    offered = [
        (f"tenants.view_{kind}", _("Settings"), reverse(f"admin:tenants_{kind}_change", args=[owner.pk]), "settings"),
        ("aiservices.view_generation", _("Generations"), subject.generations(), "image"),
    ]
    if (account := subject.account) is not None:
        offered += [
            ("billing.view_charge", _("Charges"), subject.list_of("billing_charge", "account", account.pk), "payments"),
            (
                "billing.view_ledgerentry",
                _("Ledger"),
                subject.list_of("billing_ledgerentry", "account", account.pk),
                "receipt_long",
            ),
            ("billing.view_hold", _("Holds"), subject.list_of("billing_hold", "account", account.pk), "hourglass_top"),
            ("billing.view_account", _("Statement"), reverse("admin:billing_statement", args=[account.pk]), "summarize"),
            ("billing.grant_credits", _("Grant"), reverse("admin:billing_grant", args=[account.pk]), "add_card"),
        ]
    return [PageButton(title, link, icon) for permission, title, link, icon in offered if may(permission)]
