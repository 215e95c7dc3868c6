"""Fills a throw-away database with one tenant of a long history, some of a short one and an empty one.

python -m benchmarks.data.tenant_history ENTRIES prints, as JSON, whom it made. The full tenant has ENTRIES ledger entries, each
of the SMALL_TENANTS others SMALL_ENTRIES. One charge of twenty is partly refunded, one of ten belongs to a generation. Rows go in
by COPY, chained as the ledger chains them, without the foreign keys being checked one by one.
"""

import io
import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "waule.settings")

import django

django.setup()

from django.db import connection, models  # noqa: E402
from django.db.models import Max  # noqa: E402
from django.utils import timezone  # noqa: E402

from aiservices.generations.models import Generation  # noqa: E402
from billing.catalog.models import AIModel, BillingRule  # noqa: E402
from billing.ledger.models import Account, Charge, LedgerEntry, Refund  # noqa: E402
from storage.models import StorageUsage, StoredObject  # noqa: E402
from tenants.models import ApiKey, Scope, Tenant, TenantMember, User  # noqa: E402
from tenants.services import create_api_key  # noqa: E402
from tenants.webhooks.models import OutboxAttempt, OutboxMessage  # noqa: E402

SMALL_TENANTS, SMALL_ENTRIES = 100, 1000
DAYS = 360  # a read of usage may ask for 400
MODELS, KEYS = 3, 5
FIRST_CREDITS = 1_000_000_000
PRICE, PARTLY = 7, 3
OBJECT_BYTES = 1000
CHUNK = 50_000
PASSWORD = "bench-benchmark-0"
PROMPT = "A lighthouse on a cliff in the evening, painted in water colours, with gulls and a small boat far out"
TABLES: tuple[type[models.Model], ...] = (Charge, LedgerEntry, Refund, Generation, StoredObject, OutboxMessage, OutboxAttempt)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Copier:
    """Rows of several tables, written CHUNK at a time."""

    def __init__(self) -> None:
        self._rows: dict[type[models.Model], list[str]] = {model: [] for model in TABLES}
        numbered = [model for model in TABLES if model._meta.pk.get_internal_type() != "UUIDField"]
        self.ids = {model: model._default_manager.aggregate(last=Max("id"))["last"] or 0 for model in numbered}

    def writer(self, model: type[models.Model], *names: str) -> Callable[..., None]:
        """Return a function that adds a row: its columns `names` as given, the others as the model's defaults are."""
        blank, rows = model(), self._rows[model]
        cells: list[str] = []
        for field in model._meta.concrete_fields:
            default = text(field.get_db_prep_save(getattr(blank, field.attname), connection))
            given = f"{{{names.index(str(field.column))}}}" if field.column in names else ""
            cells.append(given or default.replace("{", "{{").replace("}", "}}"))
        form = "\t".join(cells).format

        def write(*values: Any) -> None:
            rows.append(form(*values))
            if len(rows) >= CHUNK:
                self.flush(model)

        return write

    def next_id(self, model: type[models.Model]) -> int:
        self.ids[model] += 1
        return self.ids[model]

    def flush(self, *wanted: type[models.Model]) -> None:
        for model in wanted or TABLES:
            columns = ", ".join(str(field.column) for field in model._meta.concrete_fields)
            rows = io.StringIO("\n".join(self._rows[model]))
            self._rows[model].clear()
            with connection.cursor() as cursor:
                cursor.copy_expert(f"COPY {model._meta.db_table} ({columns}) FROM STDIN", rows)

    def restart_sequences(self) -> None:
        """Number the rows to come after those that were copied."""
        with connection.cursor() as cursor:
            for model, last in self.ids.items():
                cursor.execute("SELECT setval(pg_get_serial_sequence(%s, 'id'), %s)", [model._meta.db_table, max(1, last)])


def text(value: Any) -> str:
    """Return a value as COPY reads it; none of ours needs escaping."""
    if value is None:
        return "\\N"
    if isinstance(value, bool):
        return "t" if value else "f"
    return json.dumps(value.adapted) if hasattr(value, "adapted") else str(value)


@lru_cache(maxsize=8)
def date_of(day: int) -> str:
    return (EPOCH + timedelta(days=day)).strftime("%Y-%m-%d")


def timestamp(microseconds: int) -> str:
    """Return a time since the epoch as COPY reads it."""
    seconds, fraction = divmod(microseconds, 1_000_000)
    day, second = divmod(seconds, 86_400)
    return f"{date_of(day)} {second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.{fraction:06}+00"


def uuid7_at(microseconds: int, account: int, number: int) -> str:
    time, noise = f"{microseconds // 1000:012x}", f"{account:06x}{number:012x}"
    return f"{time[:8]}-{time[8:]}-7{noise[:3]}-8{noise[3:6]}-{noise[6:]}"


