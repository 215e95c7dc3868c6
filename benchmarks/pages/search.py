"""The admin's one search over many generations: python -m benchmarks.pages.search ROWS, on an empty migrated PostgreSQL.

Fills the table with ROWS generations (ids, request ids and task ids at random; prompts of eight words, some of them Chinese, the
common ones more often) and prints how long the search takes for each kind of term, in milliseconds: the median of RUNS. Indexes
are made after the rows, else filling takes hours.
"""

import os
import statistics
import sys
import time

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "waule.settings")

import django

django.setup()

from django.db import connection  # noqa: E402

from aiservices.generations.models import Generation  # noqa: E402
from billing.catalog.models import AIModel  # noqa: E402
from tenants.models import Tenant, User  # noqa: E402
from waule.core.ids import uuid7  # noqa: E402
from waule.site.search import find  # noqa: E402

RUNS = 7
WORDS, CHARACTERS = 20_000, 3_000
TABLE = Generation._meta.db_table
_HEX = "md5(random()::text)"
_ID = (
    f"(lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - {{rows}} + n), 12, '0') || '7' || substr({_HEX}, 1, 3) || '8' ||"
    f" substr({_HEX}, 1, 15))::uuid"
)
_WORD = f"'w' || to_hex((power(random(), 3) * {WORDS})::int)"
_CHARACTER = f"chr(19968 + (power(random(), 2) * {CHARACTERS})::int)"
VARIED = {
    "id": _ID,
    "request_id": _HEX,
    "upstream_id": f"'task_' || substr({_HEX}, 1, 20)",
    "prompt": " || ' ' || ".join([_WORD] * 6 + [f"{_CHARACTER} || {_CHARACTER}"] * 2),
}


def fill(rows: int) -> None:
    """Write `rows` generations like one that is made by the model's defaults."""
    tenant = Tenant.objects.create(name="Search", enabled_models=["*"])
    model = AIModel.objects.create(model_id="search", name="Search", provider="sandbox", type=AIModel.Type.IMAGE_GENERATION)
    made = Generation.objects.create(
        id=uuid7(), tenant=tenant, model=model, type="image", mode="live", state="succeeded", outcome="succeeded", prompt="x"
    )
    columns = [field.column for field in Generation._meta.concrete_fields]
    values = ", ".join(VARIED.get(column, f"t.{column}") for column in columns).replace("{rows}", str(rows))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = %s AND indexdef NOT LIKE '%%UNIQUE%%'", [TABLE]
        )
        indexes = cursor.fetchall()
        for name, _definition in indexes:
            cursor.execute(f"DROP INDEX {name}")
        cursor.execute("SET session_replication_role = replica; SET maintenance_work_mem = '2GB'")
        cursor.execute(
            f"INSERT INTO {TABLE} ({', '.join(columns)}) SELECT {values} FROM generate_series(1, {rows}) AS n"
            f" CROSS JOIN (SELECT * FROM {TABLE} WHERE id = %s) AS t",
            [made.id],
        )
        for _name, definition in indexes:
            cursor.execute(definition)
        cursor.execute("RESET session_replication_role")
        cursor.execute(f"VACUUM ANALYZE {TABLE}")


def terms() -> dict[str, str]:
    """Return a term of each kind, of a generation in the middle of the table."""
    middle = Generation.objects.order_by("id")[Generation.objects.count() // 2]
    words = middle.prompt.split()
    return {
        "a whole id": str(middle.id),
        "eight characters of an id": str(middle.id).replace("-", "")[17:25],
        "eight characters of a request id": middle.request_id[9:17],
        "eight characters of a task id": middle.upstream_id[8:16],
        "eight characters that nothing has": "zzzzyyyy",
        "the commonest word": "w0",
        "a rare word": f"w{WORDS - 1:x}",
        "three words": " ".join(words[:3]),
        "two Chinese characters": words[-1],
        "a word that nothing has": "nowhere",
    }


def main() -> None:
    fill(int(sys.argv[1]))
    reader = User.objects.create_superuser("search", password=None)
    print(f"| {Generation.objects.count():,} generations | found | ms |\n| --- | --: | --: |")
    for kind, term in terms().items():
        took = []
        for _run in range(RUNS):
            began_at = time.perf_counter()
            found = len(find(reader, term))
            took.append((time.perf_counter() - began_at) * 1000)
        print(f"| {kind} | {found} | {statistics.median(took):.0f} |", flush=True)


if __name__ == "__main__":
    main()
