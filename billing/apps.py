from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class BillingConfig(AppConfig):
    name = "billing"
    verbose_name = _("Billing")

    def ready(self) -> None:
        from billing.approvals import operations
        from billing.ledger import accounts  # noqa: F401  (connects its receivers)
        from billing.reconciliation import checks  # noqa: F401  (connects its receivers)

        operations.register_operations()
