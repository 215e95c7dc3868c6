"""The console's first page for a tenant that has spent something."""

from django.test import Client

from billing.catalog.usage import UsageRequest
from billing.services import charge
from tenants.models import Tenant, User
from tenants.principal import Principal
from tenants.services import add_member
from tests.catalog import priced_model


def test_home_and_usage_say_what_was_used(acme: Tenant, alice: User) -> None:
    priced_model("flash")
    for _twice in range(2):
        charge(target=Principal("tenant", str(acme.id)), use=UsageRequest(model="flash"), actor="test")
    add_member(tenant=acme, user=alice, actor="test")
    client = Client()
    client.post("/console/login/", {"username": "alice", "password": "alice-password"})
    cards = [card["value"] for card in client.get("/console/").context["cards"]]
    assert cards[:3] == ["986", "14", "14"]
    assert [row["value"] for row in client.get("/console/usage/").context["models"]] == ["14 (2)"]


def test_breadcrumbs_of_the_lists_lead_home(acme: Tenant, alice: User) -> None:
    add_member(tenant=acme, user=alice, actor="test")
    client = Client()
    client.post("/console/login/", {"username": "alice", "password": "alice-password"})
    for label in ("aiservices", "tenants", "billing"):
        assert client.get(f"/console/{label}/")["Location"] == "/console/"
