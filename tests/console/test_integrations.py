"""`/console/`: the tenant's own webhook and bucket, who may change them, and that nobody reaches another tenant's."""

import json
import re
from typing import Any

import pytest
from django.test import Client
from pytest_httpserver import HTTPServer

from storage.models import OssConfig
from tenants.models import AuditEntry, Tenant, TenantMember
from tenants.webhooks.delivery import signature
from tenants.webhooks.models import OutboxAttempt, OutboxMessage, Webhook
from tests.storage.conftest import columns
from tests.upstreams.s3_service import S3Service

PASSWORD = "alice-password"
SECRET = re.compile(r"whsec_[\w-]{43}")
ACTS = ("webhook/edit/", "webhook/test/", "webhook/delete/", "bucket/edit/", "bucket/test/")


@pytest.fixture
def sure_owner(owner: Client) -> Client:
    """Alice, who has confirmed her password."""
    assert owner.post("/console/confirm-password/", {"password": PASSWORD}).status_code == 302
    return owner


def said(client: Client, answer: Any) -> list[str]:
    """What the page says to which an act leads."""
    assert answer.status_code == 302, answer.content
    return [str(message) for message in client.get(answer["Location"]).context["messages"]]


def text(answer: Any) -> str:
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_a_webhook_is_set_its_secret_shown_once_and_tested(sure_owner: Client, acme: Tenant, receiver: HTTPServer) -> None:
    receiver.expect_request("/hook").respond_with_data("ok", status=204)
    url = receiver.url_for("/hook")
    shown = text(sure_owner.post("/console/webhook/edit/", {"url": url, "is_active": "on"}))
    secret = SECRET.search(shown)
    assert secret is not None
    hook = Webhook.objects.get()
    assert (hook.tenant, hook.url, hook.is_active, hook.secret.reveal()) == (acme, url, True, secret[0])
    for page in ("webhook/", "webhook/edit/", "tenants/outboxmessage/"):
        assert secret[0] not in text(sure_owner.get(f"/console/{page}"))
    assert said(sure_owner, sure_owner.post("/console/webhook/test/")) == ["The receiver answered with 204."]
    (request, _response) = receiver.log[0]
    timestamp, _comma, mark = request.headers["X-Waule-Signature"].partition(",")
    assert mark == f"v1={signature(secret[0], int(timestamp[2:]), request.data)}"
    assert json.loads(request.data)["data"] == {"object": "webhook.test", "tenantId": str(acme.id)}
    assert OutboxMessage.objects.get().state == "delivered"
    notes = list(AuditEntry.objects.filter(action="webhook.set").values_list("actor", "after"))
    assert notes == [("console:alice", {"webhookHost": "localhost", "isActive": True, "rotated": True})]


def test_a_secret_stays_until_a_new_one_is_asked_for(sure_owner: Client, acme: Tenant, receiver: HTTPServer) -> None:
    form = {"url": receiver.url_for("/a"), "is_active": "on"}
    sure_owner.post("/console/webhook/edit/", form)
    first = Webhook.objects.get().secret.reveal()
    assert sure_owner.post("/console/webhook/edit/", form | {"url": receiver.url_for("/b")}).status_code == 302
    assert (Webhook.objects.get().url, Webhook.objects.get().secret.reveal()) == (receiver.url_for("/b"), first)
    new = SECRET.search(text(sure_owner.post("/console/webhook/edit/", form | {"new_secret": "on"})))
    assert new is not None
    assert new[0] == Webhook.objects.get().secret.reveal() != first
    assert sure_owner.post("/console/webhook/edit/", {"url": form["url"]}).status_code == 302
    assert not Webhook.objects.get().is_active
    assert "no webhook that is switched on" in text(sure_owner.post("/console/webhook/test/"))
    assert OutboxMessage.objects.count() == 0


def test_a_receiver_that_refuses_is_named(sure_owner: Client, receiver: HTTPServer) -> None:
    receiver.expect_request("/hook").respond_with_data("no", status=500)
    sure_owner.post("/console/webhook/edit/", {"url": receiver.url_for("/hook"), "is_active": "on"})
    assert said(sure_owner, sure_owner.post("/console/webhook/test/")) == ["The message did not arrive: 500"]
    assert OutboxMessage.objects.get().state == "failed"


