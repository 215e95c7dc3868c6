"""Catalog, ledger and monitoring in the admin; each module registers its own."""

from billing.admin import archives, ledger, monitoring, tenant_tab, uses  # noqa: F401
from billing.admin.catalog import models, prices  # noqa: F401
from billing.admin.keys import api_keys  # noqa: F401
from billing.admin.money import approvals, redemption  # noqa: F401
