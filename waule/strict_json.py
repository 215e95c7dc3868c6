"""JSON as this house takes it: what is ambiguous or does not fit a database is refused, not guessed at.

Refused: NaN and infinities (also by overflow, `1e999`), duplicate keys, nesting deeper than 32, integers outside signed
64 bits, `\\u0000`, unpaired surrogates, anything that is not UTF-8. Numbers with a fraction become floats.
"""

import json
import math
import re
from typing import Any

from django.utils.translation import gettext_lazy as _

from waule.errors import InvalidJSON, InvalidRequest

MAX_DEPTH = 32
MIN_INTEGER, MAX_INTEGER = -(2**63), 2**63 - 1


def parse(raw: bytes) -> Any:
    """The value that `raw` spells.

    Raises:
        InvalidJSON: not JSON at all, or JSON in one of the refused spellings.
        InvalidRequest: a value (integer, text) that no column could hold.
    """
    _check_depth(raw)
    try:
        value = _decoder.decode(raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise InvalidJSON(_("The body is not UTF-8.")) from None
    except RecursionError:
        raise InvalidJSON(_("The JSON is nested too deeply (more than 32 levels).")) from None
    except json.JSONDecodeError as error:
        raise InvalidJSON(
            _("The body is not valid JSON: %(why)s (line %(line)s, column %(column)s).")
            % {"why": error.msg, "line": error.lineno, "column": error.colno}
        ) from None
    _check(value)
    return value


# A string (also one that never ends, so that no start is looked at twice), or a bracket.
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\Z)|[\[\]{}]', re.DOTALL)


def _check_depth(raw: bytes) -> None:
    """Before it is decoded: a decoder that runs out of stack leaves Python's own count of it in disorder."""
    if raw.count(b"[") + raw.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(raw):
        token = match[0]
        if token in (b"[", b"{"):
            depth += 1
            if depth > MAX_DEPTH:
                raise InvalidJSON(_("The JSON is nested too deeply (more than 32 levels)."))
        elif token in (b"]", b"}"):
            depth -= 1


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
                raise InvalidJSON(_("The JSON is nested too deeply (more than 32 levels)."))
        level = below


def check_text(text: str) -> None:
    """Raises InvalidRequest for text that PostgreSQL cannot store: a NUL, or half of a surrogate pair."""
    if text.isascii():
        if "\0" in text:
            raise InvalidRequest(_("Text must not contain \\u0000."))
        return
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidRequest(_("Text must not contain \\u0000 or unpaired surrogates."))
