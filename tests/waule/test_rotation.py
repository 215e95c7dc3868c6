"""Secrets at rest, and their move to a new key."""

from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.db import connection

from aiservices.models import GeminiKey
from storage.models import OssConfig
from waule.encryption import SecretUnreadable, Unreadable, reveal
from waule.rotation import PAGE, encrypted_columns, rotate

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


@pytest.fixture
def config(settings: Any, acme: Any) -> OssConfig:
    settings.ENCRYPTION_KEYS = [OLD]
    return OssConfig.objects.create(tenant=acme, mode="custom", bucket="b", access_key_secret="the-secret")


def stored_bytes() -> bytes:
    with connection.cursor() as cursor:
        cursor.execute("SELECT access_key_secret FROM storage_ossconfig")
        return bytes(cursor.fetchone()[0])


def test_the_row_holds_no_plaintext(config: OssConfig) -> None:
    assert b"the-secret" not in stored_bytes()
    assert OssConfig.objects.get().access_key_secret == "the-secret"


def test_rotation_moves_every_secret_and_can_be_run_again(config: OssConfig, settings: Any) -> None:
    settings.ENCRYPTION_KEYS = [NEW, OLD]
    assert OssConfig.objects.get().access_key_secret == "the-secret"
    assert (rotate().rotated, rotate().rotated) == (1, 0)
    settings.ENCRYPTION_KEYS = [NEW]
    assert OssConfig.objects.get().access_key_secret == "the-secret"


def test_a_secret_whose_key_is_gone_is_kept_and_not_used(config: OssConfig, settings: Any) -> None:
    before = stored_bytes()
    settings.ENCRYPTION_KEYS = [NEW]
    row = OssConfig.objects.get()
    assert isinstance(row.access_key_secret, Unreadable)
    assert "cannot be decrypted" in str(row.access_key_secret)
    with pytest.raises(SecretUnreadable):
        reveal(row.access_key_secret)
    row.bucket = "other"
    row.save()
    assert stored_bytes() == before
    with pytest.raises(CommandError, match="cannot be decrypted"):
        call_command("rotate_encryption_key")
    settings.ENCRYPTION_KEYS = [OLD]
    assert OssConfig.objects.get().access_key_secret == "the-secret"


def test_every_page_of_rows_is_read(books: None, settings: Any) -> None:
    settings.ENCRYPTION_KEYS = [OLD]
    count = 2 * PAGE + 1
    GeminiKey.objects.bulk_create(GeminiKey(secret=f"key-{n}", fingerprint=f"{n}") for n in range(count))
    settings.ENCRYPTION_KEYS = [NEW, OLD]
    seen: list[tuple[int, int]] = []
    assert rotate(lambda done, total: seen.append((done, total))).rotated == count
    assert seen[-1][0] == seen[-1][1] >= count
    settings.ENCRYPTION_KEYS = [NEW]
    assert {key.secret for key in GeminiKey.objects.all()} == {f"key-{n}" for n in range(count)}


def test_a_rotation_that_was_stopped_goes_on(books: None, settings: Any) -> None:
    settings.ENCRYPTION_KEYS = [OLD]
    GeminiKey.objects.bulk_create(GeminiKey(secret=f"key-{n}", fingerprint=f"{n}") for n in range(10))

    def stop(done: int, total: int) -> None:
        if done > 4:
            raise KeyboardInterrupt

    settings.ENCRYPTION_KEYS = [NEW, OLD]
    with pytest.raises(KeyboardInterrupt):
        rotate(stop)
    result = rotate()
    assert (result.rotated, result.current) == (6, 4)


def test_what_somebody_writes_meanwhile_is_theirs(config: OssConfig, settings: Any) -> None:
    settings.ENCRYPTION_KEYS = [NEW, OLD]

    def write(done: int, total: int) -> None:  # after the page was read, before its row is sealed anew
        OssConfig.objects.filter(id=config.id).update(access_key_secret="a-newer-secret")

    assert rotate(write).rotated == 0
    assert OssConfig.objects.get().access_key_secret == "a-newer-secret"


def test_an_answer_with_an_unreadable_secret_is_503(config: OssConfig, settings: Any, internal: Any, acme: Any) -> None:
    settings.ENCRYPTION_KEYS = [NEW]
    status, answer = internal.get(f"/internal/tenants/{acme.id}/oss-config")
    assert (status, answer["code"]) == (503, "not_configured")


def test_every_column_of_secrets_is_known() -> None:
    names = {f"{model._meta.label}.{column.name}" for model, column in encrypted_columns()}
    assert {"storage.OssConfig.access_key_secret", "aiservices.SoraToken.secret", "aiservices.GeminiKey.secret"} <= names
