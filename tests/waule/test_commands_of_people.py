"""`create_tenant`, `create_user`, `create_api_key`, `revoke_api_key` and `grant_credits`, and how a command fails."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError

from billing.ledger.models import LedgerEntry
from tenants.models import ApiKey, AuditEntry, Tenant, User
from tenants.selectors import find_api_key
from tests.books import account_of
from tests.callers import manage_json
from tests.live import Database, manage

UNKNOWN = "0190a5f0-0000-7000-8000-000000000000"


@pytest.mark.django_db
def test_a_tenant_with_a_key_and_credits() -> None:
    answer = manage_json("create_tenant", "Acme", "--credits", "50", "--all-models")
    assert set(answer) == {"id", "name", "apiKey", "credits"}
    tenant = Tenant.objects.get(id=answer["id"])
    assert (tenant.name, tenant.enabled_models, answer["credits"]) == ("Acme", ["*"], 50)
    assert account_of(tenant).balance == 50
    key = find_api_key(answer["apiKey"])
    assert key is not None
    assert (key.tenant, key.mode) == (tenant, "live")


@pytest.mark.django_db
def test_a_tenant_for_the_sandbox() -> None:
    answer = manage_json("create_tenant", "Acme", "--test-key")
    assert answer["apiKey"].startswith("wk_test_")
    assert Tenant.objects.get().enabled_models == []
    assert not LedgerEntry.objects.filter(account__mode="live").exists()


@pytest.mark.django_db
def test_a_user_with_a_membership() -> None:
    until = "2030-01-01T00:00:00+08:00"
    answer = manage_json(
        "create_user",
        "vera",
        "--password",
        "x",
        "--level",
        "VIP",
        "--membership-expires",
        until,
        "--credits",
        "9",
    )
    user = User.objects.get()
    assert answer == {"id": str(user.id), "username": "vera", "level": "VIP", "credits": 9}
    assert user.membership_expires_at == datetime(2029, 12, 31, 16, tzinfo=UTC)
    assert user.check_password("x")
    assert account_of(user).balance == 9


@pytest.mark.django_db
def test_without_a_password_nobody_logs_in() -> None:
    manage_json("create_user", "alice")
    assert not User.objects.get().has_usable_password()


def test_a_key_with_an_end(acme: Tenant) -> None:
    ends_at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    answer = manage_json("create_api_key", str(acme.id), "--test", "--name", "nightly", "--expires", ends_at.isoformat())
    key = ApiKey.objects.get()
    assert find_api_key(answer["apiKey"]) == key
    assert (key.mode, key.name, key.expires_at) == ("test", "nightly", ends_at)
    assert datetime.fromisoformat(answer["expiresAt"]) == ends_at


def test_a_key_is_revoked_at_once_or_after_a_while(acme: Tenant) -> None:
    first, second = manage_json("create_api_key", str(acme.id)), manage_json("create_api_key", str(acme.id))
    manage_json("revoke_api_key", first["id"])
    manage_json("revoke_api_key", second["id"], "--grace", "60")
    assert find_api_key(first["apiKey"]) is None
    assert find_api_key(second["apiKey"]) is not None
    manage_json("revoke_api_key", second["id"])
    assert find_api_key(second["apiKey"]) is None
    assert AuditEntry.objects.filter(action="key.revoke", actor="command").count() == 3


def test_credits_are_granted_once_per_key(birch: Tenant) -> None:
    again = ("grant_credits", "tenant", str(birch.id), "7", "--reason", "sorry", "--type", "GIFT", "--idempotency-key", "k")
    first = manage_json(*again)
    assert (first["balance"], manage_json(*again)) == (7, first)
    entry = LedgerEntry.objects.get(id=first["entryId"])
    assert (entry.kind, entry.amount, account_of(birch).balance) == ("GIFT", 7, 7)
    with pytest.raises(CommandError, match="Idempotency-Key"):
        manage_json(*again[:3], "8", *again[4:])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create_tenant", " "], "name"),
        (["create_tenant", "Birch", "--credits", "-1"], "credits"),
        (["create_tenant", "Birch", "--credits", str(2**53)], "credits"),
        (["create_tenant", "Birch", "--credits", "many"], "--credits"),
        (["create_tenant", "Birch", "--enable-model", "no-such-model"], "no-such-model"),
        (["create_user", "alice"], "taken"),
        (["create_user", "bob", "--level", "KING"], "KING"),
        (["create_user", "bob", "--credits", "-1"], "credits"),
        (["create_user", "bob", "--membership-expires", "tomorrow"], "ISO 8601"),
        (["create_user", "bob", "--membership-expires", "2030-01-01"], "ISO 8601"),
        (["create_user", "bob", "--membership-expires", "2030-13-01T00:00:00Z"], "ISO 8601"),
        (["create_api_key", UNKNOWN], f"There is no tenant {UNKNOWN}"),
        (["create_api_key", "nonsense"], "There is no tenant nonsense"),
        (["create_api_key", "ALICE", "--expires", "2020-01-01T00:00:00Z"], "There is no tenant"),
        (["revoke_api_key", UNKNOWN], UNKNOWN),
        (["grant_credits", "tenant", UNKNOWN, "5", "--reason", "x"], f"There is no tenant {UNKNOWN}"),
        (["grant_credits", "user", "nonsense", "5", "--reason", "x"], "There is no user nonsense"),
        (["grant_credits", "user", "ALICE", "0", "--reason", "x"], "credits"),
        (["grant_credits", "user", "ALICE", str(2**53), "--reason", "x"], "credits"),
        (["grant_credits", "user", "ALICE", "5", "--reason", " "], "reason"),
        (["grant_credits", "user", "ALICE", "5"], "--reason"),
        (["grant_credits", "user", "ALICE", "5", "--reason", "x", "--type", "CONSUME"], "--type"),
        (["grant_credits", "planet", "ALICE", "5", "--reason", "x"], "planet"),
    ],
)
def test_what_is_refused_changes_nothing(alice: User, arguments: list[str], message: str) -> None:
    arguments = [str(alice.id) if argument == "ALICE" else argument for argument in arguments]
    entries = LedgerEntry.objects.count()
    with pytest.raises(CommandError, match=message):
        manage_json(*arguments)
    assert list(User.objects.all()) == [alice]
    assert not Tenant.objects.exists()
    assert (LedgerEntry.objects.count(), account_of(alice).balance) == (entries, 1000)


def test_a_key_that_would_have_ended_already_is_not_made(acme: Tenant) -> None:
    with pytest.raises(CommandError, match="passed"):
        manage_json("create_api_key", str(acme.id), "--expires", "2020-01-01T00:00:00Z")
    with pytest.raises(CommandError, match="grace"):
        manage_json("revoke_api_key", UNKNOWN, "--grace", "-1")
    assert not ApiKey.objects.exists()


# --- as a shell sees them ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    database = Database.clone()
    yield database
    database.drop()


@pytest.mark.parametrize(
    "arguments",
    [
        ["create_tenant"],
        ["create_user", "bob", "--membership-expires", "yesterday", "--json"],
        ["grant_credits", "tenant", UNKNOWN, "5", "--reason", "x", "--json"],
        ["serve", "--port", "http"],
    ],
)
def test_a_failure_is_status_1_and_one_line(database: Database, arguments: list[str]) -> None:
    done = manage(*arguments, DATABASE_URL=database.url)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1


def test_success_is_one_document_and_nothing_else(database: Database) -> None:
    done = manage("create_tenant", "Zoë 测试", "--json", DATABASE_URL=database.url)
    assert (done.returncode, done.stderr, json.loads(done.stdout)["name"]) == (0, "", "Zoë 测试")


@pytest.mark.parametrize("url", ["sqlite:////no/such/folder/db.sqlite3", "postgresql://nobody:hidden-word@127.0.0.1:1/none"])
def test_a_database_that_is_away_is_one_line(url: str) -> None:
    done = manage("create_tenant", "Acme", DATABASE_URL=url)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "hidden-word" not in done.stderr


def test_an_empty_database_is_one_line() -> None:
    empty = Database.empty()
    done = manage("reconcile", DATABASE_URL=empty.url)
    empty.drop()
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
