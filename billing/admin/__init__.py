"""Catalog, ledger and monitoring in the admin; each module registers its own."""

from billing.admin import api_keys, approvals, archives, ledger, models, monitoring, prices, redemption, tenant_tab, uses  # noqa: F401
