"""Unknown outcomes, many at once: by the worker when nobody will ever know, by a command, by the admin."""

import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from aiservices.errors import TaskOver
from aiservices.generations.models import Generation
from aiservices.generations.services import settle_unknown
from aiservices.generations.unknown import release_overdue, settle_many
from billing.reconciliation.checks import reconcile
from tenants.models import AuditEntry, Tenant
from tenants.webhooks.models import OutboxMessage
from tests.aiservices.unknown_outcomes import an_unknown
from tests.books import balance_and_held

RELEASED, KEPT = "failed", "unknown"


def states(*rows: Generation) -> list[str]:
    return [Generation.objects.get(pk=row.pk).state for row in rows]


def run(*arguments: str, capsys: Any) -> dict[str, Any]:
    capsys.readouterr()
    call_command("settle_unknown", *arguments, "--json")
    return json.loads(capsys.readouterr().out)


# --- once ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("again", [True, False])
def test_what_is_settled_stays_so(acme: Tenant, first: bool, again: bool) -> None:
    row = an_unknown(acme)  # as both operators have read it
    settle_unknown(generation=row, charge=first, reason="seen", actor="test")
    left = balance_and_held(acme)
    assert left == ((985, 0) if first else (1000, 0))
    with pytest.raises(TaskOver) as over:
        settle_unknown(generation=row, charge=again, reason="again", actor="test")
    assert over.value.details["state"] == ("succeeded" if first else "failed")
    assert (states(row), balance_and_held(acme)) == ([over.value.details["state"]], left)
    assert AuditEntry.objects.get(action="generation.settle").reason == "seen"
    assert settle_many([row], charge=again, reason="again", actor="test").skipped == [row.id]
    assert reconcile().problems == []


# --- the worker ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hours", "unknown_for", "upstream_id", "state"),
    [
        (24, 25, "", RELEASED),
        (24, 23, "", KEPT),
        (2, 3, "", RELEASED),
        (0, 1000, "", KEPT),  # never by itself
        (24, 25, "video_1", KEPT),  # it is still being asked about
        (24, 49, "video_1", RELEASED),  # and nobody answered
        (72, 71, "video_1", KEPT),
    ],
)
def test_what_nobody_can_know_is_released(
    acme: Tenant, settings: Any, hours: float, unknown_for: float, upstream_id: str, state: str
) -> None:
    settings.UNKNOWN_RELEASE_HOURS = hours
    settings.ALERT_WEBHOOK_URL = "http://127.0.0.1:9/"
    row = an_unknown(acme, hours=unknown_for, upstream_id=upstream_id)
    assert release_overdue() == (state == RELEASED)
    row.refresh_from_db()
    assert (row.state, balance_and_held(acme)) == (state, (1000, 0 if state == RELEASED else 15))
    told = list(OutboxMessage.objects.filter(kind="alert.unknown_released"))
    if state == KEPT:
        assert (told, row.flags) == ([], [])
        return
    assert row.flags == ["unknown_released"]
    assert (told[0].payload["generationId"], told[0].payload["count"], told[0].payload["credits"]) == (str(row.id), 1, 15)
    assert AuditEntry.objects.get(action="generation.settle").actor == "worker"
    assert release_overdue() == 0
    assert reconcile().problems == []


def test_many_are_one_alert(acme: Tenant, settings: Any) -> None:
    settings.ALERT_WEBHOOK_URL = "http://127.0.0.1:9/"
    rows = [an_unknown(acme, hours=30) for _number in range(3)]
    assert release_overdue() == 3
    (told,) = OutboxMessage.objects.filter(kind="alert.unknown_released")
    assert sorted(told.payload["generationIds"]) == sorted(str(row.id) for row in rows)
    assert (told.payload["credits"], balance_and_held(acme)) == (45, (1000, 0))


# --- the command ---------------------------------------------------------------------------------------------------


def test_a_dry_run_only_counts(acme: Tenant, capsys: Any) -> None:
    row = an_unknown(acme)
    result = run("--release", "--reason", "x", "--dry-run", capsys=capsys)
    assert result == {
        "outcome": "released",
        "dryRun": True,
        "found": 1,
        "settled": 0,
        "skipped": 0,
        "credits": 15,
        "generations": [str(row.id)],
    }
    assert (states(row), balance_and_held(acme)) == (["unknown"], (1000, 15))


@pytest.mark.parametrize(("how", "state", "left"), [("--charge", "succeeded", 970), ("--release", "failed", 1000)])
def test_it_settles_them_all(acme: Tenant, capsys: Any, how: str, state: str, left: int) -> None:
    rows = [an_unknown(acme), an_unknown(acme, hours=5)]
    result = run(how, "--reason", "seen in the console", capsys=capsys)
    assert (result["settled"], result["credits"], states(*rows), balance_and_held(acme)) == (2, 30, [state] * 2, (left, 0))
    noted = AuditEntry.objects.filter(action="generation.settle")
    assert {(each.actor, each.reason) for each in noted} == {("command", "seen in the console")}
    assert run(how, "--reason", "again", capsys=capsys)["found"] == 0
    assert reconcile().problems == []


