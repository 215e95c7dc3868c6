from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class TenantsConfig(AppConfig):
    name = "tenants"
    verbose_name = _("Tenants")

    def import_models(self) -> None:
        super().import_models()
        from tenants.webhooks import models  # noqa: F401  (its models refer to those of `tenants.models`, which know them not)

    def ready(self) -> None:
        from tenants.login import limits, logins  # noqa: F401  (they listen to logins)
