"""Secrets at rest, and their move to a new key."""

import json
import pickle
from io import StringIO
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.template import Context, Template
from django.utils.html import conditional_escape

from aiservices.credentials.models import GeminiKey, SoraToken
from storage.models import OssConfig
from waule.core import fail_points
from waule.core.crypto.encryption import EncryptedTextField, SecretUnreadable, is_bound, open_sealed, place_of, reveal, seal
from waule.core.crypto.rotation import PAGE, encrypted_columns, keys_in_use, rotate

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
    assert not row.access_key_secret.is_readable
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


def test_every_page_of_rows_is_read(any_database: None, settings: Any) -> None:
    settings.ENCRYPTION_KEYS = [OLD]
    count = 2 * PAGE + 1
    GeminiKey.objects.bulk_create(GeminiKey(secret=f"key-{n}", fingerprint=f"{n}") for n in range(count))
    settings.ENCRYPTION_KEYS = [NEW, OLD]
    seen: list[tuple[int, int]] = []
    assert rotate(lambda done, total: seen.append((done, total))).rotated == count
    assert seen[-1][0] == seen[-1][1] >= count
    settings.ENCRYPTION_KEYS = [NEW]
    assert {key.secret for key in GeminiKey.objects.all()} == {f"key-{n}" for n in range(count)}


def test_a_rotation_that_was_stopped_goes_on(any_database: None, settings: Any) -> None:
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
        config.access_key_secret = "a-newer-secret"
        config.save()

    assert rotate(write).rotated == 0
    assert OssConfig.objects.get().access_key_secret == "a-newer-secret"


def test_an_answer_with_an_unreadable_secret_is_503(config: OssConfig, settings: Any, internal: Any, acme: Any) -> None:
    settings.ENCRYPTION_KEYS = [NEW]
    status, answer = internal.get(f"/internal/tenants/{acme.id}/oss-config")
    assert (status, answer["code"]) == (503, "not_configured")


def test_every_column_of_secrets_is_known() -> None:
    names = {f"{model._meta.label}.{column.name}" for model, column in encrypted_columns()}
    assert {"storage.OssConfig.access_key_secret", "aiservices.SoraToken.secret", "aiservices.GeminiKey.secret"} <= names


# --- bound to row and column ---------------------------------------------------------------------------------------


def raw(table: str, column: str, value: bytes | None = None, **where: Any) -> bytes:
    """The sealed bytes of one cell; written where `value` is given."""
    (name, key), *_rest = where.items()
    with connection.cursor() as cursor:
        if value is not None:
            cursor.execute(f"UPDATE {table} SET {column} = %s WHERE {name} = %s", [value, key])
        cursor.execute(f"SELECT {column} FROM {table} WHERE {name} = %s", [key])
        return bytes(cursor.fetchone()[0])


def key_of(row: Any) -> Any:
    return row._meta.pk.get_db_prep_value(row.pk, connection)


def legacy(value: str) -> bytes:
    """As a secret was sealed before it named its place."""
    return Fernet(OLD.encode()).encrypt(json.dumps(value).encode())


def test_a_secret_that_was_moved_does_not_open(config: OssConfig, birch: Any, settings: Any) -> None:
    other = OssConfig.objects.create(tenant=birch, mode="custom", bucket="birch", access_key_secret="birch-secret")
    moved = raw("storage_ossconfig", "access_key_secret", id=config.id)
    raw("storage_ossconfig", "access_key_secret", moved, id=other.id)
    other.refresh_from_db()
    with pytest.raises(SecretUnreadable, match="another row"):
        reveal(other.access_key_secret)
    # nor in another column of the same row
    token = SoraToken.objects.create(secret="the-access-token", session_token="the-session", fingerprint="f")
    raw("aiservices_soratoken", "secret", raw("aiservices_soratoken", "session_token", id=key_of(token)), id=key_of(token))
    with pytest.raises(SecretUnreadable):
        reveal(SoraToken.objects.get().secret)
    # and it is kept as it is by whoever saves the row, and by a rotation, which says so
    other.bucket = "renamed"
    other.save()
    assert raw("storage_ossconfig", "access_key_secret", id=other.id) == moved
    assert len(rotate().unreadable) == 2


