from django.apps import AppConfig, apps
from django.contrib.admin import apps as admin_apps
from django.db.models.signals import post_migrate


class WauleConfig(AppConfig):
    name = "waule"

    def ready(self) -> None:
        from waule import checks, schema  # noqa: F401  (they register themselves)
        from waule.ready_groups import make_ready_groups

        # After the tables of the app that comes last, so that every permission can be given.
        post_migrate.connect(make_ready_groups, sender=apps.get_app_config("aiservices"))


class WauleAdminConfig(admin_apps.AdminConfig):
    default_site = "waule.admin_site.WauleAdminSite"
