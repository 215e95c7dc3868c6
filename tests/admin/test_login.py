"""Who gets in: lockout, second factor, and what is recovered by command."""

import io
import re
from base64 import b32decode

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.urls import reverse
from django_otp.oath import totp

from tenants.models import AuditEntry, AuthenticatorDevice
from tests.admin.second_factor import code_of
from tests.callers import confirm_password

LOGIN = {"username": "root", "password": "root-password"}


@pytest.fixture
def device(root):
    return AuthenticatorDevice.objects.create(user=root, name="authenticator")


def test_five_wrong_passwords_lock_out(client, root):
    address = reverse("admin:login")
    for _ in range(4):
        assert client.post(address, LOGIN | {"password": "wrong"}).status_code == 200
    answer = client.post(address, LOGIN | {"password": "wrong"})
    assert answer.status_code == 429
    assert "Too many wrong passwords" in answer.text
    assert client.post(address, LOGIN).status_code == 429
    assert int(answer["Retry-After"]) > 0


def test_without_a_second_factor_the_password_is_enough(client, root):
    client.post(reverse("admin:login"), LOGIN)
    assert client.get(reverse("admin:index")).status_code == 200


def test_with_one_every_page_asks_for_it(client, root, device):
    client.post(reverse("admin:login"), LOGIN)
    for name in ("index", "tenants_tenant_changelist", "billing_ledgerentry_export", "confirm_password", "search"):
        answer = client.get(reverse(f"admin:{name}"))
        assert answer["Location"].startswith(reverse("admin:second_factor") + "?next="), name
    address = answer["Location"]
    assert client.post(address, {"code": "000000"}).status_code == 200
    AuthenticatorDevice.objects.update(throttling_failure_count=0)
    code = code_of(device)
    answer = client.post(f"{reverse('admin:second_factor')}?next=/admin/tenants/tenant/", {"code": code})
    assert answer["Location"] == "/admin/tenants/tenant/"
    assert client.get(answer["Location"]).status_code == 200
    # a code counts once
    client.logout()
    client.post(reverse("admin:login"), LOGIN)
    assert client.post(reverse("admin:second_factor"), {"code": code}).status_code == 200


def test_wrong_codes_are_throttled(client, root, device):
    client.force_login(root)
    client.post(reverse("admin:second_factor"), {"code": "000000"})
    assert client.post(reverse("admin:second_factor"), {"code": code_of(device)}).status_code == 200


def test_the_setup_cannot_be_used_to_get_around_it(client, root, device):
    client.force_login(root)
    answer = client.get(reverse("admin:second_factor_setup"))
    assert answer["Location"] == reverse("admin:second_factor")
    client.post(reverse("admin:second_factor_setup"), {"code": "123456"})
    assert list(AuthenticatorDevice.objects.all()) == [device]


def test_a_second_factor_is_set_up_with_a_code(admin_client, root, settings):
    settings.ADMIN_REQUIRE_SECOND_FACTOR = True
    answer = admin_client.get(reverse("admin:index"))
    assert answer["Location"].startswith(reverse("admin:second_factor_setup"))
    page = admin_client.get(answer["Location"])
    assert "data:image/svg+xml" in page.text
    key = b32decode(re.search(r'waule-key">(\w+)<', page.text)[1])
    assert admin_client.post(answer["Location"], {"code": "12"}).status_code == 200
    assert not AuthenticatorDevice.objects.exists()
    assert admin_client.post(answer["Location"], {"code": f"{totp(key):06d}"})["Location"] == reverse("admin:index")
    assert admin_client.get(reverse("admin:index")).status_code == 200
    assert AuditEntry.objects.get(action="second_factor.set_up").actor == "admin:root"
    # replacing it asks for the password
    confirm_password(admin_client, seconds_ago=301)
    assert admin_client.get(reverse("admin:second_factor_setup"))["Location"].startswith(reverse("admin:confirm_password"))
    confirm_password(admin_client)
    assert admin_client.get(reverse("admin:second_factor_setup")).status_code == 200


def test_who_lost_it_is_let_in_by_command(client, root, device):
    call_command("reset_second_factor", "root", stdout=io.StringIO())
    assert not AuthenticatorDevice.objects.exists()
    assert AuditEntry.objects.get(action="second_factor.reset").target_name == "root"
    with pytest.raises(CommandError, match="no user nobody"):
        call_command("reset_second_factor", "nobody")


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example/", "javascript:alert(1)"])
def test_nobody_is_sent_elsewhere(admin_client, elsewhere):
    answer = admin_client.post(reverse("admin:confirm_password"), {"password": LOGIN["password"], "next": elsewhere})
    assert answer["Location"] == reverse("admin:index")


def test_an_idle_session_ends(admin_client, settings):
    assert settings.SESSION_SAVE_EVERY_REQUEST
    session = admin_client.session
    assert 0 < session.get_expiry_age() <= settings.SESSION_COOKIE_AGE
    session.set_expiry(-1)
    session.save()
    assert admin_client.get(reverse("admin:index")).status_code == 302


STAFF_API = "/api/admin/ai-services/gemini/keys"


def test_the_staff_api_asks_for_it_of_a_session(client, root, device):
    client.force_login(root)
    refused = client.get(STAFF_API)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert "second factor" in refused.json()["error"]
    client.post(reverse("admin:second_factor"), {"code": code_of(device)})
    assert client.get(STAFF_API).status_code == 200


def test_the_staff_api_asks_for_it_of_a_token(client, root, device):
    def token(**body):
        answer = client.post("/api/auth/token", LOGIN | body, "application/json")
        return answer.status_code, answer.json()

    def status(given):
        return client.get(STAFF_API, headers={"Authorization": f"Bearer {given}"}).status_code

    _status, without = token()
    assert status(without["access"]) == 403
    code = code_of(device)
    assert token(otp="000000")[0] == 401
    AuthenticatorDevice.objects.update(throttling_failure_count=0)
    _status, proved = token(otp=code)
    assert status(proved["access"]) == 200
    renewed = client.post("/api/auth/refresh", {"refresh": proved["refresh"]}, "application/json").json()
    assert status(renewed["access"]) == 200
    assert token(otp=code)[0] == 401  # a code counts once
    assert status(client.post("/api/auth/refresh", {"refresh": without["refresh"]}, "application/json").json()["access"]) == 403


def test_where_it_is_compulsory_the_staff_api_needs_it_too(client, root, settings):
    client.force_login(root)
    assert client.get(STAFF_API).status_code == 200
    settings.ADMIN_REQUIRE_SECOND_FACTOR = True
    assert client.get(STAFF_API).status_code == 403
