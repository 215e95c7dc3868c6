"""Statements: opening + entries = closing, whatever the stretch of time and however they are asked for."""

import csv
import io
import json
from typing import Any
from urllib.parse import urlencode

import pytest
from django.core.management import call_command
from django.urls import reverse

from billing.catalog.models import AIModel
from billing.ledger.models import Account, LedgerEntry
from tests.books import body
from waule.core.http.fields import iso

URL = "/internal/billing/statement"
EVER = {"from": "2000-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}


def ask(internal: Any, target: Any, **query: str) -> tuple[int, Any]:
    who = body(target)
    fields = {"targetType": who["targetType"], "targetId": who["targetId"], **EVER, **query}
    return internal.get(f"{URL}?{urlencode(fields)}")


@pytest.fixture
def used(internal: Any, acme: Any, flash: AIModel) -> Any:
    """Acme with its opening balance, three charges and a refund."""
    charges = [internal.post("/internal/billing/charge", body(acme))[1]["chargeId"] for _ in range(3)]
    internal.post("/internal/billing/refund", {"chargeId": charges[0], "reason": "=bad"})
    return acme


def test_it_adds_up(internal: Any, used: Any) -> None:
    status, answer = ask(internal, used)
    assert status == 200
    assert (answer["opening"], answer["closing"], answer["net"], answer["entryCount"]) == (0, 986, 986, 5)
    assert answer["byType"] == [
        {"type": "CONSUME", "count": 3, "amount": -21},
        {"type": "GIFT", "count": 1, "amount": 1000},
        {"type": "REFUND", "count": 1, "amount": 7},
    ]
    assert [entry["seq"] for entry in answer["entries"]] == [1, 2, 3, 4, 5]
    assert answer["opening"] + sum(entry["amount"] for entry in answer["entries"]) == answer["closing"]


def test_from_is_inclusive_and_to_exclusive(internal: Any, used: Any) -> None:
    entries = list(LedgerEntry.objects.filter(account__tenant=used, account__mode="live").order_by("seq"))
    since, until = iso(entries[1].created_at), iso(entries[3].created_at)
    answer = ask(internal, used, **{"from": since, "to": until})[1]
    assert [entry["seq"] for entry in answer["entries"]] == [2, 3]
    assert (answer["opening"], answer["closing"]) == (1000, 986)
    empty = ask(internal, used, **{"from": since, "to": since})[1]
    assert (empty["opening"], empty["closing"], empty["entries"]) == (1000, 1000, [])


def test_csv_keeps_numbers_and_disarms_texts(internal: Any, used: Any) -> None:
    who = body(used)
    query = urlencode({"targetType": who["targetType"], "targetId": who["targetId"], "format": "csv", **EVER})
    answer = internal.client.get(f"{URL}?{query}", headers={"X-Internal-Secret": internal.secret})
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.getvalue().decode("utf-8-sig"))))
    assert [row["type"] for row in rows] == ["OPENING", "GIFT", "CONSUME", "CONSUME", "CONSUME", "REFUND", "CLOSING"]
    assert [row["amount"] for row in rows] == ["", "1000", "-7", "-7", "-7", "7", ""]
    assert rows[5]["description"] == "'=bad"
    assert rows[-1]["balance"] == "986"


@pytest.mark.parametrize("bad", [{"from": "2026-01-01"}, {"to": "1999-01-01T00:00:00Z"}, {"format": "pdf"}, {"to": ""}])
def test_bad_questions_are_refused(internal: Any, acme: Any, bad: dict[str, str]) -> None:
    status, answer = ask(internal, acme, **bad)
    assert (status, list(answer["details"]["fields"])) == (400, ["to"] if "to" in bad else list(bad))


def test_an_unknown_target_is_not_found(internal: Any, db: None) -> None:
    query = urlencode({"targetType": "tenant", "targetId": "nobody", **EVER})
    assert internal.get(f"{URL}?{query}")[1]["code"] == "target_not_found"


def test_a_long_one_wants_csv(internal: Any, used: Any, settings: Any) -> None:
    account = Account.objects.get(tenant=used, mode="live")
    last = LedgerEntry.objects.filter(account=account).order_by("-seq").first()
    rows = [
        LedgerEntry(
            account=account,
            seq=number,
            kind="GIFT",
            amount=1,
            balance=number,
            spendable=0,
            created_at=last.created_at,
            hash="0" * 64,
        )
        for number in range(6, 10_002)
    ]
    LedgerEntry.objects.bulk_create(rows)
    status, answer = ask(internal, used)
    assert (status, answer["code"]) == (400, "invalid_request")
    assert "CSV" in answer["error"]


def test_the_command_says_the_same(used: Any, tmp_path: Any, capsys: Any) -> None:
    call_command("statement", "tenant", str(used.id), "--from", EVER["from"], "--to", EVER["to"], "--json")
    answer = json.loads(capsys.readouterr().out)
    assert (answer["closing"], len(answer["entries"])) == (986, 5)
    path = tmp_path / "statement.csv"
    call_command("statement", "tenant", str(used.id), "--from", EVER["from"], "--to", EVER["to"], "--csv", str(path))
    assert len(path.read_text().splitlines()) == 8
    assert "closing: 986" in capsys.readouterr().out
    call_command("statement", "tenant", str(used.id), "--from", EVER["from"], "--to", EVER["to"], "--csv", "-")
    assert len(capsys.readouterr().out.splitlines()) == 8


def test_the_admin_shows_it_and_downloads_it(client: Any, root: Any, used: Any) -> None:
    client.force_login(root)
    account = Account.objects.get(tenant=used, mode="live")
    address = reverse("admin:billing_statement", args=[account.id])
    page = client.get(address)
    assert page.status_code == 200
    assert ">986<" in page.text.replace("\n", "")
    download = client.get(f"{address}?csv=1")
    assert "Closing,,986" in download.getvalue().decode()
    wrong = client.get(f"{address}?since_0=2030-01-02&since_1=00:00:00&until_0=2030-01-01&until_1=00:00:00")
    assert "The end lies before the beginning." in wrong.text