def test_a_webhook_is_deleted_after_asking_and_its_deliveries_stay(
    sure_owner: Client, acme: Tenant, receiver: HTTPServer
) -> None:
    assert sure_owner.get("/console/webhook/delete/").status_code == 404  # there is none
    receiver.expect_request("/hook").respond_with_data("ok")
    sure_owner.post("/console/webhook/edit/", {"url": receiver.url_for("/hook"), "is_active": "on"})
    sure_owner.post("/console/webhook/test/")
    first = Webhook.objects.get().secret.reveal()
    assert "/hook" in text(sure_owner.get("/console/webhook/delete/"))
    assert Webhook.objects.exists()  # asking deletes nothing
    assert said(sure_owner, sure_owner.post("/console/webhook/delete/")) == ["The webhook is deleted."]
    assert not Webhook.objects.exists()
    assert sure_owner.post("/console/webhook/delete/").status_code == 404
    delivered = OutboxMessage.objects.get()
    assert (delivered.state, delivered.attempts.get().status) == ("delivered", 200)
    assert "webhook.test" in text(sure_owner.get("/console/tenants/outboxmessage/"))
    note = AuditEntry.objects.get(action="webhook.delete")
    assert (note.actor, note.before) == ("console:alice", {"webhookHost": "localhost", "isActive": True})
    assert "no webhook that is switched on" in text(sure_owner.post("/console/webhook/test/"))
    # another one later has a secret of its own
    sure_owner.post("/console/webhook/edit/", {"url": receiver.url_for("/hook"), "is_active": "on"})
    assert Webhook.objects.get().secret.reveal() != first


@pytest.mark.parametrize("url", ["", "no-url", "ftp://example.com/", "http://127.0.0.1:9/hook", "http://169.254.169.254/latest"])
def test_an_address_that_may_not_be_called_is_refused(sure_owner: Client, url: str) -> None:
    assert sure_owner.post("/console/webhook/edit/", {"url": url, "is_active": "on"}).status_code == 200
    assert not Webhook.objects.exists()


def bucket_form(s3: S3Service) -> dict[str, str]:
    return {"mode": "custom", **{name: str(value) for name, value in columns(s3.backend).items() if value}}


