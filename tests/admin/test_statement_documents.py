"""Statements as people file them: last month in one click, PDF and CSV in their language and zone, named by owner and period."""

import csv
import io
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote
from zoneinfo import ZoneInfo

import pytest
from django.conf import settings
from django.urls import reverse
from django.utils import timezone

from billing.ledger.models import Account
from billing.statement_documents import Month
from tenants.models import Tenant
from tests.archive.conftest import History, month_ago, month_name
from tests.catalog import priced_model

TOKYO = ZoneInfo("Asia/Tokyo")


@pytest.fixture
def studio_account(db: None) -> Account:
    """The live account of 星河工作室, with entries last month."""
    tenant = Tenant.objects.create(name="星河工作室", enabled_models=["*"])
    history = History(Account.objects.get(tenant=tenant, mode="live"), priced_model())
    history.month(2)
    history.month(1)
    return history.account


def ask(client: Any, studio_account: Account, query: str, language: str = "en") -> Any:
    client.cookies["time_zone"] = "Asia/Tokyo"
    address = reverse("admin:billing_statement", args=[studio_account.id])
    return client.get(f"{address}?{query}", headers={"Accept-Language": language})


def name_of(answer: Any) -> str:
    header = answer["Content-Disposition"]
    return unquote(header.partition("filename*=utf-8''")[2]) or header.partition('filename="')[2].rstrip('"')


def test_last_month_is_one_click_away(admin_client: Any, studio_account: Account) -> None:
    page = ask(admin_client, studio_account, "").content.decode()
    assert f'href="?month={month_name(1)}"' in page and "Last month" in page
    answer = ask(admin_client, studio_account, f"month={month_name(1)}")
    made = {str(name): value for name, value in answer.context["facts"]}
    assert made["Opening"] == "464" and made["Closing"] == "928"
    assert answer.context["period"] == month_name(1)


@pytest.mark.parametrize(
    ("language", "heads", "kinds"),
    [
        ("en", ["No.", "Time (Asia/Tokyo)", "Kind", "Amount", "Balance", "Charge", "Description"], "Recharge"),
        ("zh-hans", None, "充值"),
    ],
)
def test_csv_is_in_the_readers_language_and_zone(
    admin_client: Any, studio_account: Account, language: str, heads: list[str] | None, kinds: str
) -> None:
    answer = ask(admin_client, studio_account, f"month={month_name(1)}&csv=1", language)
    assert name_of(answer) == f"星河工作室 {month_name(1)}.csv"
    rows = list(csv.reader(io.StringIO(answer.getvalue().decode("utf-8-sig"))))
    assert heads is None or rows[0] == heads
    assert "Asia/Tokyo" in rows[0][1]
    assert rows[2][2] == kinds
    first = studio_account.entries.get(seq=9)
    assert rows[2][1] == f"{first.created_at.astimezone(TOKYO):%Y-%m-%d %H:%M:%S}"
    assert [int(row[3]) for row in rows[2:-1]] == [500, -7, -7, -7, -7, -7, 2, -3]
    assert (rows[1][4], rows[-1][4]) == ("464", "928")


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_pdf_has_name_period_opening_closing_and_lines(admin_client: Any, studio_account: Account, language: str) -> None:
    pytest.importorskip("reportlab")
    answer = ask(admin_client, studio_account, f"month={month_name(1)}&pdf=1", language)
    assert answer["Content-Type"] == "application/pdf" and name_of(answer) == f"星河工作室 {month_name(1)}.pdf"
    assert "no-store" in answer["Cache-Control"] and answer.content.startswith(b"%PDF-")
    pypdf = pytest.importorskip("pypdf")
    text = "".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(answer.content)).pages)
    for said in (month_name(1), "464", "928", "+500", "Asia/Tokyo", f"tenant:{studio_account.tenant_id}"):
        assert said in text, said


def test_a_pdf_of_many_entries_says_what_it_leaves_out(admin_client: Any, studio_account: Account, monkeypatch: Any) -> None:
    pytest.importorskip("reportlab")
    from billing import statement_pdf

    monkeypatch.setattr(statement_pdf, "MAX_PDF_ENTRIES", 3)
    short = ask(admin_client, studio_account, f"month={month_name(1)}&pdf=1").content
    monkeypatch.setattr(statement_pdf, "MAX_PDF_ENTRIES", 3000)
    assert len(short) != len(ask(admin_client, studio_account, f"month={month_name(1)}&pdf=1").content)


def test_two_moments_name_the_file_by_their_dates(admin_client: Any, studio_account: Account) -> None:
    since, until = month_ago(1).astimezone(TOKYO), (month_ago(1) + timedelta(days=3)).astimezone(TOKYO)
    parts = {
        "since_0": f"{since:%Y-%m-%d}",
        "since_1": f"{since:%H:%M:%S}",
        "until_0": f"{until:%Y-%m-%d}",
        "until_1": f"{until:%H:%M:%S}",
    }
    answer = ask(admin_client, studio_account, "&".join(f"{name}={value}" for name, value in parts.items()) + "&csv=1")
    assert name_of(answer) == f"星河工作室 {since:%Y-%m-%d}–{until:%Y-%m-%d}.csv"


@pytest.mark.parametrize("bad", ["2026-13", "x", "0001-01", "2026-1"])
def test_a_month_that_is_none_is_this_month(admin_client: Any, studio_account: Account, bad: str) -> None:
    assert ask(admin_client, studio_account, f"month={bad}").status_code == 200


def test_months_are_those_of_the_billing_zone() -> None:
    month = Month.read("2026-12")
    assert month is not None
    assert (month.since, month.until) == (
        datetime(2026, 12, 1, tzinfo=ZoneInfo(settings.BILLING_TIME_ZONE)),
        datetime(2027, 1, 1, tzinfo=ZoneInfo(settings.BILLING_TIME_ZONE)),
    )
    assert str(month.after().before()) == "2026-12" and str(Month(2026, 1).before()) == "2025-12"


def test_lists_as_csv_name_the_zone(admin_client: Any, studio_account: Account) -> None:
    admin_client.cookies["time_zone"] = "Asia/Tokyo"
    answer = admin_client.get(reverse("admin:billing_ledgerentry_export"))
    rows = list(csv.DictReader(io.StringIO(answer.getvalue().decode("utf-8-sig"))))
    newest = studio_account.entries.get(seq=16)
    there = next(row for row in rows if row["id"] == str(newest.id))
    assert there["created_at (Asia/Tokyo)"] == f"{newest.created_at.astimezone(TOKYO):%Y-%m-%d %H:%M:%S}"
    assert timezone.is_aware(newest.created_at)
