"""Low balances and used budgets by mail: to owners and billing members, once for each crossing, by a real SMTP server."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from billing.budgets.models import Budget
from billing.monitoring import alerts
from billing.monitoring.models import AlertThreshold
from tenants.models import Tenant, TenantMember, User
from tenants.services import add_member
from tenants.webhooks import outbox
from tenants.webhooks.delivery import deliver_due
from tenants.webhooks.models import OutboxMessage
from tests.books import give
from tests.live import manage
from tests.upstreams.smtp_service import SmtpService
from tests.waiting import eventually


@pytest.fixture
def smtp(settings: Any) -> Iterator[SmtpService]:
    service = SmtpService()
    settings.SENDS_MAIL = True
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = service.host, service.port
    settings.DEFAULT_FROM_EMAIL = "waule@platform.example"
    settings.PUBLIC_URL = "https://platform.example"
    settings.ALERT_LOW_BALANCE = 2000
    yield service
    service.stop()


def member(tenant: Tenant, name: str, role: str, address: str = "-") -> TenantMember:
    user = User.objects.create_user(name, email=f"{name}@acme.example" if address == "-" else address)
    return add_member(tenant=tenant, user=user, role=role, actor="test")


@pytest.fixture
def people(acme: Tenant, birch: Tenant) -> dict[str, TenantMember]:
    """Acme's, of whom two are to be written to; and somebody of another tenant."""
    member(birch, "birgit", "owner")
    member(acme, "olaf", "owner", "")
    member(acme, "dora", "developer")
    return {"olga": member(acme, "olga", "owner"), "bill": member(acme, "bill", "billing")}


def deliver() -> int:
    """Deliver everything that waits, as if its pause were over."""
    OutboxMessage.objects.filter(state="pending").update(next_at=timezone.now() - timedelta(seconds=1))
    return deliver_due()


def to(smtp: SmtpService) -> list[str]:
    return sorted(address for address, _mail in smtp.mails)


def test_a_low_balance_is_written_once_to_owners_and_billing(acme: Tenant, people: Any, smtp: SmtpService, settings: Any) -> None:
    assert [alerts.check(), alerts.check()] == [1, 0]
    assert [deliver(), deliver(), alerts.check()] == [2, 0, 0]
    assert to(smtp) == ["bill@acme.example", "olga@acme.example"]
    (_address, mail) = smtp.mails[0]
    assert (mail["From"], mail["Subject"].endswith("Low balance: 1,000 credits")) == ("waule@platform.example", True)
    assert "Acme" in mail.get_content()
    assert "1,000 credits left to spend, fewer than 2,000" in mail.get_content()
    assert "https://platform.example/console/" in mail.get_content()
    assert {mail["Message-ID"].split("@")[0][1:] for _to, mail in smtp.mails} == {
        str(message.id) for message in OutboxMessage.objects.filter(state="delivered")
    }
    give(acme, 5000)
    alerts.check()
    settings.ALERT_LOW_BALANCE = 7000  # another crossing
    assert [alerts.check(), deliver()] == [1, 2]
    assert len(smtp.mails) == 4


def test_a_used_budget_is_written_in_both_languages(acme: Tenant, people: Any, smtp: SmtpService) -> None:
    AlertThreshold.objects.create(account=acme.accounts.get(mode="live"), low_balance=0)
    budget = Budget.objects.create(tenant=acme, period="month", limit_credits=1)
    from billing.catalog.usage import UsageRequest
    from billing.services import charge
    from tenants.principal import Principal
    from tests.catalog import priced_model

    model = priced_model("seven")
    Budget.objects.filter(id=budget.id).update(limit_credits=8)
    charge(target=Principal("tenant", str(acme.id)), use=UsageRequest(model=model.model_id), actor="test")
    assert [alerts.check(), deliver(), deliver()] == [1, 2, 0]
    subject, text = smtp.mails[0][1]["Subject"], smtp.mails[0][1].get_content()
    assert subject.endswith(" / Budget used to 80 %")
    assert "7 of 8 credits" in text
    assert text.count("https://platform.example/console/") == 2


