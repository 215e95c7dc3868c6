"""A proxy's address may carry its password: sealed in the row like every other secret."""

from django.db import migrations

from waule.core.crypto.encryption import EncryptedTextField, Secret, reveal


def copy(source, target):
    def run(apps, schema_editor):
        for token in apps.get_model("aiservices", "SoraToken")._base_manager.all():
            value = getattr(token, source)
            setattr(token, target, reveal(value) if isinstance(value, Secret) else value)
            token.save(update_fields=[target])

    return run


class Migration(migrations.Migration):
    dependencies = [("aiservices", "0014_find_what_is_rare")]

    operations = [
        migrations.AddField("soratoken", "sealed_proxy", EncryptedTextField("proxy", blank=True, default="")),
        migrations.RunPython(copy("proxy_url", "sealed_proxy"), copy("sealed_proxy", "proxy_url")),
        migrations.RemoveField("soratoken", "proxy_url"),
        migrations.RenameField("soratoken", "sealed_proxy", "proxy_url"),
    ]
