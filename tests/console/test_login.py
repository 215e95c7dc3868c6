"""The console's login: for members, in words of its own."""

import pytest
from django.test import Client

from tenants.models import Tenant, User
from tenants.services import add_member

FORM = "/console/login/?next=/console/"


def login(client: Client, username: str, password: str) -> tuple[int, str]:
    answer = client.post(FORM, {"username": username, "password": password, "next": "/console/"})
    return answer.status_code, answer.content.decode()


@pytest.mark.parametrize(
    ("username", "password"),
    [("alice", "wrong"), ("nobody", "alice-password"), ("alice", "alice-password")],
    ids=lambda text: text,
)
def test_whatever_is_wrong_is_told_in_one_way(client: Client, alice: User, username: str, password: str) -> None:
    status, text = login(client, username, password)
    assert status == 200
    assert "are not those of a tenant&#x27;s member" in text
    assert "staff account" not in text


def test_a_member_comes_in(client: Client, acme: Tenant, alice: User) -> None:
    add_member(tenant=acme, user=alice, actor="test")
    assert login(client, "alice", "alice-password")[0] == 302
