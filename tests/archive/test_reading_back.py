"""Archived months are read back: statements are whole where the file is at hand, here or in the platform's bucket."""

import io
from pathlib import Path
from typing import Any

import pypdf
import pytest
from django.contrib.auth.models import Group
from django.core.management import CommandError
from django.urls import reverse

from billing.archive import places
from billing.ledger.closings import LedgerArchive, LedgerArchiveCopy
from billing.statement_pdf import write
from billing.statements import Statement, csv_lines, statement, summary
from tenants.models import AuditEntry, User
from tests.archive.conftest import Archive, History, month_ago, month_name
from tests.callers import confirm_password, manage_json
from tests.upstreams.s3_service import S3Service

Old = tuple[History, History]


@pytest.fixture
def folder(tmp_path: Path, settings: Any) -> Path:
    """Where archives go, as the setting names it."""
    settings.LEDGER_ARCHIVE_DIR = str(tmp_path / "ledger")
    return tmp_path / "ledger"


@pytest.fixture
def bucket(s3: S3Service, settings: Any) -> S3Service:
    """The platform's bucket."""
    settings.OSS_DRIVER, settings.OSS_BUCKET, settings.OSS_REGION = "s3", s3.bucket, "us-east-1"
    settings.OSS_ENDPOINT, settings.OSS_ACCESS_KEY_ID, settings.OSS_ACCESS_KEY_SECRET = s3.url, s3.key_id, s3.secret
    return s3


def of_month(old: Old, ago: int = 6, number: int = 0) -> Statement:
    return statement(account=old[number].account, since=month_ago(ago), until=month_ago(ago - 1))


def facts(made: Statement) -> list[Any]:
    return [(e.id, e.seq, e.kind, e.amount, e.balance, e.charge_id, e.created_at, e.description, e.actor) for e in made.entries()]


@pytest.mark.parametrize("number", [0, 1])
def test_a_statement_of_an_archived_month_is_what_it_was(old: Old, archive: Archive, folder: Path, number: int) -> None:
    before = of_month(old, number=number)
    entries, lines, told = facts(before), list(csv_lines(before)), summary(before)
    archive()
    made = of_month(old, number=number)
    assert len(entries) == 8
    assert facts(made) == entries
    assert list(csv_lines(made)) == lines
    assert summary(made) == told
    all_months = statement(account=old[number].account, since=month_ago(8), until=month_ago(0))
    assert [entry.seq for entry in all_months.entries()] == list(range(1, 33))


def test_the_pdf_and_the_page_have_its_entries(old: Old, archive: Archive, folder: Path, admin_client: Any) -> None:
    archive()
    file = io.BytesIO()
    write(file, of_month(old), owner="Acme")
    text = "".join(page.extract_text() for page in pypdf.PdfReader(file).pages)
    assert text.count("consume") == 6 and "archive" not in text
    page = admin_client.get(reverse("admin:billing_statement", args=[old[0].account.id]), {"month": month_name(6)})
    assert [row["seq"] for row in page.context["entries"]] == list(range(9, 17))
    assert page.context["archived"] == []


@pytest.mark.parametrize("what", ["gone", "changed", "unsigned"])
def test_without_its_file_the_statement_names_it(old: Old, archive: Archive, folder: Path, settings: Any, what: str) -> None:
    archive()
    path = folder / f"ledger-{month_name(6)}.jsonl.gz"
    if what == "gone":
        path.unlink()
    elif what == "changed":
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    else:
        settings.LEDGER_SIGNING_KEYS = ["k9:another-signing-key-0a9b8c7d6e5f4g3h"]
    made = of_month(old)
    assert [(part.file, part.entries, part.amount) for part in made.archived] == [(path.name, 5, -35)]
    assert [entry.seq for entry in made.entries()] == [9, 15, 16]
    assert summary(made)["archived"][0]["file"] == path.name


def test_a_month_is_fetched_from_the_bucket(old: Old, archive: Archive, folder: Path, bucket: S3Service) -> None:
    entries = facts(of_month(old))
    archive()
    done = manage_json("archive_ledger", "--before", month_name(4), "--to-bucket")
    names = [f"ledger-{month_name(ago)}.jsonl.gz" for ago in (7, 6, 5)]
    assert done["copied"] == names
    assert manage_json("archive_ledger", "--before", month_name(4), "--to-bucket")["copied"] == []
    assert AuditEntry.objects.filter(action="ledger.copy").count() == LedgerArchiveCopy.objects.count() == 3
    for path in folder.iterdir():
        path.unlink()
    assert facts(of_month(old)) == entries
    assert [path.name for path in folder.iterdir()] == [names[1]]  # kept for the next reader
    assert (folder / names[1]).stat().st_mode & 0o777 == 0o600


