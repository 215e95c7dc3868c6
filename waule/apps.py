from django.apps import AppConfig, apps
from django.contrib.admin import apps as admin_apps
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate


class WauleConfig(AppConfig):
    name = "waule"

    def ready(self) -> None:
        from waule.core import checks  # noqa: F401  (they register themselves)
        from waule.core.db.pooler import limit_transactions
        from waule.core.files import make_database_private
        from waule.site.openapi import schema  # noqa: F401  (they register themselves)
        from waule.site.ready_groups import make_ready_groups

        limit_transactions()
        connection_created.connect(make_database_private)
        # After the tables of the app that comes last, so that every permission can be given.
        post_migrate.connect(make_ready_groups, sender=apps.get_app_config("aiservices"))


class WauleAdminConfig(admin_apps.AdminConfig):
    default_site = "waule.site.admin_site.WauleAdminSite"
