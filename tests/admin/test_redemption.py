"""Redemption codes in the admin: made with a password, shown or downloaded once, closed with a reason."""

import re

import pytest
from django.urls import reverse
from django.utils import timezone

from billing.redemption.models import RedemptionBatch, RedemptionCode
from billing.redemption.services import redeem
from tenants.models import AuditEntry, Tenant, User
from tenants.principal import Principal
from tests.callers import confirm_password

ADD = "admin:billing_redemptionbatch_add"
CODE = re.compile(r"(?:[0-9A-HJKMNP-TV-Z]{5}-){3}[0-9A-HJKMNP-TV-Z]{5}")


def fields(**more):
    return {"name": "Fair", "count": "3", "credits": "50", "uses": "1", "output": "page"} | more


def test_codes_are_made_with_the_password_and_shown_once(admin_client):
    confirm_password(admin_client, seconds_ago=301)
    assert "confirm" in admin_client.get(reverse(ADD)).url
    confirm_password(admin_client)
    answer = admin_client.post(reverse(ADD), fields())
    codes = sorted(set(CODE.findall(answer.text)))
    assert (answer.status_code, len(codes), "no-store" in answer["Cache-Control"]) == (200, 3, True)
    batch = RedemptionBatch.objects.get()
    assert (batch.created_by, batch.code_count, batch.credits) == ("admin:root", 3, 50)
    again = admin_client.post(reverse(ADD), fields())
    assert "already" in again.text
    pages = [again, admin_client.get(reverse("admin:billing_redemptionbatch_changelist"))]
    pages += [admin_client.get(reverse("admin:billing_redemptionbatch_change", args=[batch.pk]))]
    pages += [admin_client.get(reverse("admin:billing_redemptionbatch_export"))]
    for page in pages:
        text = page.getvalue().decode() if page.streaming else page.text
        assert (page.status_code, [code for code in codes if code in text]) == (200, [])
    assert RedemptionCode.objects.count() == 3


def test_codes_are_downloaded_once(admin_client):
    confirm_password(admin_client)
    answer = admin_client.post(reverse(ADD), fields(output="csv"))
    lines = answer.text.splitlines()
    assert (answer["Content-Type"], lines[0], len(lines)) == (
        "text/csv; charset=utf-8",
        f"code,credits,expires_at ({timezone.get_current_timezone_name()})",
        4,
    )
    assert all(CODE.match(line) for line in lines[1:])


def test_who_used_a_code_is_seen_and_a_batch_is_closed(admin_client):
    confirm_password(admin_client)
    (code, *_rest) = CODE.findall(admin_client.post(reverse(ADD), fields()).text)
    tenant = Tenant.objects.create(name="Acme")
    redeem(target=Principal("tenant", str(tenant.pk)), code=code, actor="key:1")
    batch = RedemptionBatch.objects.get()
    listed = admin_client.get(reverse("admin:billing_redemption_changelist")).text
    assert "Acme" in listed
    assert "Fair" in listed
    assert admin_client.get(f"{reverse('admin:billing_redemption_changelist')}?batch__id__exact={batch.pk}").status_code == 200
    close = reverse("admin:billing_redemptionbatch_close", args=[batch.pk])
    assert admin_client.get(close).status_code == 200
    assert admin_client.post(close, {"reason": ""}).status_code == 200
    batch.refresh_from_db()
    assert batch.closed_at is None
    assert admin_client.post(close, {"reason": "leaked"}).status_code == 302
    batch.refresh_from_db()
    assert batch.closed_at is not None
    assert AuditEntry.objects.get(action="redemption.close").reason == "leaked"


@pytest.mark.parametrize("path", [ADD, "admin:billing_redemptionbatch_changelist", "admin:billing_redemption_changelist"])
def test_staff_without_the_permission_see_nothing(client, db, path):
    client.force_login(User.objects.create_user("guest", "guest@example.com", "guest-password", is_staff=True))
    confirm_password(client)
    assert client.get(reverse(path)).status_code == 403