@pytest.mark.parametrize(
    ("arguments", "settled"),
    [
        (["--older-than", "4"], [True, True, False]),
        (["--older-than", "0.5"], [True, True, True]),
        (["--older-than", "4", "--provider", "gemini"], [True, False, False]),
        (["--provider", "gateway"], [False, True, False]),  # who was asked
        (["--provider", "doubao"], [False, True, False]),  # whose model it is
        (["--provider", "nobody"], [False, False, False]),
    ],
)
def test_it_chooses(acme: Tenant, capsys: Any, arguments: list[str], settled: list[bool]) -> None:
    old, by_gateway = an_unknown(acme, hours=5), an_unknown(acme, hours=6, provider="doubao", route="gateway")
    new = an_unknown(acme, hours=1)
    run("--release", "--reason", "x", *arguments, capsys=capsys)
    assert [state == "failed" for state in states(old, by_gateway, new)] == settled


@pytest.mark.parametrize(
    "arguments",
    [
        ["--reason", "x"],
        ["--charge", "--release", "--reason", "x"],
        ["--release"],
        ["--release", "--reason", " "],
        ["--release", "--reason", "x" * 501],
        ["--release", "--reason", "x", "--older-than", "-1"],
        ["--release", "--reason", "x", "--older-than", "nan"],
        ["--release", "--reason", "x", "--older-than", "soon"],
    ],
)
def test_bad_arguments_change_nothing(acme: Tenant, arguments: list[str]) -> None:
    row = an_unknown(acme)
    with pytest.raises(CommandError):
        call_command("settle_unknown", *arguments)
    assert states(row) == ["unknown"]


# --- the admin -----------------------------------------------------------------------------------------------------

LIST, SETTLE = "admin:aiservices_generation_changelist", "admin:aiservices_generation_settle_many"


@pytest.fixture
def as_root(root: Any, client: Client) -> Client:
    client.force_login(root)
    session = client.session
    session["reauthenticated_at"] = timezone.now().timestamp()
    session.save()
    return client


def select(client: Client, *rows: Generation) -> Any:
    chosen = {"action": "settle_selected", "_selected_action": [str(row.pk) for row in rows]}
    return client.post(reverse(LIST), chosen)


@pytest.mark.parametrize(("how", "state", "left"), [("worked", "succeeded", 970), ("failed", "failed", 1000)])
def test_the_selected_ones_are_settled_together(acme: Tenant, as_root: Client, how: str, state: str, left: int) -> None:
    rows, other = [an_unknown(acme), an_unknown(acme)], an_unknown(acme)
    answer = select(as_root, *rows)
    assert (answer.status_code, answer["Location"]) == (302, reverse(SETTLE))
    assert "settle" in reverse(SETTLE)
    page = as_root.get(reverse(SETTLE))
    assert (page.status_code, balance_and_held(acme)) == (200, (1000, 45))
    assert as_root.post(reverse(SETTLE), {"how": how, "reason": ""}).status_code == 200  # it asks why
    assert as_root.post(reverse(SETTLE), {"how": how, "reason": "seen"}).status_code == 302
    assert (states(*rows, other), balance_and_held(acme)) == ([state, state, "unknown"], (left, 15))
    assert {each.actor for each in AuditEntry.objects.filter(action="generation.settle")} == {"admin:root"}
    assert as_root.post(reverse(SETTLE), {"how": how, "reason": "seen"}).status_code == 302  # once
    assert balance_and_held(acme) == (left, 15)


def test_it_asks_for_the_password_first(acme: Tenant, root: Any, client: Client) -> None:
    client.force_login(root)
    row = an_unknown(acme)
    select(client, row)
    answer = client.post(reverse(SETTLE), {"how": "worked", "reason": "seen"})
    assert (answer.status_code, "confirm-password" in answer["Location"], states(row)) == (302, True, ["unknown"])


def test_staff_without_the_permission_may_not(acme: Tenant, client: Client) -> None:
    from django.contrib.auth.models import Permission

    from tenants.models import User

    viewer = User.objects.create_user("viewer", password="viewer-password", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_generation"))
    client.force_login(viewer)
    session = client.session
    session["reauthenticated_at"] = timezone.now().timestamp()
    session.save()
    row = an_unknown(acme)
    assert "settle_selected" not in client.get(reverse(LIST)).text
    select(client, row)
    assert client.post(reverse(SETTLE), {"how": "worked", "reason": "seen"}).status_code == 403
    assert states(row) == ["unknown"]
