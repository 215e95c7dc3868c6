"""The archive's file of one month: JSON lines, compressed. Everything about it can be recomputed from itself and the ledger.

    {"format": "waule-ledger-archive", "version": 1, "month": …, "until": …}
    {"account": …, "reference": …, "first": …, "last": …, "opening": …, "openingHash": …}      for each account, by its id
    {"id": …, "seq": …, "kind": …, "amount": …, "balance": …, "charge": …, "at": …, "hash": …, "kept": true}      an entry
    {"id": …, …, "hash": …, "spendable": …, "description": …, "actor": …}                      one that is only here
    {"accounts": …, "entries": …, "credits": …}                                                at the end

Entries that stay in the ledger have no texts here: erasing a tenant or a person does not have to look for them in files.
"""

import gzip
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _

from billing.ledger.closings import moment_text
from billing.ledger.models import Kind, LedgerEntry
from billing.ledger.posting import entry_hash
from waule.core.errors import InvalidRequest
from waule.core.files import PRIVATE_FILE, make_private_folder

FORMAT, VERSION = "waule-ledger-archive", 1
MAX_LINE_BYTES = 16_384
_BLOCK = 1 << 20


@dataclass
class Block:
    """One account's month: what it began with and, once its entries were read, what they made."""

    account_id: int
    reference: str
    first_seq: int
    last_seq: int
    opening: int
    opening_hash: str
    first_at: datetime | None = None
    balance: int = 0
    hash: str = ""
    used_count: int = 0
    used_credits: int = 0
    other_count: int = 0
    other_amount: int = 0
    moved_count: int = 0
    moved_credits: int = 0

    def head(self) -> dict[str, Any]:
        return {
            "account": self.account_id,
            "reference": self.reference,
            "first": self.first_seq,
            "last": self.last_seq,
            "opening": self.opening,
            "openingHash": self.opening_hash,
        }


@dataclass
class Totals:
    accounts: int = 0
    entries: int = 0
    credits: int = 0

    def add(self, block: Block) -> None:
        self.accounts += 1
        self.entries += block.moved_count
        self.credits += block.moved_credits

    def as_json(self) -> dict[str, int]:
        return {"accounts": self.accounts, "entries": self.entries, "credits": self.credits}


@dataclass(frozen=True)
class Line:
    """An entry as the file has it. `texts` are description and actor of one that is only there."""

    id: int
    seq: int
    kind: str
    amount: int
    balance: int
    charge_id: UUID | None
    at: datetime
    hash: str
    texts: tuple[str, str] | None

    @property
    def is_kept(self) -> bool:
        return self.texts is None


class BrokenArchive(InvalidRequest):
    """400: a file that is not what was written."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(_("%(file)s is not a whole archive of the ledger: %(what)s.") % {"file": path.name, "what": what})


def is_moved(entry: LedgerEntry, *, last_seq: int) -> bool:
    """Return whether the entry goes into the file and leaves the ledger.

    What else somebody needs stays: the month's last entry, on which the next ones stand; grants, whose keys answer
    repeated calls; entries of refunds and redeemed codes, which name them; what names a person.
    """
    return (
        entry.kind == Kind.CONSUME
        and entry.charge_id is not None
        and entry.idempotency_key is None
        and not entry.actor.startswith("admin:")
        and entry.seq != last_seq
    )


# --- writing -------------------------------------------------------------------------------------------------------


class Writer:
    """Writes one month beside its place and puts it there when it is whole and on the disk, for its owner alone to read."""

    def __init__(self, path: Path, *, month: str, until: datetime) -> None:
        make_private_folder(path.parent)
        self.path, self._part = path, path.with_name(path.name + ".part")
        self._part.unlink(missing_ok=True)
        descriptor = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
        self._raw = os.fdopen(descriptor, "wb")
        # Without name and time in its head the same entries make the same file.
        self._file = gzip.GzipFile(filename="", fileobj=self._raw, mode="wb", mtime=0)
        self.totals = Totals()
        self._write({"format": FORMAT, "version": VERSION, "month": month, "until": moment_text(until)})

    def write(self, block: Block, entries: Iterable[LedgerEntry]) -> None:
        self._write(block.head())
        for entry in entries:
            moved = is_moved(entry, last_seq=block.last_seq)
            self._write(_as_line(entry, moved))
            if moved:
                block.moved_count += 1
                block.moved_credits -= entry.amount
        self.totals.add(block)

    def finish(self) -> None:
        self._write(self.totals.as_json())
        self._file.close()
        self._raw.flush()
        os.fsync(self._raw.fileno())
        self._raw.close()
        self._part.replace(self.path)
        sync_folder(self.path.parent)

    def discard(self) -> None:
        self._raw.close()
        self._part.unlink(missing_ok=True)

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")


def _as_line(entry: LedgerEntry, moved: bool) -> dict[str, Any]:
    line = {
        "id": entry.id,
        "seq": entry.seq,
        "kind": entry.kind,
        "amount": entry.amount,
        "balance": entry.balance,
        "charge": str(entry.charge_id) if entry.charge_id else None,
        "at": moment_text(entry.created_at),
        "hash": entry.hash,
    }
    if not moved:
        return line | {"kept": True}
    return line | {"spendable": entry.spendable, "description": entry.description, "actor": entry.actor}


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_private(path: Path, text: str) -> None:
    """Write a small file as the archive is written: whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)


