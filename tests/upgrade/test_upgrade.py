"""A filled database of version 0.1 becomes one of today: its rows, rights and secrets are all there, and the ledger adds up.

The dumps were made with version 0.1 itself: the demonstration catalog, a tenant with charges, a partial refund, holds, an
image and a queued video, a VIP, an administrator, a Gemini key, a bucket and a budget. Their secrets are sealed with the keys
of the test run.
"""

import contextlib
import gzip
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth.models import Group, Permission

from aiservices.credentials.models import GeminiKey
from aiservices.generations.models import Generation
from billing.budgets.models import Budget
from billing.catalog.models import AIModel, BillingRule
from billing.ledger.models import Account, Charge, Hold, LedgerEntry, Refund
from storage.models import OssConfig
from tenants.models import AuthenticatorDevice, Tenant, User
from tenants.webhooks.models import Webhook
from tests.admin.second_factor import code_of
from tests.live import Database, connect, manage
from tests.settings import ENVIRONMENT
from waule.core.crypto.encryption import is_bound

DUMPS = Path(__file__).parent


@pytest.fixture
def upgraded(django_db_blocker: Any) -> Iterator[Database]:
    """The old database, migrated by today's `migrate`."""
    database = old_database()
    done = manage("migrate", "--verbosity=0", DATABASE_URL=database.url)
    assert done.returncode == 0, done.stderr
    with django_db_blocker.unblock(), database.as_default():
        yield database
    database.drop()


def old_database() -> Database:
    database = Database.empty()
    if database.is_postgresql:
        script = gzip.decompress((DUMPS / "version_0_1_postgresql.sql.gz").read_bytes()).decode()
        with contextlib.closing(connect(database.name)) as connection, connection, connection.cursor() as cursor:
            cursor.execute("SET check_function_bodies = off")
            cursor.execute(script)
    else:
        script = gzip.decompress((DUMPS / "version_0_1_sqlite.sql.gz").read_bytes()).decode()
        with contextlib.closing(sqlite3.connect(database.name)) as plain:
            plain.executescript(script)
    return database


def test_a_database_of_version_0_1_migrates_with_its_data(upgraded: Database) -> None:
    acme, vera = Tenant.objects.get(name="Acme"), User.objects.get(username="vera")
    assert Account.objects.get(tenant=acme, mode="live").balance == 971
    assert Account.objects.get(user=vera).balance == 500
    assert LedgerEntry.objects.count() == 7
    assert sorted(Charge.objects.values_list("credits", "refunded")) == [(0, 0), (10, 0), (10, 0), (10, 1)]
    assert (Hold.objects.count(), Refund.objects.count(), Budget.objects.count()) == (4, 1, 1)
    assert sorted(Generation.objects.values_list("type", "state")) == [("image", "succeeded"), ("video", "queued")]
    assert Charge.objects.filter(model__model_id="sandbox-image").count() == 4
    assert (
        BillingRule.objects.get(model__model_id="sandbox-image").model.name == AIModel.objects.get(model_id="sandbox-image").name
    )
    assert GeminiKey.objects.get().secret == "AIzaSyA-old-key-000000000000000000000001"
    assert OssConfig.objects.get(tenant=acme).access_key_secret == "old-oss-secret"


def test_rights_follow_their_models(upgraded: Database) -> None:
    group = Group.objects.get(name="switchers")
    assert [f"{each.content_type.app_label}.{each.codename}" for each in group.permissions.all()] == ["billing.change_aimodel"]
    assert not Permission.objects.filter(content_type__app_label="aiservices", content_type__model="aimodel").exists()


def test_its_ledger_adds_up_and_can_be_written(upgraded: Database) -> None:
    done = manage("reconcile", "--json", DATABASE_URL=upgraded.url)
    assert done.returncode == 0, done.stdout
    acme = Tenant.objects.get(name="Acme")
    granted = manage("grant_credits", "tenant", str(acme.pk), "5", "--reason", "upgrade", DATABASE_URL=upgraded.url)
    assert granted.returncode == 0, granted.stderr
    assert Account.objects.get(tenant=acme, mode="live").balance == 976
    assert manage("reconcile", DATABASE_URL=upgraded.url).returncode == 0


# --- what the migrations that seal and bind secrets do with rows (tenants 0009 and 0010, storage 0006) ----------------

KEYS = {"root": "a1" * 20, "vera": "b2" * 20}  # of authenticators, in hexadecimal, as django-otp kept them
OLDER_KEY = "c3" * 20


