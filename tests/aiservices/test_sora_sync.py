"""Our Sora tokens and a Sora token service of the real wire format: told, pulled, down, restarted, and back in step."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine

from aiservices.credentials import checks as credential_tests
from aiservices.credentials import pool
from aiservices.credentials import services as credentials
from aiservices.credentials import sora as sora_sync
from aiservices.credentials.bulk import import_many
from aiservices.credentials.models import SoraToken
from gateway_client.errors import CredentialRefused, NotAccepted, UpstreamError, UpstreamRefused
from tenants.models import AuditEntry
from tests.aiservices.credential_rows import access_token
from tests.upstreams.sora_service import SoraService
from waule.core.errors import Duplicate, NotConfigured

pytestmark = [pytest.mark.django_db, pytest.mark.once]  # the database makes no difference
OPERATOR = {"actor": "admin:root"}


def add(secret: str = "", **fields: Any) -> SoraToken:
    return sora_sync.add(secret=secret or access_token("anna@example.com"), **fields, **OPERATOR)


def again(row: SoraToken) -> SoraToken:
    return SoraToken.objects.get(pk=row.pk)


def told(row: SoraToken, **changes: Any) -> SoraToken:
    credentials.edit(credential=row, changes=changes, **OPERATOR)
    sora_sync.push_quietly([row.pk])
    return again(row)


def test_an_added_token_is_there_with_its_settings(sora: SoraService) -> None:
    row = add(remark="first", image_concurrency=3, session_token="st-123456", proxy_url="http://proxy:8080")
    item = sora.tokens[row.remote_id or 0]
    assert (item["token"], item["st"], item["remark"], item["image_concurrency"]) == (
        row.secret.reveal(),
        "st-123456",
        "first",
        3,
    )
    assert row.is_in_step
    assert row.email == "anna@example.com"
    assert row.expires_at == datetime(2100, 1, 1, tzinfo=UTC)
    assert sora.paths("POST") == ["POST /api/tokens"]


def test_a_token_added_switched_off_is_off_there(sora: SoraService) -> None:
    row = add(is_active=False)
    assert sora.tokens[row.remote_id or 0]["is_active"] is False


def test_settings_are_told_without_the_secret(sora: SoraService) -> None:
    row = told(add(), remark="second", video_enabled=False)
    assert row.is_in_step
    method, _path, body = sora.calls[-1]
    assert method == "PUT"
    assert body["remark"] == "second" and body["video_enabled"] is False
    assert not {"token", "st", "rt"} & set(body)


def test_a_new_secret_is_followed_by_the_wished_status(sora: SoraService) -> None:
    row = add()
    credentials.disable(credential=row, reason="resting", **OPERATOR)
    sora_sync.push_quietly([row.pk])
    before = len(sora.calls)
    row = told(again(row), secret=access_token("anna@example.com"))
    assert [path for _method, path, _body in sora.calls[before:]] == [
        f"/api/tokens/{row.remote_id}",
        f"/api/tokens/{row.remote_id}/disable",
    ]
    assert sora.tokens[row.remote_id or 0]["is_active"] is False  # although the service switched it on when it tested it
    assert sora.tokens[row.remote_id or 0]["token"] == row.secret.reveal()


def test_a_refused_token_is_not_kept(sora: SoraService) -> None:
    secret = access_token("dead@example.com")
    sora.dead.add(secret)
    with pytest.raises(UpstreamRefused):
        add(secret)
    assert not SoraToken.objects.exists()


def test_a_secret_that_the_service_repeats_is_kept_nowhere(sora: SoraService) -> None:
    secret = "opaque-planted-secret-of-anna"
    add()  # and with it a session
    sora.broken = (503, json.dumps({"detail": f"cannot work on {secret} now"}).encode())
    row = add(secret)
    sora.broken = (400, json.dumps({"detail": f"cannot use {secret} at all"}).encode())
    sora_sync.push_quietly([row.pk])
    row = again(row)
    assert "at all" in row.push_error and secret not in row.push_error


def test_a_token_that_the_service_has_already_is_recognised(sora: SoraService) -> None:
    item = sora.put(access_token("anna@example.com"))
    row = add(item["token"])
    assert row.remote_id == item["id"] and row.is_in_step
    with pytest.raises(Duplicate):
        add(item["token"])


def test_down_and_back(sora: SoraService) -> None:
    kept, switched, deleted = (add(access_token(f"{name}@example.com")) for name in ("kept", "switched", "deleted"))
    sora.stop()
    new = add(access_token("new@example.com"))
    assert new.to_push == ["add"] and new.push_error and not new.is_in_step
    assert not told(kept, remark="changed").is_in_step
    credentials.disable(credential=switched, **OPERATOR)
    credentials.delete(credential=deleted, **OPERATOR)
    sora_sync.push_quietly([switched.pk, deleted.pk])
    with pytest.raises(NotAccepted):
        sora_sync.sync()
    assert credentials.rows("sora").count() == 3

    sora.start()
    result = sora_sync.sync()
    assert len(result.pushed) == 4 and not result.failed and not result.adopted
    assert {item["email"] for item in sora.tokens.values()} >= {"user1@example.com", "user2@example.com"}
    assert sora.tokens[kept.remote_id or 0]["remark"] == "changed"
    assert sora.tokens[switched.remote_id or 0]["is_active"] is False
    assert deleted.remote_id not in sora.tokens
    assert all(row.is_in_step for row in SoraToken.objects.all())
    assert not SoraToken.objects.filter(pk=deleted.pk).exists()
    assert sora_sync.sync().adopted == []


def test_sessions_that_end_cost_one_fresh_login(sora: SoraService) -> None:
    add()
    sora.restart()
    sora_sync.sync()
    assert sora.logins == 2
    sora.session_calls = 1
    sora_sync.sync()
    assert sora.logins == 3


def test_a_wrong_password_is_not_tried_again_and_again(sora: SoraService, settings: Any) -> None:
    settings.SORA_API_PASSWORD = "wrong"
    with pytest.raises(CredentialRefused):
        sora_sync.sync()
    assert sora.logins == 1
    settings.SORA_API_PASSWORD = ""
    with pytest.raises(NotConfigured):
        sora_sync.sync()
    assert add().to_push == ["add"]


@pytest.mark.parametrize("body", [b"<html>", b'{"detail": "x"}', b'[{"id": "1", "token": "t"}]', b"[1]", b'[{"id": 1}]'])
def test_odd_lists_change_nothing(sora: SoraService, body: bytes) -> None:
    row = add()
    sora.broken = (200, body)
    with pytest.raises(UpstreamError):
        sora_sync.sync()
    assert again(row).is_in_step


def test_a_token_of_a_later_version_is_adopted_whole(sora: SoraService) -> None:
    sora.later_version = True
    item = sora.put(
        access_token("anna@example.com"),
        st="st-secret-of-anna",
        rt="rt-secret-of-anna",
        remark="from there",
        video_concurrency=2,
        sora2_remaining_count=7,
        expiry_time="2099-01-02T03:04:05",
    )
    result = sora_sync.sync()
    assert len(result.adopted) == 1
    row = SoraToken.objects.get()
    assert (row.secret.reveal(), row.session_token, row.refresh_token) == (item["token"], item["st"], item["rt"])
    assert (row.email, row.remark, row.video_concurrency) == ("user1@example.com", "from there", 2)
    assert row.expires_at == datetime(2099, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert row.remote["sora2_remaining_count"] == 7 and "watermark_free" not in row.remote
    assert row.is_in_step
    assert sora_sync.sync() == sora_sync.SyncResult()
    audited = str(list(AuditEntry.objects.values()))
    assert item["token"] not in audited and "secret-of-anna" not in audited
    assert item["token"] not in str(row.remote) and "secret-of-anna" not in str(row.remote)


def test_what_changed_there_is_taken_over(sora: SoraService) -> None:
    row = add()
    renewed = access_token("anna@example.com")
    sora.tokens[row.remote_id or 0] |= {"remark": "renamed there", "image_enabled": False, "token": renewed, "is_active": False}
    sora.tokens[row.remote_id or 0] |= {"disabled_reason": "token_invalid", "email": "anna@example.com"}
    result = sora_sync.sync()
    assert [line["id"] for line in result.updated] == [str(row.pk)]
    row = again(row)
    assert (row.remark, row.image_enabled, row.secret.reveal()) == ("renamed there", False, renewed)
    assert (row.is_active, row.state, row.shown_reason) == (False, "invalid", "token_invalid")


def test_both_sides_changed_ours_wins_and_both_are_shown(sora: SoraService) -> None:
    row = add(remark="old")
    sora_sync.sync()
    credentials.edit(credential=row, changes={"remark": "ours"}, **OPERATOR)
    sora.tokens[row.remote_id or 0]["remark"] = "theirs"
    result = sora_sync.sync()
    assert result.conflicts[0]["fields"] == {"remark": {"here": "ours", "there": "theirs"}}
    assert sora.tokens[row.remote_id or 0]["remark"] == "ours"
    assert again(row).is_in_step
    assert AuditEntry.objects.filter(action="credential.conflict").count() == 1


def test_a_token_that_is_missing_there_is_kept_and_marked(sora: SoraService) -> None:
    row = add()
    sora.tokens.clear()
    result = sora_sync.sync()
    assert [line["id"] for line in result.missing] == [str(row.pk)]
    row = again(row)
    assert row.is_missing_there and not row.is_in_step
    with pytest.raises(Exception, match="credential"):
        pool.lease(provider="sora")
    back = add(row.secret.reveal())  # adding it anew brings the same row back
    assert back.pk == row.pk and back.is_in_step and len(sora.tokens) == 1


def test_an_id_that_was_given_to_another_account_is_not_mistaken(sora: SoraService) -> None:
    row = add()
    sora_sync.sync()
    sora.tokens.clear()
    sora.last_id = 0
    sora.put(access_token("other@example.com"), email="other@example.com")
    result = sora_sync.sync()
    assert len(result.adopted) == 1 and len(result.missing) == 1
    assert again(row).is_missing_there and again(row).remote_id is None


def test_probably_quota_and_on_again_when_the_cooldown_has_passed(sora: SoraService) -> None:
    row = add()
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=5)
    there = sora.tokens[row.remote_id or 0]
    there |= {"is_active": False, "disabled_reason": "manual", "sora2_cooldown_until": until.replace(tzinfo=None).isoformat()}
    sora_sync.sync()
    row = again(row)
    assert row.is_probably_quota and not row.is_active
    assert (row.state, row.cooling_until) == ("quota_exhausted", until)
    assert "quota" in row.shown_reason
    with time_machine.travel(until + timedelta(minutes=1)):
        sora_sync.sync()
        assert not again(row).is_active  # nobody asked for it
        credentials.edit(credential=row, changes={"reenable_after_cooldown": True}, **OPERATOR)
        sora_sync.sync()
        row = again(row)
        assert row.is_active and row.is_in_step and there["is_active"] is True
        assert pool.lease(provider="sora").is_trial


def test_what_an_operator_switched_off_is_not_called_quota(sora: SoraService) -> None:
    row = add()
    credentials.disable(credential=row, reason="resting", **OPERATOR)
    sora_sync.push_quietly([row.pk])
    sora.tokens[row.remote_id or 0]["sora2_cooldown_until"] = "2099-01-01T00:00:00"
    sora_sync.sync()
    row = again(row)
    assert (row.is_probably_quota, row.shown_reason) == (False, "resting")


def test_forty_are_imported_in_one_call(sora: SoraService) -> None:
    items = [{"secret": access_token(f"u{n}@example.com"), "remark": f"no {n}", "is_active": n != 3} for n in range(40)]
    result = import_many(provider="sora", items=items, **OPERATOR)
    assert (result.added, result.updated, result.failed) == (40, 0, 0)
    sora_sync.push_quietly(result.touched)
    assert sora.paths("POST") == ["POST /api/tokens/import"]
    assert len(sora.tokens) == 40
    assert [item["email"] for item in sora.tokens.values() if not item["is_active"]] == ["u3@example.com"]
    assert all(row.is_in_step and row.remote_id for row in SoraToken.objects.all())
    result = import_many(provider="sora", items=items[:2], **OPERATOR)
    assert (result.added, result.updated) == (0, 2)


def test_tokens_without_an_email_are_added_singly(sora: SoraService) -> None:
    items = [{"secret": f"opaque-token-{n}-of-somebody"} for n in range(3)]
    result = import_many(provider="sora", items=items, **OPERATOR)
    sora_sync.push_quietly(result.touched)
    assert sora.paths("POST") == ["POST /api/tokens"] * 3


def test_a_change_made_while_a_push_is_under_way_is_told_too(sora: SoraService) -> None:
    row = add(remark="one")
    credentials.edit(credential=row, changes={"remark": "two"}, **OPERATOR)
    stale = again(row)
    credentials.edit(credential=row, changes={"remark": "three"}, **OPERATOR)
    sora_sync.push(stale)  # tells "two", which is old by now
    assert again(row).to_push == ["fields"]
    sora_sync.sync()
    assert sora.tokens[row.remote_id or 0]["remark"] == "three"


def test_an_add_whose_answer_was_lost_is_not_added_twice(sora: SoraService) -> None:
    sora.broken = (502, b"Bad Gateway")
    row = add()
    assert row.to_push == ["add"]
    sora.broken = None
    sora.put(row.secret.reveal())  # it had arrived after all
    sora_sync.sync()
    assert len(sora.tokens) == 1 and again(row).is_in_step


def test_a_deletion_is_told_even_where_the_id_never_arrived(sora: SoraService) -> None:
    sora.broken = (502, b"Bad Gateway")
    row = add()
    sora.broken = None
    sora.put(row.secret.reveal())
    credentials.delete(credential=row, **OPERATOR)
    sora_sync.sync()
    assert sora.tokens == {} and not SoraToken.objects.exists()


def test_testing_a_token(sora: SoraService) -> None:
    row = add()
    assert credential_tests.test(credential=row, **OPERATOR).is_working is True
    sora.dead.add(row.secret.reveal())
    result = credential_tests.test(credential=row, **OPERATOR)
    assert (result.is_working, result.outcome) == (False, "invalid")
    assert again(row).state == "invalid"
    sora.dead.clear()
    credential_tests.test(credential=row, **OPERATOR)
    assert again(row).state == "ready"
    sora.stop()
    assert credential_tests.test(credential=row, **OPERATOR).is_working is None
    assert again(row).state == "ready"
