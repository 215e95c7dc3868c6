"""A lost second factor is removed by whoever outranks its owner, and by nobody else."""

import re

import pytest
from django.urls import reverse

from tenants.models import AuditEntry, AuthenticatorDevice, User
from tests.callers import confirm_password

REASON = {"reason": "Called back on the number we have"}


def page(user: User) -> str:
    return reverse("admin:tenants_user_reset_second_factor", args=[user.pk])


@pytest.fixture
def everybody(people):
    people["queen"] = User.objects.create_superuser("queen", password="correct horse battery")
    for user in people.values():
        AuthenticatorDevice.objects.create(user=user, name="phone")
    return people


def log_in(client, user):
    """Past the second factor that everybody has here."""
    client.force_login(user)
    session = client.session
    session["otp_device_id"] = user.authenticator.persistent_id
    session.save()
    confirm_password(client)


@pytest.mark.parametrize("actor", ["root", "operator", "ruler", "finance", "auditor", "bare"])
def test_who_outranks_whom(client, everybody, actor):
    log_in(client, everybody[actor])
    superusers = {"root", "queen"}
    others = set(everybody) - superusers
    expected = {"root": others, "operator": {"alice"}, "ruler": {"alice"}}.get(actor, set()) - {actor}
    removed = set()
    for name, user in everybody.items():
        answer = client.post(page(user), REASON)
        assert answer.status_code == (302 if name in expected else 403), (actor, name)
        assert client.get(page(user)).status_code == (302 if name in expected else 403)  # there is none any more
        if not AuthenticatorDevice.objects.filter(user=user).exists():
            removed.add(name)
    assert removed == expected
    notes = AuditEntry.objects.filter(action="second_factor.reset")
    assert {note.target_id for note in notes} == {str(everybody[name].pk) for name in expected}
    assert {(note.actor, note.reason, note.address) for note in notes} <= {(f"admin:{actor}", REASON["reason"], "127.0.0.1")}


def test_it_takes_a_reason_the_password_and_a_post(client, everybody):
    log_in(client, everybody["root"])
    finance = everybody["finance"]
    button = page(finance)
    assert button in client.get(reverse("admin:tenants_user_change", args=[finance.pk])).text
    assert "second-factor/reset" not in client.get(reverse("admin:tenants_user_change", args=[everybody["queen"].pk])).text
    assert re.search(r"finance", client.get(button).text)
    assert client.post(button, {"reason": "  "}).status_code == 200
    confirm_password(client, seconds_ago=301)
    for answer in (client.get(button), client.post(button, REASON)):
        assert answer["Location"].startswith(reverse("admin:confirm_password"))
    assert AuthenticatorDevice.objects.filter(user=finance).exists()
    confirm_password(client)
    assert client.post(button, REASON).status_code == 302
    client.force_login(finance)  # the password alone opens the admin again
    assert client.get(reverse("admin:index")).status_code == 200


def test_a_session_that_lacks_the_second_factor_removes_none(client, everybody):
    client.force_login(everybody["root"])
    confirm_password(client)
    answer = client.post(page(everybody["finance"]), REASON)
    assert answer["Location"].startswith(reverse("admin:second_factor"))
    assert AuthenticatorDevice.objects.filter(user=everybody["finance"]).exists()