def test_without_a_server_no_mail_is_written(acme: Tenant, people: Any, smtp: SmtpService, settings: Any) -> None:
    settings.SENDS_MAIL = False
    assert alerts.check() == 1
    assert OutboxMessage.objects.count() == 0


def test_alerts_of_the_operator_are_not_mailed(acme: Tenant, people: Any, smtp: SmtpService) -> None:
    alerts.raise_alert(alerts.Crossing("x", alerts.Alert.Kind.NOT_CHARGED, {}, acme.id))
    assert OutboxMessage.objects.count() == 0


def test_a_server_that_is_away_or_refuses_is_tried_again(acme: Tenant, people: Any, smtp: SmtpService, settings: Any) -> None:
    alerts.check()
    settings.EMAIL_PORT = 9
    assert deliver() == 2
    settings.EMAIL_PORT, smtp.reject = smtp.port, "451 later"
    assert deliver() == 2
    assert smtp.mails == []
    smtp.reject = ""
    assert [deliver(), deliver()] == [2, 0]
    assert to(smtp) == ["bill@acme.example", "olga@acme.example"]
    for message in OutboxMessage.objects.all():
        assert [each.problem for each in message.attempts.order_by("id")] == ["smtp_unreachable", "smtp_451", ""]


def test_a_mail_that_may_have_arrived_is_not_sent_again(acme: Tenant, people: Any, smtp: SmtpService) -> None:
    smtp.hang_up = True
    alerts.check()
    assert [deliver(), deliver()] == [2, 0]
    assert to(smtp) == ["bill@acme.example", "olga@acme.example"]
    assert set(OutboxMessage.objects.values_list("state", "attempts__problem")) == {("failed", "smtp_interrupted")}


def test_a_sender_that_died_does_not_send_twice(acme: Tenant, people: Any, smtp: SmtpService) -> None:
    alerts.check()
    for message in outbox.claim(limit=9, limit_each=9):
        assert outbox.count_as_failed(message)
        assert not outbox.count_as_failed(message)
    OutboxMessage.objects.update(next_at=timezone.now() - timedelta(days=1))
    assert deliver_due() == 0
    assert smtp.mails == []


def test_who_has_left_is_not_written_to(acme: Tenant, people: dict[str, TenantMember], smtp: SmtpService) -> None:
    alerts.check()
    people["bill"].delete()
    TenantMember.objects.filter(id=people["olga"].id).update(role="developer")
    assert [deliver(), deliver()] == [1, 0]
    assert smtp.mails == []
    assert OutboxMessage.objects.get().state == "failed"


def test_of_many_workers_one_writes_and_one_sends(cloned_db: Any, acme: Tenant, people: Any, smtp: SmtpService) -> None:
    def work(_number: int) -> None:
        try:
            alerts.check()
            deliver_due()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(8)))
    assert to(smtp) == ["bill@acme.example", "olga@acme.example"]


@pytest.mark.parametrize(
    "url", ["mail.example", "http://mail.example", "smtp://", "smtp://me:s3cret-word@host:port", "smtp://me:s3cret-word@h:25/x"]
)
def test_a_mail_server_that_is_none_is_refused_without_its_password(url: str) -> None:
    done = manage("check", EMAIL_URL=url)
    assert done.returncode != 0
    assert "EMAIL_URL" in done.stderr
    assert "s3cret-word" not in done.stderr


@pytest.mark.slow
def test_a_worker_writes_through_the_server_that_email_url_names(live_waule: Any, acme: Tenant, people: Any) -> None:
    service = SmtpService()
    live_waule.environ |= {
        "EMAIL_URL": f"smtp://{service.host}:{service.port}",
        "EMAIL_FROM": "credits@platform.example",
        "ALERT_LOW_BALANCE": "2000",
    }
    live_waule.run("worker")
    eventually(lambda: len(service.mails) == 2, seconds=90)
    service.stop()
    assert to(service) == ["bill@acme.example", "olga@acme.example"]
    assert {str(mail["From"]) for _address, mail in service.mails} == {"credits@platform.example"}