def test_a_bucket_is_set_masked_and_tested(sure_owner: Client, acme: Tenant, s3: S3Service, settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    form = bucket_form(s3)
    assert said(sure_owner, sure_owner.post("/console/bucket/edit/", form)) == ["The bucket is saved."]
    config = OssConfig.objects.get()
    assert (config.tenant, config.bucket, config.access_key_secret.reveal()) == (acme, form["bucket"], form["access_key_secret"])
    for page in ("bucket/", "bucket/edit/"):
        assert form["access_key_secret"] not in text(sure_owner.get(f"/console/{page}"))
    (works,) = said(sure_owner, sure_owner.post("/console/bucket/test/"))
    assert works.startswith("The bucket works")
    blank = form | {"access_key_secret": "", "bucket": "no-such-bucket"}
    assert said(sure_owner, sure_owner.post("/console/bucket/edit/", blank)) == ["The bucket is saved."]
    assert OssConfig.objects.get().access_key_secret.reveal() == form["access_key_secret"]
    (fails,) = said(sure_owner, sure_owner.post("/console/bucket/test/"))
    assert fails.startswith("The bucket does not work")
    note = AuditEntry.objects.filter(action="ossconfig.change").get()
    assert (note.actor, note.before, note.after) == (
        "console:alice",
        {"bucket": form["bucket"]},
        {"bucket": "no-such-bucket"},
    )
    assert form["access_key_secret"] not in str(list(AuditEntry.objects.values_list("before", "after")))


def test_a_bucket_that_is_incomplete_or_at_a_private_address_is_refused(sure_owner: Client, s3: S3Service, settings: Any) -> None:
    form = bucket_form(s3)
    assert sure_owner.post("/console/bucket/edit/", form).status_code == 200  # 127.0.0.1 is not allowed here
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    for missing in ("bucket", "access_key_id", "access_key_secret"):
        assert sure_owner.post("/console/bucket/edit/", form | {missing: ""}).status_code == 200
    assert not OssConfig.objects.exists()
    assert sure_owner.get("/console/bucket/test/").status_code == 404  # the platform's own storage is not theirs to test


def test_a_name_that_leads_inside_looks_like_one_that_is_not_there(sure_owner: Client, acme: Tenant) -> None:
    """A name may lead elsewhere once it is saved: what the tenant is then told must not map the operator's network."""
    config = OssConfig.objects.create(
        tenant=acme, mode="custom", driver="s3", bucket="one", access_key_id="id", access_key_secret="s3cret"
    )
    webhook = Webhook.objects.create(tenant=acme, url="http://unset.example/", secret="whsec_" + "x" * 43)
    seen = []
    for host in ("localhost", "nobody-has-this-name.invalid"):
        OssConfig.objects.filter(pk=config.pk).update(endpoint=f"http://{host}:9")
        Webhook.objects.filter(pk=webhook.pk).update(url=f"http://{host}:9/hook")
        told = said(sure_owner, sure_owner.post("/console/bucket/test/")) + said(
            sure_owner, sure_owner.post("/console/webhook/test/")
        )
        seen.append((told, OutboxAttempt.objects.latest("pk").problem))
    assert seen[0] == seen[1]
    assert seen[0][1] == "not_reached"


def test_the_bucket_asks_for_the_password(sure_owner: Client) -> None:
    session = sure_owner.session
    del session["reauthenticated_at"]
    session.save()
    for method in ("get", "post"):
        assert getattr(sure_owner, method)("/console/bucket/edit/")["Location"].startswith("/console/confirm-password/")


def test_two_who_change_the_bucket_do_not_undo_each_other(sure_owner: Client, acme: Tenant, settings: Any) -> None:
    config = OssConfig.objects.create(
        tenant=acme, mode="custom", driver="s3", bucket="one", access_key_id="id", access_key_secret="s3cret"
    )
    versions = re.search(r'name="_versions" value="([^"]+)"', text(sure_owner.get("/console/bucket/edit/")))
    assert versions is not None
    OssConfig.objects.filter(pk=config.pk).update(bucket="two")
    form = {"mode": "custom", "driver": "s3", "bucket": "three", "access_key_id": "id"}
    sent = form | {"_versions": versions[1].replace("&quot;", '"')}
    assert "Somebody else has changed this" in text(sure_owner.post("/console/bucket/edit/", sent))
    assert OssConfig.objects.get().bucket == "two"


@pytest.mark.parametrize(
    ("role", "allowed"),
    [("owner", set(ACTS)), ("developer", {"webhook/edit/", "webhook/test/", "webhook/delete/"}), ("billing", set())],
)
def test_roles(sure_owner: Client, acme: Tenant, role: str, allowed: set[str]) -> None:
    Webhook.objects.create(tenant=acme, url="https://acme.example/hook?token=hidden", secret="s3cret-s3cret")
    OssConfig.objects.create(
        tenant=acme, mode="custom", driver="s3", bucket="shelf", access_key_id="id", access_key_secret="bucket-s3cret-1"
    )
    TenantMember.objects.update(role=role)
    for page in ("webhook/", "bucket/"):
        shown = text(sure_owner.get(f"/console/{page}"))
        assert "bucket-s3cret-1" not in shown
        assert ("token=hidden" in shown) == (page == "webhook/" and role != "billing")
        assert all((f"/console/{act}" in shown) == (act in allowed) for act in ACTS if act.startswith(page))
    for act in ACTS:
        assert sure_owner.get(f"/console/{act}").status_code == (200 if act in allowed else 403), act
        if act not in allowed:
            assert sure_owner.post(f"/console/{act}", {"url": "https://example.com/", "mode": "platform"}).status_code == 403
    assert OssConfig.objects.get().mode == "custom"


def test_what_is_another_tenants_is_neither_shown_nor_changed(sure_owner: Client, birch: Tenant, receiver: HTTPServer) -> None:
    theirs = Webhook.objects.create(tenant=birch, url=receiver.url_for("/theirs"), secret="s3cret-of-birch")
    config = OssConfig.objects.create(
        tenant=birch, mode="custom", driver="s3", bucket="birch-shelf", access_key_id="birch-id", access_key_secret="birch-s3cret"
    )
    ids = {"tenant": str(birch.pk), "tenant_id": str(birch.pk), "id": str(config.pk), "pk": str(theirs.pk)}
    for page in ("webhook/", "bucket/", "webhook/edit/", "bucket/edit/"):
        shown = text(sure_owner.get(f"/console/{page}", ids))
        assert not any(value in shown for value in ("/theirs", "birch-shelf", "birch-id", "birch-s3cret"))
    mine = ids | {"url": receiver.url_for("/mine"), "is_active": "on"}
    assert sure_owner.post("/console/webhook/edit/", mine).status_code == 200
    assert sure_owner.post("/console/bucket/edit/", ids | {"mode": "platform", "driver": "s3"}).status_code == 302
    assert sure_owner.post("/console/bucket/test/", ids).status_code == 404
    for _again in range(2):  # the first deletes the own one
        sure_owner.post("/console/webhook/delete/", ids)
    theirs.refresh_from_db()
    config.refresh_from_db()
    assert (theirs.url, theirs.secret.reveal()) == (receiver.url_for("/theirs"), "s3cret-of-birch")
    assert (config.mode, config.bucket, config.tenant) == ("custom", "birch-shelf", birch)
    assert OssConfig.objects.exclude(tenant=birch).get().mode == "platform"
