"""How the admin looks: Unfold's settings, with the navigation in the operator's words."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy
from django.utils.translation import gettext_lazy as _


def _item(title: Any, icon: str, url_name: str, permission: str = "") -> dict[str, Any]:
    """Return one line of the navigation; a list is offered to those who may see it."""
    item = {"title": title, "icon": icon, "link": reverse_lazy(f"admin:{url_name}")}
    if url_name.endswith("_changelist"):
        app, model, _page = url_name.split("_")
        permission = f"{app}.view_{model}"
    if permission:
        item["permission"] = lambda request: request.user.has_perm(permission)
    return item


def _looked_up(navigation: list[dict[str, Any]]) -> Callable[[HttpRequest], list[dict[str, Any]]]:
    """Return the navigation as a page shows it, each address looked up once: Unfold compares it with every tab's."""

    def shown(request: HttpRequest) -> list[dict[str, Any]]:
        return [group | {"items": [item | {"link": str(item["link"])} for item in group["items"]]} for group in navigation]

    return shown


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "waule",
    "SITE_HEADER": "waule",
    "SITE_SUBHEADER": _("AI service control plane"),
    "SITE_SYMBOL": "hub",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("waule/favicon.svg")}],
    "SITE_URL": None,
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_LANGUAGES": True,
    "SHOW_BACK_BUTTON": True,
    "BORDER_RADIUS": "6px",
    "COLORS": {
        "primary": {
            "50": "#f0f9ff",
            "100": "#e0f2fe",
            "200": "#bae6fd",
            "300": "#7dd3fc",
            "400": "#38bdf8",
            "500": "#0ea5e9",
            "600": "#036da5",
            "700": "#075f90",
            "800": "#075985",
            "900": "#0c4a6e",
            "950": "#082f49",
        }
    },
    "ACCOUNT": {
        "navigation": [
            {"title": _("Change password"), "link": reverse_lazy("admin:password_change")},
            {"title": _("Second factor"), "link": reverse_lazy("admin:second_factor_setup")},
        ]
    },
    "STYLES": [lambda request: static("waule/admin.css")],
    "SCRIPTS": [lambda request: static("waule/admin.js")],
    "TABS": "waule.site.tabs.tabs",
    "SIDEBAR": {
        "show_search": True,
        "command_search": True,
        "show_all_applications": False,
        "navigation": [
            {
                "items": [
                    _item(_("Dashboard"), "dashboard", "index"),
                    _item(_("AI services"), "monitor_heart", "ai_services")
                    | {"permission": "aiservices.admin.services_page.may_see"},
                ],
            },
            {
                "title": _("Tenants"),
                "separator": True,
                "collapsible": False,
                "items": [
                    _item(_("Tenants"), "apartment", "tenants_tenant_changelist"),
                    _item(_("Users"), "person", "tenants_user_changelist"),
                    _item(_("Groups"), "group", "auth_group_changelist"),
                    _item(_("API keys"), "key", "tenants_apikey_changelist"),
                    _item(_("Webhooks"), "webhook", "tenants_webhook_changelist"),
                    _item(_("Messages sent"), "outbox", "tenants_outboxmessage_changelist"),
                    _item(_("Audit log"), "policy", "tenants_auditentry_changelist"),
                ],
            },
            {
                "title": _("Billing"),
                "separator": True,
                "collapsible": False,
                "items": [
                    _item(_("Accounts"), "account_balance_wallet", "billing_account_changelist"),
                    _item(_("Ledger"), "receipt_long", "billing_ledgerentry_changelist"),
                    _item(_("Charges"), "payments", "billing_charge_changelist"),
                    _item(_("Holds"), "hourglass_top", "billing_hold_changelist"),
                    _item(_("Refunds"), "undo", "billing_refund_changelist"),
                    _item(_("Approvals"), "how_to_reg", "billing_approvalrequest_changelist"),
                    _item(_("Redemption codes"), "redeem", "billing_redemptionbatch_changelist"),
                    _item(_("Budgets"), "savings", "billing_budget_changelist"),
                    _item(_("Alerts"), "notifications", "billing_alert_changelist"),
                    _item(_("Low-balance thresholds"), "battery_alert", "billing_alertthreshold_changelist"),
                    _item(_("Reconciliation runs"), "balance", "billing_reconcilerun_changelist"),
                    _item(_("Ledger archives"), "inventory_2", "billing_ledgerarchive_changelist"),
                    _item(_("Prices"), "sell", "billing_billingrule_changelist"),
                    _item(_("Price simulator"), "calculate", "billing_simulator", "billing.view_billingrule"),
                    _item(_("Catalog rehearsal"), "rule", "aiservices_rehearsal", "billing.view_billingrule"),
                    _item(_("Levels"), "military_tech", "billing_levelconfig_changelist"),
                    _item(_("Catalog versions"), "history", "billing_catalogversion_changelist"),
                ],
            },
            {
                "title": _("Generation"),
                "separator": True,
                "collapsible": False,
                "items": [
                    _item(_("Generations"), "image", "aiservices_generation_changelist"),
                    _item(_("Models"), "toggle_on", "billing_aimodel_changelist"),
                    _item(_("Sora tokens"), "movie", "aiservices_soratoken_changelist"),
                    _item(_("Gemini keys"), "vpn_key", "aiservices_geminikey_changelist"),
                ],
            },
            {
                "title": _("Storage"),
                "separator": True,
                "collapsible": False,
                "items": [
                    _item(_("Buckets"), "cloud", "storage_ossconfig_changelist"),
                    _item(_("Stored objects"), "folder_open", "storage_storedobject_changelist"),
                ],
            },
        ],
    },
}
UNFOLD["SIDEBAR"]["navigation"] = _looked_up(UNFOLD["SIDEBAR"]["navigation"])
