"""The outbox: a real receiver that fails first, signatures it can check, every try kept."""

import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone
from pytest_httpserver import HTTPServer

from tenants.models import AuditEntry
from tenants.webhooks import outbox
from tenants.webhooks.delivery import deliver_due
from tenants.webhooks.models import OutboxAttempt, OutboxMessage, Webhook

SECRET = "receiver-secret"


@pytest.fixture
def operator(httpserver: HTTPServer, settings: Any, db: None) -> HTTPServer:
    settings.ALERT_WEBHOOK_URL, settings.ALERT_WEBHOOK_SECRET = httpserver.url_for("/hook"), SECRET
    return httpserver


def post() -> OutboxMessage:
    return outbox.post(kind="alert.balance.low", payload={"name": "Acme 中文"})[0]


def make_due() -> None:
    OutboxMessage.objects.update(next_at=timezone.now() - timedelta(seconds=1))


def test_it_is_sent_again_until_it_arrives(operator: HTTPServer) -> None:
    operator.expect_ordered_request("/hook", method="POST").respond_with_data("no", status=500)
    operator.expect_ordered_request("/hook", method="POST").respond_with_data("fine, thanks")
    message = post()
    assert deliver_due() == 1
    message.refresh_from_db()
    assert (message.state, message.tries) == ("pending", 1)
    assert message.next_at > timezone.now()
    assert deliver_due() == 0  # not yet
    make_due()
    assert deliver_due() == 1
    message.refresh_from_db()
    assert message.state == "delivered"
    assert list(message.attempts.order_by("id").values_list("status", flat=True)) == [500, 200]
    make_due()
    assert deliver_due() == 0
    first, second = (request for request, _answer in operator.log)
    assert first.data == second.data
    assert json.loads(first.data)["data"] == {"name": "Acme 中文"}
    for request in (first, second):
        assert request.headers["X-Waule-Message-Id"] == str(message.id)
        timestamp, _comma, given = request.headers["X-Waule-Signature"].partition(",")
        signed = f"{timestamp.removeprefix('t=')}.".encode() + request.data
        assert given == "v1=" + hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()


@pytest.mark.parametrize(("status", "headers"), [(404, {}), (302, {"Location": "/elsewhere"}), (429, {"Retry-After": "1"})])
def test_what_is_no_success_is_a_failed_try(operator: HTTPServer, status: int, headers: dict[str, str]) -> None:
    operator.expect_request("/hook").respond_with_data("", status=status, headers=headers)
    post()
    deliver_due()
    assert OutboxAttempt.objects.get().status == status
    assert len(operator.log) == 1
    assert OutboxMessage.objects.get().state == "pending"


def test_it_gives_up_in_the_end(operator: HTTPServer, settings: Any) -> None:
    settings.ALERT_WEBHOOK_URL = "http://127.0.0.1:1/"
    post()
    for _ in range(outbox.MAX_TRIES):
        make_due()
        deliver_due()
    assert OutboxMessage.objects.get().state == "failed"
    assert OutboxAttempt.objects.count() == outbox.MAX_TRIES
    make_due()
    assert deliver_due() == 0


def test_a_tenants_address_is_judged_and_the_operators_is_not(acme: Any, httpserver: HTTPServer, settings: Any) -> None:
    httpserver.expect_request("/hook").respond_with_data("")
    Webhook.objects.create(tenant=acme, url=httpserver.url_for("/hook"), secret=SECRET)
    outbox.post(kind="k", payload={}, tenant_id=acme.id)
    deliver_due()
    assert OutboxAttempt.objects.get().problem == "not_reached"
    assert httpserver.log == []
    settings.OUTBOUND_ALLOW = ["127.0.0.0/8", "localhost"]
    make_due()
    deliver_due()
    assert OutboxMessage.objects.get().state == "delivered"


def test_the_admin_shows_every_try_and_sends_again(client: Any, root: Any, operator: HTTPServer) -> None:
    operator.expect_request("/hook").respond_with_data("no", status=500)
    message = post()
    deliver_due()
    OutboxMessage.objects.update(state="failed")
    client.force_login(root)
    page = client.get(reverse("admin:tenants_outboxmessage_change", args=[message.id]))
    assert "500" in page.text
    address = reverse("admin:tenants_outboxmessage_resend", args=[message.id])
    assert address in page.text
    assert client.get(address).status_code == 200
    assert OutboxMessage.objects.get().state == "failed"  # looking changes nothing
    assert client.post(address).status_code == 302
    message.refresh_from_db()
    assert (message.state, message.tries) == ("pending", 0)
    assert AuditEntry.objects.filter(action="outbox.resend").exists()


def test_a_webhooks_secret_is_not_shown(client: Any, root: Any, acme: Any) -> None:
    hook = Webhook.objects.create(tenant=acme, url="https://acme.example/hook", secret="planted-webhook-secret")
    client.force_login(root)
    page = client.get(reverse("admin:tenants_webhook_change", args=[hook.id]))
    assert page.status_code == 200
    assert "planted-webhook-secret" not in page.text
