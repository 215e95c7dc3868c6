"""Every form of the admin and every PATCH: what they change, and what is sent."""

import html
import re
from typing import Any

from django.contrib import admin
from django.db import models
from django.urls import get_resolver, reverse

from aiservices.credentials.models import GeminiKey, SoraToken
from billing.budgets.models import Budget
from billing.catalog.models import AIModel, BillingPrice, BillingRule, LevelConfig
from billing.ledger.models import Account
from billing.monitoring.models import AlertThreshold
from storage.models import StorageUsage
from tenants.models import Tenant, User
from tenants.webhooks.models import Webhook
from tests.callers import confirm_password
from waule.core.admin.versions import VERSIONS


def fields_of(page: str) -> dict[str, Any]:
    """What a browser would send: every named control of the form, as it stands."""
    body = page[page.index('method="post" id="') :]
    body = body[: body.index("</form>")]
    sent: dict[str, Any] = {}
    for tag in re.findall(r"<input\b[^>]*>", body):
        attributes = dict(re.findall(r'(\w+)="([^"]*)"', tag))
        name, kind = attributes.get("name"), attributes.get("type", "text")
        if (
            not name
            or (name.startswith("_") and name != VERSIONS)
            or "__prefix__" in name
            or kind in ("submit", "button", "file")
        ):
            continue
        if kind in ("checkbox", "radio") and not re.search(r"\bchecked\b", tag):
            continue
        sent.setdefault(name, []).append(html.unescape(attributes.get("value", "on" if kind in ("checkbox", "radio") else "")))
    for name, text in re.findall(r'<textarea\b[^>]*name="([^"]+)"[^>]*>(.*?)</textarea>', body, re.DOTALL):
        if "__prefix__" not in name:
            sent[name] = [html.unescape(text.removeprefix("\n"))]
    for attributes, options in re.findall(r"<select\b([^>]*)>(.*?)</select>", body, re.DOTALL):
        name = re.search(r'name="([^"]+)"', attributes)
        if name and "__prefix__" not in name[1]:
            chosen = [
                re.search(r'value="([^"]*)"', option) for option in re.findall(r"<option\b[^>]*\bselected\b[^>]*>", options)
            ]
            first = re.search(r'<option\b[^>]*value="([^"]*)"', options)
            values = [html.unescape(found[1]) for found in chosen if found]
            sent[name[1]] = values or ([] if "multiple" in attributes or first is None else [html.unescape(first[1])])
    return sent


def rows_of_every_page(admin_client, history) -> dict[type[models.Model], models.Model]:
    """One row for every page of the admin that changes rows."""
    confirm_password(admin_client)
    model = AIModel.objects.get()
    rule = BillingRule.objects.create(name="painter", model=model, billing_type="PER_IMAGE", base_credits=5)
    BillingPrice.objects.create(rule=rule, dimension="resolution", value="2K", credits=9)
    StorageUsage.objects.create(tenant=history, quota_bytes=10)
    AlertThreshold.objects.create(account=Account.objects.get(tenant=history, mode="live"), low_balance=5)
    Webhook.objects.create(tenant=history, url="https://93.184.216.34/hook")
    LevelConfig.objects.get_or_create(level="VIP", defaults={"max_concurrency": 3})
    Budget.objects.create(tenant=history, period="day", limit_credits=100)
    found = {}
    for cls, page in admin.site._registry.items():
        request = admin_client.get(reverse("admin:index")).wsgi_request
        row = cls._default_manager.order_by("pk").last() if cls is not User else User.objects.get(username="user0")
        row = history if cls is Tenant else row
        if row is not None and page.has_change_permission(request, row):
            found[cls] = row
    return found


def patches() -> set[str]:
    """Every address that takes a PATCH."""
    found = set()

    def walk(patterns: Any, prefix: str) -> None:
        for pattern in patterns:
            if hasattr(pattern, "url_patterns"):
                walk(pattern.url_patterns, prefix + str(pattern.pattern))
            elif (getattr(pattern.callback, "actions", None) or {}).get("patch") == "partial_update":
                found.add(re.sub(r"<[^>]+>", "*", prefix + str(pattern.pattern)))

    walk(get_resolver().url_patterns, "/")
    return found


def changes_of_every_address(rows) -> dict[str, tuple[models.Model, dict[str, Any], dict[str, Any]]]:
    """For each address: the row, what somebody else sends, and what we send."""
    found = {}
    for base in ("/internal/", "/api/admin/ai-services/"):
        found[f"{base}gemini/keys/*"] = (rows[GeminiKey], {"priority": 4}, {"weight": 3})
        found[f"{base}sora/tokens/*"] = (rows[SoraToken], {"remark": "theirs"}, {"remark": "ours"})
        found[f"{base}models/*"] = (rows[AIModel], {"isActive": False, "reason": "theirs"}, {"isActive": True})
    return found
