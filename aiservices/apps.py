from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AIServicesConfig(AppConfig):
    name = "aiservices"
    verbose_name = _("AI services")

    def ready(self) -> None:
        from aiservices.generations import approved_settlements
        from aiservices.monitoring import jobs_health
        from billing.monitoring import alerts

        alerts.also_watch(jobs_health.broker_crossings)
        approved_settlements.register_operations()
