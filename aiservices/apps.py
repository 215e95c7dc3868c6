from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AIServicesConfig(AppConfig):
    name = "aiservices"
    verbose_name = _("AI services")

    def ready(self) -> None:
        from aiservices import catalog_versions  # noqa: F401  (connects its receiver)