def history(copier: Copier, account: Account, tenant: Tenant, keys: list[ApiKey], entries: int) -> None:
    """So many entries of one account over the last DAYS days, with what belongs to them."""
    catalog = [str(pk) for pk in AIModel.objects.order_by("model_id").values_list("id", flat=True)]
    key_ids, pk = [str(key.pk) for key in keys], account.pk
    said = ("kind", "amount", "balance", "charge_id", "created_at", "hash", "spendable")
    entry = copier.writer(LedgerEntry, "id", "account_id", "seq", *said, "actor", "description")
    used = ("credits", "refunded", "model_id", "api_key_id", "created_at")
    charge = copier.writer(Charge, "id", "account_id", *used, "operation", "actor")
    about = ("charge_id", "entry_id", "created_at", "spendable_after", "credits", "total_after", "is_full", "reason", "actor")
    refund = copier.writer(Refund, "id", "account_id", *about)
    generation = generation_writer(copier, pk, str(tenant.id))
    span = DAYS * 86_400 * 1_000_000
    start, step = int(timezone.now().timestamp() * 1_000_000) - span, span // (entries + 1)
    balance, made, before, charge_id = 0, 0, "", ""
    for seq in range(1, entries + 1):
        at = start + seq * step
        when = timestamp(at)
        kind, amount = ("GIFT", FIRST_CREDITS) if seq == 1 else ("REFUND", PARTLY) if seq % 20 == 1 else ("CONSUME", -PRICE)
        balance += amount
        if kind == "CONSUME":
            charge_id, model, key = uuid7_at(at, pk, seq), catalog[seq % MODELS], key_ids[seq % KEYS]
            refunded = PARTLY if seq % 20 == 0 and seq < entries else 0
            charge(charge_id, pk, PRICE, refunded, model, key, when, "image", "bench")
            if seq % 10 == 5:
                generation(at, when, charge_id, model, key, seq)
                made += 1
        parts = (before, pk, seq, kind, amount, balance, charge_id, at, "bench", "bench")
        before = sha256("\x1f".join(map(str, parts)).encode()).hexdigest()
        number = copier.next_id(LedgerEntry)
        entry(number, pk, seq, kind, amount, balance, charge_id or "\\N", when, before, balance, "bench", "bench")
        if kind == "REFUND":
            refund(uuid7_at(at, pk, seq), pk, charge_id, number, when, balance, PARTLY, PARTLY, "f", "bench", "bench")
    StorageUsage.objects.update_or_create(tenant=tenant, defaults={"used_bytes": OBJECT_BYTES * made})
    Account.objects.filter(pk=pk).update(balance=balance, last_seq=entries, last_entry_at=when, last_hash=before)


def generation_writer(copier: Copier, account: int, tenant: str) -> Callable[..., None]:
    """Return a function that adds the generation of a charge; one of fifty has a failed one beside it, one of ten a message."""
    common = ("tenant_id", "model_id", "api_key_id", "created_at", "started_at", "completed_at", "run_after", "prompt")
    row = copier.writer(Generation, "id", "type", "state", "error_code", "charge_id", "credits_charged", "outputs", *common)
    stored = copier.writer(StoredObject, "id", "tenant_id", "created_at", "size_bytes", "driver", "url")
    message = copier.writer(OutboxMessage, "id", "tenant_id", "created_at", "next_at", "kind", "state", "tries", "payload")
    attempt = copier.writer(OutboxAttempt, "id", "message_id", "at", "host", "status", "elapsed_ms")
    url = "/media/bench.png"
    outputs = json.dumps([{"url": url, "contentType": "image/png", "bytes": OBJECT_BYTES}])

    def write(at: int, when: str, charge: str, model: str, key: str, seq: int) -> None:
        type, end = "video" if seq % 50 == 5 else "image", timestamp(at + 9_000_000)
        same = (tenant, model, key, when, when, end, when, PROMPT)
        row(uuid7_at(at, account, seq), type, "succeeded", "", charge, PRICE, outputs, *same)
        if seq % 500 == 5:
            row(uuid7_at(at, account, seq + 1), type, "failed", "upstream_error", "\\N", 0, "[]", *same)
        stored(uuid7_at(at, account, seq), tenant, when, OBJECT_BYTES, "local", url)
        if seq % 100 == 5:
            sent = uuid7_at(at, account, seq)
            message(sent, tenant, when, when, "generation.succeeded", "delivered", 1, "{}")
            attempt(copier.next_id(OutboxAttempt), sent, when, "tenant.example", 200, 12)

    return write


def tenant_with_key(name: str) -> tuple[Tenant, Account, list[ApiKey], str]:
    tenant = Tenant.objects.create(name=name, enabled_models=["*"])
    account = Account.objects.get(tenant=tenant, mode="live")
    keys = [create_api_key(tenant=tenant, name=f"key {number}", scopes=Scope.values, actor="bench") for number in range(KEYS)]
    return tenant, account, [key for key, _text in keys], keys[0][1]


def person(name: str, tenant: Tenant) -> None:
    """An owner of the tenant, for the console."""
    user = User.objects.create_user(name, password=PASSWORD)
    TenantMember.objects.create(user=user, tenant=tenant)


def fill(entries: int) -> dict[str, Any]:
    for number in range(MODELS):
        model = AIModel.objects.create(
            model_id=f"bench-{number}", name=f"Bench {number}", provider="sandbox", type="IMAGE_GENERATION"
        )
        BillingRule.objects.create(name=model.model_id, model=model, billing_type="PER_REQUEST", base_credits=PRICE)
    made: dict[str, Any] = {"password": PASSWORD, "admin": "bench"}
    plan = [("empty", 0), *((f"small {number}", SMALL_ENTRIES) for number in range(SMALL_TENANTS)), ("full", entries)]
    tenants = [(tenant_with_key(name), count) for name, count in plan]
    for (tenant, account, _keys, plaintext), _count in (tenants[0], tenants[1], tenants[-1]):
        label = tenant.name.split()[0]
        person(f"bench-{label}", tenant)
        made[label] = {"tenant": str(tenant.id), "account": account.id, "key": plaintext, "member": f"bench-{label}"}
    User.objects.create_superuser("bench", password=PASSWORD)
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("SET synchronous_commit = off")
        copier = Copier()
        for (tenant, account, keys, _plaintext), count in tenants[1:]:
            history(copier, account, tenant, keys, count)
        copier.flush()
        cursor.execute("SET session_replication_role = DEFAULT")
        copier.restart_sequences()
        cursor.execute("VACUUM ANALYZE")
    return made


if __name__ == "__main__":
    print(json.dumps(fill(int(sys.argv[1]))))