def test_what_the_bucket_does_not_give_back_is_named(
    old: Old, archive: Archive, folder: Path, bucket: S3Service, settings: Any, tmp_path: Path
) -> None:
    archive()
    manage_json("archive_ledger", "--before", month_name(4), "--to-bucket")
    for path in folder.iterdir():
        path.unlink()
    other = tmp_path / "other"
    other.write_bytes(b"x" * LedgerArchive.objects.get(month=month_name(6)).size_bytes)
    places.bucket().put(f"ledger/ledger-{month_name(6)}.jsonl.gz", other)
    assert [part.month for part in of_month(old).archived] == [month_name(6)]
    settings.OSS_ACCESS_KEY_SECRET = "wrong"
    assert [part.month for part in of_month(old, 7).archived] == [month_name(7)]
    assert list(folder.iterdir()) == []


def test_an_open_bucket_or_none_is_refused(old: Old, archive: Archive, folder: Path, bucket: S3Service, settings: Any) -> None:
    archive()
    settings.OSS_PUBLIC = True
    with pytest.raises(CommandError, match="Everybody may read"):
        manage_json("archive_ledger", "--before", month_name(4), "--to-bucket")
    settings.OSS_DRIVER = "local"
    with pytest.raises(CommandError, match="has no bucket"):
        manage_json("archive_ledger", "--before", month_name(4), "--to-bucket")
    assert not LedgerArchiveCopy.objects.exists()


# --- the admin's list ------------------------------------------------------------------------------------------------


def download(archive: LedgerArchive) -> str:
    return reverse("admin:billing_archive_download", args=[archive.id])


def test_the_list_says_what_each_month_holds_and_where_it_lies(
    old: Old, archive: Archive, folder: Path, bucket: S3Service, admin_client: Any
) -> None:
    archive()
    manage_json("archive_ledger", "--before", month_name(4), "--to-bucket")
    (folder / f"ledger-{month_name(6)}.jsonl.gz").unlink()
    LedgerArchiveCopy.objects.filter(archive__month=month_name(5)).delete()
    page = admin_client.get(reverse("admin:billing_ledgerarchive_changelist")).text
    assert page.index(month_name(5)) < page.index(month_name(6)) < page.index(month_name(7))
    for words in ("Here and in the bucket", "In the bucket shelf", "Signature valid", "928", "70"):
        assert words in page, words
    row = LedgerArchive.objects.get(month=month_name(7))
    shown = admin_client.get(reverse("admin:billing_ledgerarchive_change", args=[row.pk])).text
    assert row.sha256 in shown and download(row) in shown


def test_a_file_is_downloaded_and_that_is_noted(old: Old, archive: Archive, folder: Path, admin_client: Any) -> None:
    archive()
    row = LedgerArchive.objects.get(month=month_name(7))
    confirm_password(admin_client, seconds_ago=1000)
    assert "confirm" in admin_client.get(download(row))["Location"]
    confirm_password(admin_client)
    answer = admin_client.get(download(row))
    assert b"".join(answer.streaming_content) == (folder / row.file).read_bytes()
    noted = AuditEntry.objects.get(action="ledger.download")
    assert (noted.actor, noted.target_name, noted.after) == ("admin:admin", row.month, {"file": row.file})
    (folder / row.file).unlink()
    gone = admin_client.get(download(row), follow=True)
    assert "lies neither here nor in the bucket" in gone.text
    assert AuditEntry.objects.filter(action="ledger.download").count() == 1


def test_a_file_in_the_bucket_is_opened_by_a_signed_address(
    old: Old, archive: Archive, folder: Path, bucket: S3Service, admin_client: Any
) -> None:
    archive()
    manage_json("archive_ledger", "--before", month_name(4), "--to-bucket")
    row = LedgerArchive.objects.get(month=month_name(7))
    (folder / row.file).unlink()
    confirm_password(admin_client)
    address = admin_client.get(download(row))["Location"]
    assert address.startswith(bucket.url) and "Signature" in address


def test_who_may_see_and_who_may_download(old: Old, archive: Archive, folder: Path, client: Any) -> None:
    archive()
    row = LedgerArchive.objects.get(month=month_name(7))
    user = User.objects.create_user("audrey", password="x", is_staff=True)
    client.force_login(user)
    confirm_password(client)
    page = reverse("admin:billing_ledgerarchive_change", args=[row.pk])
    assert client.get(page).status_code in (302, 403)
    user.groups.add(Group.objects.get(name="auditor"))
    assert download(row) not in client.get(page).text
    assert client.get(download(row)).status_code == 403
    user.groups.add(Group.objects.get(name="finance"))
    assert download(row) in client.get(page).text
    assert client.get(download(row)).status_code == 200
