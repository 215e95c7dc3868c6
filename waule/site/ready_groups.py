"""The three groups that are there from the start: operator, finance, auditor.

They are given what they need after every migration and nothing is ever taken from them; who wants less makes a group of
their own.
"""

from typing import Any

from django.apps import apps
from django.contrib.auth.management import create_permissions
from django.db import DEFAULT_DB_ALIAS
from django.db.models import Q

OUR_APPS = ("tenants", "billing", "storage", "aiservices", "auth")
_VIEW_ALL = Q(codename__startswith="view_", content_type__app_label__in=OUR_APPS)


def _of(app: str, *codenames: str) -> Q:
    return Q(content_type__app_label=app, codename__in=codenames)


READY_GROUPS = {
    # sees everything, changes nothing
    "auditor": _VIEW_ALL,
    # credits, prices, what levels may do, and what an unknown outcome costs
    "finance": _VIEW_ALL
    | _of("billing", "grant_credits", "adjust_credits", "refund_charge")
    | _of("billing", "change_alert", "download_ledgerarchive")
    | _of("aiservices", "settle_generation")
    | _of("billing", "add_billingrule", "change_billingrule", "delete_billingrule")
    | _of("billing", "add_billingprice", "change_billingprice", "delete_billingprice")
    | _of("billing", "add_redemptionbatch", "change_redemptionbatch")
    | _of("billing", "add_budget", "change_budget", "delete_budget")
    | _of("billing", "add_alertthreshold", "change_alertthreshold", "delete_alertthreshold")
    | _of("billing", "change_levelconfig", "add_modelpermission", "change_modelpermission", "delete_modelpermission"),
    # tenants and their keys, models, upstream credentials, generations, storage
    "operator": _VIEW_ALL
    | _of("tenants", "add_tenant", "change_tenant", "add_user", "change_user", "add_apikey", "change_apikey")
    | _of("tenants", "add_webhook", "change_webhook", "delete_webhook", "change_outboxmessage")
    | _of("billing", "add_aimodel", "change_aimodel", "change_alert")
    | _of("aiservices", "change_generation", "change_service")
    | _of("aiservices", "add_soratoken", "change_soratoken", "delete_soratoken")
    | _of("aiservices", "add_geminikey", "change_geminikey", "delete_geminikey")
    | _of("storage", "add_ossconfig", "change_ossconfig", "change_storageusage"),
}


def make_ready_groups(using: str = DEFAULT_DB_ALIAS, **kwargs: Any) -> None:
    """Make the groups and give them their permissions. Runs after `migrate`; may run again."""
    for label in OUR_APPS:
        create_permissions(apps.get_app_config(label), verbosity=0, using=using)
    groups, permissions = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    for name, wanted in READY_GROUPS.items():
        group, _made = groups._default_manager.using(using).get_or_create(name=name)
        group.permissions.add(*permissions._default_manager.using(using).filter(wanted))