def plant_old_secrets(database: Database) -> None:
    """Second factors in clear, one of them replaced and one never confirmed; webhooks with a secret and without one."""
    users = dict(database.sql("SELECT username, id FROM tenants_user"))
    root = next(name for name in users if name != "vera")
    rows = [(root, OLDER_KEY, True, 3, 7), (root, KEYS["root"], True, -1, 12345), ("vera", KEYS["vera"], False, 0, -1)]
    for name, key, confirmed, drift, last in rows:
        database.sql(
            "INSERT INTO otp_totp_totpdevice (user_id, name, confirmed, key, step, t0, digits, tolerance, drift, last_t, "
            "throttling_failure_count) VALUES (%s, 'phone', %s, %s, 30, 0, 6, 1, %s, %s, 0)",
            *(users[name], confirmed, key, drift, last),
        )
    (acme,) = database.sql("SELECT id FROM tenants_tenant WHERE name = 'Acme'")[0]
    database.sql("DELETE FROM tenants_webhook")
    columns = "INSERT INTO tenants_webhook (tenant_id, url, secret, is_active) VALUES (%s, 'https://a.example/', %s, %s)"
    database.sql(columns, acme, sealed_as_before(""), True)


def sealed_as_before(text: str) -> bytes:
    """As version 0.1 sealed: a bare JSON string, for no row in particular."""
    return Fernet(ENVIRONMENT["ENCRYPTION_KEYS"].encode()).encrypt(json.dumps(text).encode())


@pytest.fixture
def upgraded_with_secrets(django_db_blocker: Any) -> Iterator[Database]:
    database = old_database()
    plant_old_secrets(database)
    done = manage("migrate", "--verbosity=0", DATABASE_URL=database.url)
    assert done.returncode == 0, done.stderr
    with django_db_blocker.unblock(), database.as_default():
        yield database
    database.drop()


def test_second_factors_are_sealed_and_still_open_the_door(upgraded_with_secrets: Database) -> None:
    (device,) = AuthenticatorDevice.objects.all()  # an unconfirmed one was never used
    assert device.user.username != "vera"
    assert (device.key.reveal(), device.drift, device.last_t, device.confirmed) == (KEYS["root"], -1, 12345, True)
    code = code_of(device)
    assert device.verify_token(code) and not device.verify_token(code)  # each counts once
    assert upgraded_with_secrets.sql("SELECT count(*) FROM otp_totp_totpdevice") == [(0,)]
    ((sealed,),) = upgraded_with_secrets.sql("SELECT key FROM tenants_authenticatordevice")
    assert KEYS["root"].encode() not in bytes(sealed)
    # bound to its owner: in somebody else's row it does not open
    vera = User.objects.get(username="vera")
    AuthenticatorDevice.objects.create(user=vera)
    upgraded_with_secrets.sql("UPDATE tenants_authenticatordevice SET key = %s", bytes(sealed))
    assert not AuthenticatorDevice.objects.get(user=vera).key.is_readable
    assert AuthenticatorDevice.objects.get(user=device.user).key.is_readable


def test_webhooks_without_a_secret_get_one(upgraded_with_secrets: Database) -> None:
    secret = Webhook.objects.get().secret.reveal()
    assert secret.startswith("whsec_") and len(secret) > 40


def test_secrets_of_before_open_and_are_bound_by_a_rotation(upgraded_with_secrets: Database) -> None:
    """A bucket's secret was sealed for no row; `rotate_encryption_key` seals it for its own."""
    config = OssConfig.objects.get()
    ((before,),) = upgraded_with_secrets.sql("SELECT access_key_secret FROM storage_ossconfig")
    assert config.access_key_secret == "old-oss-secret" and not is_bound(bytes(before))
    done = manage("rotate_encryption_key", DATABASE_URL=upgraded_with_secrets.url)
    assert done.returncode == 0, done.stderr
    ((after,),) = upgraded_with_secrets.sql("SELECT access_key_secret FROM storage_ossconfig")
    assert is_bound(bytes(after)) and OssConfig.objects.get().access_key_secret == "old-oss-secret"
    other = Tenant.objects.create(name="Other")
    moved = OssConfig.objects.create(tenant=other)
    upgraded_with_secrets.sql("UPDATE storage_ossconfig SET access_key_secret = %s WHERE id = %s", bytes(after), moved.pk)
    assert not OssConfig.objects.get(pk=moved.pk).access_key_secret.is_readable
