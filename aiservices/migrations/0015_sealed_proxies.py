"""A proxy's address may carry its password: sealed in the row like every other secret."""

from django.db import migrations

from waule.encryption import EncryptedTextField


def copy(source, target):
    def run(apps, schema_editor):
        tokens = apps.get_model("aiservices", "SoraToken")._base_manager
        for token in tokens.all():
            tokens.filter(pk=token.pk).update(**{target: getattr(token, source)})

    return run


class Migration(migrations.Migration):
    dependencies = [("aiservices", "0014_find_what_is_rare")]

    operations = [
        migrations.AddField("soratoken", "sealed_proxy", EncryptedTextField("proxy", blank=True, default="")),
        migrations.RunPython(copy("proxy_url", "sealed_proxy"), copy("sealed_proxy", "proxy_url")),
        migrations.RemoveField("soratoken", "proxy_url"),
        migrations.RenameField("soratoken", "sealed_proxy", "proxy_url"),
    ]
