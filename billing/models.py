"""Registers the models of every room of this app with Django. Import them from their rooms."""

import billing.approvals.models
import billing.budgets.models
import billing.catalog.models
import billing.ledger.closings
import billing.ledger.models
import billing.monitoring.models
import billing.redemption.models
import billing.usage_reports.models  # noqa: F401