def test_every_encrypted_column_refuses_what_was_sealed_for_another(any_database: None) -> None:
    for model, column in encrypted_columns():
        sealed = seal("a secret", place_of(model, str(column.column), "1"))
        assert open_sealed(sealed, place_of(model, str(column.column), "1")) == "a secret"
        for place in (place_of(model, str(column.column), "2"), place_of(model, "other", "1"), ""):
            with pytest.raises(SecretUnreadable):
                open_sealed(sealed, place)


def test_what_was_sealed_before_places_were_named_opens_and_is_bound_by_a_rotation(config: OssConfig, settings: Any) -> None:
    raw("storage_ossconfig", "access_key_secret", legacy("of-before"), id=config.id)
    assert OssConfig.objects.get().access_key_secret == "of-before"
    assert (rotate().rotated, rotate().rotated) == (1, 0)
    assert is_bound(raw("storage_ossconfig", "access_key_secret", id=config.id))
    assert OssConfig.objects.get().access_key_secret == "of-before"


def test_a_new_field_must_be_bound_to_something_known_before_the_row() -> None:
    for model, column in encrypted_columns():
        assert column.check() == [], f"{model} {column}"
    numbered = EncryptedTextField()
    numbered.set_attributes_from_name("secret")
    numbered.model = OssConfig  # whose primary key is a number that the database gives
    assert [problem.id for problem in numbered.check()] == ["waule.E010"]


def test_a_secret_is_never_written_past_its_row(config: OssConfig) -> None:
    with pytest.raises(TypeError, match="save the row"), transaction.atomic():
        OssConfig.objects.update(access_key_secret="unbound")
    with pytest.raises(TypeError, match="from its row"):
        OssConfig.objects.values_list("access_key_secret", flat=True).get().reveal()


# --- which keys are still needed -----------------------------------------------------------------------------------


def test_a_key_that_is_in_use_is_not_to_be_dropped(config: OssConfig, settings: Any) -> None:
    settings.ENCRYPTION_KEYS = [NEW, OLD]
    assert keys_in_use() == [0, 1]
    old_process = legacy("written by a process with the older list")

    def write_meanwhile() -> None:
        raw("storage_ossconfig", "access_key_secret", old_process, id=config.id)

    with (
        fail_points.at("rotation.between_rows", write_meanwhile),
        pytest.raises(CommandError, match=r"Do not drop from ENCRYPTION_KEYS: key 2 \(1 secrets\)"),
    ):
        call_command("rotate_encryption_key")
    output = StringIO()
    call_command("rotate_encryption_key", "--json", stdout=output)
    assert json.loads(output.getvalue()) == {"rotated": 1, "current": 0, "droppable": 1}
    settings.ENCRYPTION_KEYS = [NEW]
    assert OssConfig.objects.get().access_key_secret == "written by a process with the older list"


# --- as Python sees it ---------------------------------------------------------------------------------------------


def test_whatever_turns_a_secret_into_text_shows_its_mask(config: OssConfig) -> None:
    secret = OssConfig.objects.get().access_key_secret
    shown = [str(secret), repr(secret), f"{secret}", f"{secret!r:>30}", f"{secret:s}"]
    shown += [conditional_escape(secret), Template("{{ s }}{{ s|safe }}{{ s|upper }}").render(Context({"s": secret}))]
    assert not [text for text in shown if "the-secret" in text]
    for leak in (lambda: json.dumps(secret), lambda: "x" + secret, lambda: pickle.dumps(secret), lambda: "".join([secret])):
        with pytest.raises(TypeError):
            leak()
    assert (secret == "the-secret", secret == "other", bool(secret), reveal(secret)) == (True, False, True, "the-secret")
