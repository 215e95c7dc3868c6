"""Triggers: audit entries are never changed or deleted."""

from django.db import migrations

from waule.core.db.append_only import create_triggers, drop_triggers

TABLE = "tenants_auditentry"


class Migration(migrations.Migration):
    dependencies = [("tenants", "0001_initial")]

    operations = [migrations.RunPython(create_triggers(TABLE, clash="id = NEW.id"), drop_triggers(TABLE))]
