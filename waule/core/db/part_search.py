"""Find an id by any part of it, and a text by its words: on PostgreSQL with GIN indexes on arrays, which need no extension.

An id is cut into pieces of PIECE characters, from its beginning on. Whatever part of it is asked for, if only it is long
enough, contains at least one whole piece: which one depends on where the part begins, so there are PIECE possibilities, and
the rows that have any of them are compared as a whole. See docs/adr/0011-search-by-pieces.md.

SQLite has no such index. There the newest SCANNED_ROWS rows are read.
"""

from collections.abc import Callable
from typing import Any

from django.db import OperationalError, connection, transaction

MIN_PART = 8  # characters that a person must give
MAX_PART = 255
PIECE = 4
SHORTEST = 2 * PIECE - 1  # what is left of a part without its hyphens; shorter ones need not contain a whole piece
SCANNED_ROWS = 100_000
TIMEOUT_MS = 3_000


def normalized(text: str) -> str:
    """`text` as ids are compared: in lower case, without hyphens."""
    return text.strip().lower().replace("-", "")


def is_part(text: str) -> bool:
    """Return whether `text` is long enough to look for in ids."""
    return MIN_PART <= len(text.strip()) <= MAX_PART and len(normalized(text)) >= SHORTEST and "\x00" not in text


def is_hexadecimal(part: str) -> bool:
    return set(normalized(part)) <= set("0123456789abcdef")


def pieces_of(part: str) -> list[str]:
    """Return a whole piece in `part` for each place at which it may begin within a piece.

    Where it begins with one, that is the second if it is there: the first piece of a UUID is in no index.
    """
    plain = normalized(part)
    starts = [PIECE if len(plain) >= 2 * PIECE else 0, *range(1, PIECE)]
    return sorted({plain[start : start + PIECE] for start in starts})


def uuid_pieces(column: str) -> str:
    """SQL for the pieces of a UUID as numbers, but the first one, which those of seven weeks share."""
    bytes_ = f"uuid_send({column})"
    return "ARRAY[" + ", ".join(f"get_byte({bytes_}, {n}) << 8 | get_byte({bytes_}, {n + 1})" for n in range(2, 16, 2)) + "]"


def text_pieces(column: str) -> str:
    """SQL for the pieces of a text."""
    return f"string_to_array(regexp_replace(replace(lower({column}), '-', ''), '(.{{{PIECE}}})', '\\1 ', 'g'), ' ')"


def words(column: str) -> str:
    """SQL for the words of a text; each Chinese, Japanese or Korean character is one."""
    spaced = f"regexp_replace(lower({column}), '([\\u2E80-\\u9FFF\\uAC00-\\uD7AF\\uF900-\\uFAFF])', ' \\1 ', 'g')"
    return f"regexp_split_to_array({spaced}, '[[:space:][:punct:]]+')"


def rows_with_part(table: str, column: str, part: str, *, is_uuid: bool, limit: int) -> list[Any]:
    """Return the primary keys of the newest rows of `table` whose `column` contains `part`; ids are ordered by time."""
    plain = normalized(part)
    pattern = "%" + plain.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    if connection.vendor != "postgresql":
        found = f"SELECT id, {column} AS value FROM {table} ORDER BY id DESC LIMIT {SCANNED_ROWS}"  # noqa: S608
        like = "replace(lower(value), '-', '') LIKE %s ESCAPE '\\'"
        return _run(f"SELECT id FROM ({found}) newest WHERE {like} ORDER BY id DESC LIMIT %s", [pattern, limit])  # noqa: S608
    if is_uuid and not is_hexadecimal(part):
        return []
    pieces: list[Any] = pieces_of(part)
    sought, array = ([int(piece, 16) for piece in pieces], "int[]") if is_uuid else (pieces, "text[]")
    cut = uuid_pieces(column) if is_uuid else text_pieces(column)
    text = f"replace(lower({column}::text), '-', '')"
    # Materialized: to walk the newest rows until enough match would be the planner's other idea, and takes minutes.
    found = f"SELECT id FROM {table} WHERE {cut} && %s::{array} AND {text} LIKE %s"  # noqa: S608
    sql = f"WITH found AS MATERIALIZED ({found}) SELECT id FROM found ORDER BY id DESC LIMIT %s"  # noqa: S608
    return _run(sql, [sought, pattern, limit])


def rows_with_words(table: str, column: str, text: str, *, newest: int, limit: int) -> list[Any]:
    """Return the primary keys of the newest rows of `table` whose `column` has all words of `text`.

    The `newest` rows are read first: they have the words that many rows have. Only rare ones are left to the index.
    """
    if not any(character.isalnum() for character in text):
        return []  # else every row has all of no words
    if connection.vendor != "postgresql":
        return _with_words_in_sqlite(table, column, text, limit)
    matches = f"{words(column)} @> array_remove({words('%s')}, '')"
    first = f"SELECT id, {column} FROM {table} ORDER BY id DESC LIMIT {newest}"  # noqa: S608
    found = _run(f"SELECT id FROM ({first}) newest WHERE {matches} ORDER BY id DESC LIMIT %s", [text, limit])  # noqa: S608
    if len(found) == limit:
        return found
    rare = f"SELECT id FROM {table} WHERE {matches}"  # noqa: S608
    sql = f"WITH found AS MATERIALIZED ({rare}) SELECT id FROM found ORDER BY id DESC LIMIT %s"  # noqa: S608
    return _run(sql, [text, limit])


def _with_words_in_sqlite(table: str, column: str, text: str, limit: int) -> list[Any]:
    sought = [word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") for word in text.lower().split()]
    found = f"SELECT id, {column} AS value FROM {table} ORDER BY id DESC LIMIT {SCANNED_ROWS}"  # noqa: S608
    like = " AND ".join(["lower(value) LIKE %s ESCAPE '\\'"] * len(sought))
    sql = f"SELECT id FROM ({found}) newest WHERE {like} ORDER BY id DESC LIMIT %s"  # noqa: S608
    return _run(sql, [*(f"%{word}%" for word in sought), limit])


def _run(sql: str, values: list[Any]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return [row[0] for row in cursor.fetchall()]


def within_time(look: Callable[[], list[Any]]) -> list[Any] | None:
    """Return what `look` finds; None where it takes longer than TIMEOUT_MS."""
    if connection.vendor != "postgresql":
        return look()
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL statement_timeout = {TIMEOUT_MS}")
            return look()
    except OperationalError as error:
        if getattr(error.__cause__, "pgcode", "") == "57014":  # query_canceled
            return None
        raise


def merge_pending(*indexes: str) -> None:
    """Merge what was written lately into these indexes, so that no writer has to: it would take a second for it.

    PostgreSQL lets the owner of the index alone do it; under another role its writers and autovacuum do.
    """
    if connection.vendor != "postgresql":
        return
    owned = "relkind = 'i' AND pg_table_is_visible(oid) AND pg_has_role(relowner, 'USAGE')"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT gin_clean_pending_list(oid) FROM pg_class WHERE relname = ANY(%s) AND {owned}",  # noqa: S608
            [list(indexes)],
        )
