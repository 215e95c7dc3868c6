"""What reconciliation reports: the differences that it found, and how much it looked at."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import connection

from billing.ledger.models import Account

MAX_PROBLEMS = 1000  # more than anybody reads; the count of all is told


@dataclass(frozen=True)
class Problem:
    """One difference: whose account, which entry where it is one, and what."""

    account: str
    what: str
    seq: int | None = None

    def as_json(self) -> dict[str, Any]:
        return {"account": self.account, **({"seq": self.seq} if self.seq is not None else {}), "what": self.what}


@dataclass
class Report:
    accounts: int = 0
    entries: int = 0
    holds: int = 0
    charges: int = 0
    problems: list[Problem] = field(default_factory=list)
    problem_count: int = 0
    is_full: bool = True  # else `entries` are those that were new, and holds and charges are not counted

    @property
    def ok(self) -> bool:
        return not self.problem_count

    def add(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self.problem_count += 1
            if len(self.problems) < MAX_PROBLEMS:
                self.problems.append(problem)

    def as_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            **({} if self.is_full else {"incremental": True}),
            "accounts": self.accounts,
            "entries": self.entries,
            "holds": self.holds,
            "charges": self.charges,
            "problems": [problem.as_json() for problem in self.problems],
        }


def rows(statement: str, parameters: list[Any]) -> Iterator[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        while (found := cursor.fetchmany(1000)) != []:
            yield from found


def name_of(account_id: int) -> str:
    return Account.objects.get(id=account_id).reference


def uuid_text(value: Any) -> str:
    return str(value if isinstance(value, UUID) else UUID(value))
