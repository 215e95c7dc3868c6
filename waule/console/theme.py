"""How the console looks: the admin's theme with the navigation of a tenant."""

from typing import Any

from django.urls import reverse_lazy
from django.utils.translation import gettext_lazy as _


def _may(right: str) -> Any:
    def allowed(request: Any) -> bool:
        from waule.console.tenant import Right, may  # the theme is read before the apps are loaded

        return may(request, Right(right))

    return allowed


def _item(title: Any, icon: str, page: str, right: str = "view") -> dict[str, Any]:
    return {"title": title, "icon": icon, "link": reverse_lazy(f"console:{page}"), "permission": _may(right)}


def console_theme(admin_theme: dict[str, Any]) -> dict[str, Any]:
    """Return the console's theme, made from the admin's."""
    navigation = [
        {"items": [_item(_("Home"), "home", "index"), _item(_("Try a model"), "auto_awesome", "try", "generate")]},
        {
            "title": _("Use"),
            "separator": True,
            "items": [
                _item(_("Generations"), "image", "aiservices_generation_changelist"),
                _item(_("Usage"), "bar_chart", "usage"),
                _item(_("API keys"), "key", "tenants_apikey_changelist"),
            ],
        },
        {
            "title": _("Connections"),
            "separator": True,
            "items": [
                _item(_("Webhook"), "webhook", "webhook"),
                _item(_("Webhook deliveries"), "outbox", "tenants_outboxmessage_changelist"),
                _item(_("Bucket"), "cloud", "bucket"),
            ],
        },
        {
            "title": _("Credits"),
            "separator": True,
            "items": [
                _item(_("Ledger"), "receipt_long", "billing_ledgerentry_changelist"),
                _item(_("Statement"), "summarize", "statement"),
                _item(_("Prices"), "sell", "prices"),
                _item(_("Redeem a code"), "redeem", "redeem", "redeem"),
            ],
        },
        {
            "title": _("People"),
            "separator": True,
            "items": [_item(_("Members"), "group", "tenants_tenantmember_changelist")],
        },
    ]
    return admin_theme | {
        "SITE_SUBHEADER": _("Console"),
        "TABS": [],
        "ACCOUNT": {
            "navigation": [
                {"title": _("Change password"), "link": reverse_lazy("console:password_change")},
                {"title": _("Second factor"), "link": reverse_lazy("console:second_factor_setup")},
            ]
        },
        "SIDEBAR": {"show_search": False, "show_all_applications": False, "navigation": navigation},
    }
