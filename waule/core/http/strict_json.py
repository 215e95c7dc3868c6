"""JSON as this house takes it: what is ambiguous or does not fit a database is refused, not guessed at.

Refused: NaN and infinities (also by overflow, `1e999`), duplicate keys, nesting deeper than 32, integers outside signed
64 bits, `\\u0000`, unpaired surrogates, anything that is not UTF-8, more than 100,000 values. Numbers with a fraction
become floats.
"""

import json
import math
import re
from typing import Any

from django.utils.translation import gettext_lazy as _

from waule.core.errors import InvalidJSON, InvalidRequest

MAX_DEPTH = 32
MAX_VALUES = 100_000  # members of objects and lists; a batch of 1,000 charges has about 20,000
MAX_TOKENS = 4 * MAX_VALUES
_TOO_DEEP = _("The JSON is nested too deeply (more than 32 levels).")
MIN_INTEGER, MAX_INTEGER = -(2**63), 2**63 - 1


def parse(raw: bytes) -> Any:
    """Return the value that `raw` spells.

    Raises:
        InvalidJSON: not JSON at all, or JSON in one of the refused spellings.
        InvalidRequest: a value (integer, text) that no column could hold.
    """
    _check_size(raw)
    try:
        value = _decoder.decode(_text_of(raw))
    except UnicodeDecodeError:
        raise InvalidJSON(_("The body is not UTF-8.")) from None
    except RecursionError:
        raise InvalidJSON(_TOO_DEEP) from None
    except json.JSONDecodeError as error:
        raise InvalidJSON(
            _("The body is not valid JSON: %(why)s (line %(line)s, column %(column)s).")
            % {"why": error.msg, "line": error.lineno, "column": error.colno}
        ) from None
    if b"\\u" in raw:  # nothing else spells what is looked for: UTF-8 has no surrogates, JSON no control characters
        _check(value)
    return value


LARGE_BYTES = 1 << 20
MAX_WIDE_BYTES = 256 << 10  # of other characters than ASCII in a large body: prompts are text, pictures are not
_ASCII = bytes(range(128))
_WIDE = re.compile(rb"[\x80-\xff]+")


def _text_of(raw: bytes) -> str:
    """Decode UTF-8. One emoji among 30 MiB of pictures would make every character of theirs four bytes: it is escaped."""
    if len(raw) <= LARGE_BYTES or raw.isascii():
        return raw.decode("utf-8")
    if len(raw.translate(None, _ASCII)) > MAX_WIDE_BYTES:
        raise InvalidRequest(_("The body has more text than any call takes."))
    return _WIDE.sub(lambda match: json.dumps(match[0].decode("utf-8"))[1:-1].encode(), raw).decode("ascii")


# A string (also one that never ends, so that no start is looked at twice), a bracket, or what separates values.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\Z)|[\[\]{},]', re.DOTALL)


def _check_size(raw: bytes) -> None:
    """Refuse what is nested too deeply or has too many values, before it is decoded: a small value costs 30 times its bytes.

    Most bodies pass by their number of commas and brackets alone. In the others those inside of strings do not count.
    """
    brackets = raw.count(b"[") + raw.count(b"{")
    if brackets <= MAX_DEPTH and brackets + raw.count(b",") <= MAX_VALUES:
        return
    depth = values = 0
    for tokens, match in enumerate(_TOKEN.finditer(raw)):
        token = match[0]
        if token in (b"[", b"{"):
            depth += 1
            values += 1
            if depth > MAX_DEPTH:
                raise InvalidJSON(_TOO_DEEP)
        elif token in (b"]", b"}"):
            depth -= 1
        elif token == b",":
            values += 1
        if values > MAX_VALUES or tokens > MAX_TOKENS:
            raise InvalidRequest(_("The body has more than %(limit)s values.") % {"limit": MAX_VALUES})


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _value in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise InvalidJSON(_("The JSON names %(key)s twice.") % {"key": ascii(twice[:64])})
    return result


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise InvalidRequest(_("The number %(number)s is too large.") % {"number": text[:32]})
    return number


def _int(text: str) -> int:
    if len(text) > 20 or not MIN_INTEGER <= (number := int(text)) <= MAX_INTEGER:
        raise InvalidRequest(_("The integer %(number)s does not fit 64 bits.") % {"number": text[:32]})
    return number


def _constant(name: str) -> Any:
    raise InvalidJSON(_("%(name)s is not JSON.") % {"name": name})


_decoder = json.JSONDecoder(object_pairs_hook=_pairs, parse_float=_float, parse_int=_int, parse_constant=_constant)


def _check(value: Any) -> None:
    """Depth and text of everything in `value`, level by level, so that no input can exhaust the stack."""
    level, depth = [value], 0
    while level:
        below: list[Any] = []
        for item in level:
            if isinstance(item, str):
                check_text(item)
            elif isinstance(item, dict):
                below.extend(item)
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        if any(isinstance(item, dict | list) for item in level):
            depth += 1
            if depth > MAX_DEPTH:
                raise InvalidJSON(_TOO_DEEP)
        level = below


_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def check_text(text: str) -> None:
    """Raise InvalidRequest for text that PostgreSQL cannot store: a NUL, or half of a surrogate pair."""
    if _UNSTORABLE.search(text):
        raise InvalidRequest(_("Text must not contain \\u0000 or unpaired surrogates."))
