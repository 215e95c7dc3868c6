"""Keys of tenants: how they look, whom they belong to, when they end."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from storage.models import OssConfig
from tenants.api_keys import looks_valid, new_key
from tenants.models import ApiKey, AuditEntry
from tenants.selectors import find_api_key
from tenants.services import create_api_key, revoke_api_key

URL = "/internal/tenants/by-apikey"


@pytest.fixture
def key(acme: Any) -> tuple[ApiKey, str]:
    return create_api_key(tenant=acme, name="first", actor="test")


def ask(internal: Any, plaintext: str) -> tuple[int, Any]:
    return internal.get(URL, headers={"X-Api-Key": plaintext})


@pytest.mark.parametrize("mode", ["live", "test"])
def test_a_key_has_its_form(mode: str) -> None:
    plaintext = new_key(mode)
    assert plaintext.startswith(f"wk_{mode}_")
    assert len(plaintext) == 8 + 30 + 6
    assert looks_valid(plaintext)
    assert new_key(mode) != plaintext
    swapped = plaintext[:20] + ("a" if plaintext[20] != "a" else "b") + plaintext[21:]
    for wrong in (
        swapped,
        plaintext[:-1],
        plaintext + "0",
        plaintext.replace("wk_", "wx_"),
        "",
        "wk_live_",
        plaintext[:-1] + "é",
    ):
        assert not looks_valid(wrong), wrong


def test_a_key_leads_to_its_tenant(internal: Any, acme: Any, key: tuple[ApiKey, str]) -> None:
    status, answer = ask(internal, key[1])
    assert status == 200
    assert answer == {
        "id": str(acme.id),
        "name": "Acme",
        "credits": 1000,
        "enabledModels": ["*"],
        "ossMode": "platform",
        "isActive": True,
        "keyId": str(key[0].id),
        "keyMode": "live",
    }
    assert internal.last["Cache-Control"] == "no-store"
    OssConfig.objects.create(tenant=acme, mode="custom", bucket="b")
    acme.is_active = False
    acme.save()
    answer = ask(internal, key[1])[1]
    assert (answer["ossMode"], answer["isActive"]) == ("custom", False)


def test_a_test_key_tells_of_the_test_account(internal: Any, acme: Any) -> None:
    _key, plaintext = create_api_key(tenant=acme, mode="test", actor="test")
    answer = ask(internal, plaintext)[1]
    assert (answer["keyMode"], answer["credits"]) == ("test", 1_000_000)


def test_the_text_is_kept_nowhere(key: tuple[ApiKey, str]) -> None:
    stored = ApiKey.objects.filter(id=key[0].id).values().get()
    assert key[1] not in str(stored)
    assert key[0].masked == f"wk_live_…{key[1][-4:]}"
    assert key[1] not in str(list(AuditEntry.objects.values()))


def test_unknown_expired_and_revoked_keys_are_404(internal: Any, acme: Any, key: tuple[ApiKey, str]) -> None:
    assert internal.get(URL)[0] == 400
    for unknown in (new_key("live"), "nonsense", "wk_live_"):
        assert ask(internal, unknown)[0] == 404
    row, plaintext = key
    revoke_api_key(key_id=str(row.id), grace_seconds=60, actor="test")
    assert ask(internal, plaintext)[0] == 200
    revoke_api_key(key_id=str(row.id), actor="test")
    assert ask(internal, plaintext)[0] == 404
    other, plaintext = create_api_key(tenant=acme, expires_at=timezone.now() + timedelta(hours=1), actor="test")
    assert ask(internal, plaintext)[0] == 200
    ApiKey.objects.filter(id=other.id).update(expires_at=timezone.now())
    assert ask(internal, plaintext)[0] == 404


def test_revoked_and_expired_keys_open_nothing(acme: Any) -> None:
    for ended in ("revoked_at", "expires_at"):
        row, plaintext = create_api_key(tenant=acme, actor="test")
        assert find_api_key(plaintext) == row
        ApiKey.objects.filter(id=row.id).update(**{ended: timezone.now()})
        assert find_api_key(plaintext) is None


def test_a_key_is_found_in_one_query(internal: Any, key: tuple[ApiKey, str]) -> None:
    ask(internal, key[1])
    with CaptureQueriesContext(connection) as queries:
        ask(internal, key[1])
    assert len(queries) == 1, queries.captured_queries
    with CaptureQueriesContext(connection) as queries:
        ask(internal, key[1][:-1])
    assert len(queries) == 0
