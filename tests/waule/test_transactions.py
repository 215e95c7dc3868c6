"""Verbs that wait for a database that is away for a moment."""

import time

import pytest
from django.db import InterfaceError, OperationalError, transaction

from waule.core.db.transactions import retry_transient
from waule.core.errors import InvalidRequest, Unavailable


class Away:
    """Fails so often, then works."""

    def __init__(self, times: int, error: Exception) -> None:
        self.times, self.error, self.calls = times, error, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.times:
            raise self.error
        return "done"


@pytest.mark.parametrize(
    "error", [OperationalError("gone"), InterfaceError("closed"), Unavailable()], ids=lambda e: type(e).__name__
)
def test_it_is_tried_again_until_the_database_is_back(cloned_db: None, error: Exception) -> None:
    verb = Away(2, error)
    assert (retry_transient(verb), verb.calls) == ("done", 3)


def test_patience_has_an_end(cloned_db: None) -> None:
    verb = Away(1000, OperationalError("gone"))
    started = time.monotonic()
    with pytest.raises(OperationalError):
        retry_transient(verb, seconds=1)
    assert 1 <= time.monotonic() - started < 20  # a thousand tries take longer


def test_a_refusal_is_not_repeated(cloned_db: None) -> None:
    verb = Away(1, InvalidRequest())
    with pytest.raises(InvalidRequest):
        retry_transient(verb)
    assert verb.calls == 1


def test_inside_of_a_transaction_there_is_nothing_to_wait_for(cloned_db: None) -> None:
    verb = Away(1, OperationalError("gone"))
    with pytest.raises(OperationalError), transaction.atomic():
        retry_transient(verb)
    assert verb.calls == 1