def sha256_of(path: Path) -> str:
    """SHA-256 of the file as it lies there, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


# --- reading -------------------------------------------------------------------------------------------------------


@dataclass
class Reader:
    """Reads a file account by account and checks each entry against the one before it."""

    path: Path
    month: str = ""
    until: str = ""
    totals: Totals = field(default_factory=Totals)

    def blocks(self) -> Iterator[tuple[Block, list[Line]]]:
        """Yield each account, in pieces: its block, which is complete with the last piece, and some of its entries.

        Raises:
            BrokenArchive: the file is cut off, or an entry does not follow from the one before it.
        """
        try:
            with gzip.open(self.path, "rb") as file:
                yield from self._blocks(file)
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise BrokenArchive(self.path, f"{type(error).__name__}: {error}") from error

    def lines_of(self, account_id: int) -> Iterator[Line]:
        """Yield the entries of one account; those of others are passed over unread.

        Raises:
            BrokenArchive: as `blocks`.
        """
        try:
            with gzip.open(self.path, "rb") as file:
                self._line(file)
                while "account" in (line := self._line(file)):
                    if line["account"] == account_id:
                        yield from self._checked(file, line)
                        return
                    for _seq in range(line["first"], line["last"] + 1):
                        file.readline(MAX_LINE_BYTES)
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise BrokenArchive(self.path, f"{type(error).__name__}: {error}") from error

    def _checked(self, file: gzip.GzipFile, head: dict[str, Any]) -> Iterator[Line]:
        block = _block_of(head)
        for _seq in range(block.first_seq, block.last_seq + 1):
            entry = _line_of(self._line(file))
            self._add(block, entry)
            yield entry

    def _blocks(self, file: gzip.GzipFile) -> Iterator[tuple[Block, list[Line]]]:
        head = self._line(file)
        if head.get("format") != FORMAT or head.get("version") != VERSION:
            raise BrokenArchive(self.path, "it does not begin as one")
        self.month, self.until = str(head["month"]), str(head["until"])
        while "account" in (line := self._line(file)):
            block = _block_of(line)
            lines: list[Line] = []
            for seq in range(block.first_seq, block.last_seq + 1):
                entry = _line_of(self._line(file))
                if entry.seq != seq:
                    raise BrokenArchive(self.path, f"entry {seq} of {block.reference} is missing")
                self._add(block, entry)
                lines.append(entry)
                if len(lines) == 1000 and seq != block.last_seq:
                    yield block, lines
                    lines = []
            self.totals.add(block)
            yield block, lines
        if line != self.totals.as_json():
            raise BrokenArchive(self.path, f"its last line says {line}, its entries make {self.totals.as_json()}")

    def _line(self, file: gzip.GzipFile) -> dict[str, Any]:
        raw = file.readline(MAX_LINE_BYTES)
        if not raw.endswith(b"\n"):
            raise BrokenArchive(self.path, "it is cut off")
        line = json.loads(raw)
        if not isinstance(line, dict):
            raise BrokenArchive(self.path, "a line is not an object")
        return line

    def _add(self, block: Block, line: Line) -> None:
        if line.balance != block.balance + line.amount:
            raise BrokenArchive(self.path, f"the balance of entry {line.seq} of {block.reference} does not follow")
        if line.texts is not None and line.hash != hash_of(block.account_id, line, before=block.hash, texts=line.texts):
            raise BrokenArchive(self.path, f"entry {line.seq} of {block.reference} does not match its hash")
        block.first_at = block.first_at or line.at
        block.balance, block.hash = line.balance, line.hash
        if line.kind == Kind.CONSUME:
            block.used_count += 1
            block.used_credits -= line.amount
        else:
            block.other_count += 1
            block.other_amount += line.amount
        if not line.is_kept:
            block.moved_count += 1
            block.moved_credits -= line.amount


def hash_of(account_id: int, line: Line, *, before: str, texts: tuple[str, str]) -> str:
    """Return what the entry's hash has to be after the entry with the hash `before`; `texts` are description and actor."""
    return entry_hash(
        before=before,
        account_id=account_id,
        seq=line.seq,
        kind=line.kind,
        amount=line.amount,
        balance=line.balance,
        charge_id=line.charge_id,
        created_at=line.at,
        actor=texts[1],
        description=texts[0],
    )


def _block_of(head: dict[str, Any]) -> Block:
    block = Block(int(head["account"]), str(head["reference"]), head["first"], head["last"], head["opening"], head["openingHash"])
    block.balance, block.hash = block.opening, block.opening_hash
    return block


def _line_of(given: dict[str, Any]) -> Line:
    return Line(
        id=int(given["id"]),
        seq=int(given["seq"]),
        kind=str(given["kind"]),
        amount=int(given["amount"]),
        balance=int(given["balance"]),
        charge_id=UUID(given["charge"]) if given["charge"] else None,
        at=datetime.fromisoformat(given["at"]),
        hash=str(given["hash"]),
        texts=None if given.get("kept") else (str(given["description"]), str(given["actor"])),
    )
