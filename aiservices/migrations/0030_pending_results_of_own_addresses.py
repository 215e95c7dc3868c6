from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("aiservices", "0029_search_by_pieces")]

    operations = [
        migrations.AddField(
            model_name="pendingresult",
            name="is_from_own_address",
            field=models.BooleanField(default=False, db_default=False),
        ),
    ]
