"""Let a generation be found by a part of its ids and the words of its prompt (docs/adr/0011-search-by-pieces.md).

PostgreSQL alone: SQLite reads the newest rows. The expressions are those of `waule.core.db.part_search`. Made without locking
the table: it may have many rows.
"""

from django.db import migrations

ID = "ARRAY[" + ", ".join(f"get_byte(uuid_send(id), {n}) << 8 | get_byte(uuid_send(id), {n + 1})" for n in range(2, 16, 2)) + "]"
OTHER_IDS = [
    rf"string_to_array(regexp_replace(replace(lower({column}), '-', ''), '(.{{4}})', '\1 ', 'g'), ' ')"
    for column in ("request_id", "upstream_id")
]
SPACED = r"regexp_replace(lower(prompt), '([\u2E80-\u9FFF\uAC00-\uD7AF\uF900-\uFAFF])', ' \1 ', 'g')"
WORDS = f"regexp_split_to_array({SPACED}, '[[:space:][:punct:]]+')"


def make(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        drop(apps, schema_editor)  # what a broken attempt left
        columns = ", ".join(f"({each})" for each in (ID, *OTHER_IDS, WORDS))
        schema_editor.execute(f"CREATE INDEX CONCURRENTLY aiservices_gen_search ON aiservices_generation USING gin ({columns})")


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP INDEX IF EXISTS aiservices_gen_search")


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("aiservices", "0028_lease_generation")]
    operations = [migrations.RunPython(make, drop)]
