"""Balances, ledger entries and storage bytes each have one writer: the code is walked, and any other is named."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
APPS = ("aiservices", "billing", "gateway_client", "storage", "tenants", "waule")
# table · model · reverse names · columns that only its writers assign · who may write it
OWNED = (
    ("billing_account", "Account", {"accounts", "account"}, {"balance", "held", "last_seq", "last_hash"}, ("billing/ledger/",)),
    ("billing_ledgerentry", "LedgerEntry", {"entries"}, set[str](), ("billing/ledger/",)),
    ("storage_storageusage", "StorageUsage", {"storage"}, {"used_bytes"}, ("storage/services.py",)),
)
OWN_BALANCE = {"billing/archive/files.py"}  # adds up a file's entries, in a class of its own; it writes no row
WRITES = {
    *("create", "bulk_create", "get_or_create", "update_or_create", "update", "bulk_update", "delete", "_raw_delete"),
    *("acreate", "aupdate", "adelete", "aget_or_create", "abulk_create"),
}


def sources() -> Iterator[tuple[str, str]]:
    for app in APPS:
        for path in sorted((ROOT / app).rglob("*.py")):
            if "migrations" not in path.parts:
                yield str(path.relative_to(ROOT)), path.read_text()


def names_of(node: ast.expr) -> set[str]:
    """Every name along a chain such as `Account.objects.filter(…).update`."""
    found = set()
    while True:
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
            node = node.value
        elif isinstance(node, ast.Call):
            node = node.func
        elif isinstance(node, ast.Subscript):
            node = node.value
        else:
            return found | ({node.id} if isinstance(node, ast.Name) else set())


def assigned(node: ast.AST) -> Iterator[str]:
    """The attributes that a statement assigns, through tuples too."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AugAssign) else []
    for target in targets:
        yield from (part.attr for part in ast.walk(target) if isinstance(part, ast.Attribute))


def writers(path: str, text: str) -> Iterator[str]:
    """What in this file writes one of the tables without being its writer."""
    tree = ast.parse(text)
    for table, model, reverse, columns, allowed in OWNED:
        if path.startswith(allowed):
            continue
        if re.search(rf"\b(INSERT\s+INTO|UPDATE|DELETE\s+FROM|TRUNCATE)\s+{table}\b", text, re.IGNORECASE):
            yield f"{path}: SQL that writes {table}"
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WRITES:
                chain = names_of(node.func.value)
                given = {keyword.arg for keyword in node.keywords}
                if model in chain or (reverse & chain and chain & {"objects", "filter", "all"}) or columns & given:
                    yield f"{path}:{node.lineno}: {ast.unparse(node)[:100]}"
            for name in assigned(node):
                if name in columns and path not in OWN_BALANCE:
                    yield f"{path}:{node.lineno}: assigns {name}"


def test_nobody_else_writes_what_counts() -> None:
    found = [each for path, text in sources() for each in writers(path, text)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "Account.objects.filter(pk=1).update(balance=5)",
        "row.balance += 1",
        "account.held, other = 5, 6",
        "tenant.accounts.all().update(held=0)",
        "LedgerEntry.objects.create(amount=5)",
        "LedgerEntry.objects.filter(pk=1).delete()",
        "StorageUsage.objects.update_or_create(tenant=t, defaults={})",
        "usage.used_bytes = 0",
        'cursor.execute("UPDATE billing_account SET balance = 0")',
        'cursor.execute("insert into billing_ledgerentry values (1)")',
    ],
)
def test_another_writer_is_found(text: str) -> None:
    assert list(writers("aiservices/example.py", text))
