"""What people paste where a secret belongs: one reader for the admin's page, bulk calls and files.

A secret on its own is taken as it is. Out of `NAME=value`, a header, an address with a key in it or a row of a table the
key is taken where there is no doubt which part it is. A text that cannot be a secret, or was cut, becomes an error.
"""

import base64
import binascii
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

MIN_LENGTH_IN_ROW = 16  # of a part that is taken for a secret because of its looks
GOOGLE_KEY_LENGTH = 39

_KNOWN = {
    "gemini": re.compile(r"(?<![\w-])(?:AIza[\w-]{35}(?![\w-])|AQ\.[\w-]{20,}|sk-[\w-]{20,})", re.ASCII),
    "sora": re.compile(r"(?<![\w.-])eyJ[\w-]+(?:\.[\w-]+){2,4}(?![\w.-])", re.ASCII),
}
_NUMBER = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)*(?:E[+-]?[0-9]+)?", re.IGNORECASE)
_CUT = re.compile(r"…|\.{3}|\*{3}|•{3}")
_ASSIGNED = re.compile(r"(?:(?:export|set|setx)\s+)?[\"']?([A-Za-z_][\w.-]{0,63})[\"']?\s*(?:=|:\s|:(?=[\"'])|=>)\s*(\S.*)")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]{1,20}://", re.IGNORECASE)
_KEY_NAMES = {"key", "apikey", "accesstoken", "token", "secret", "auth", "authorization", "xgoogapikey", "bearer"}
_SEPARATORS = re.compile(r"----+|[,;|\t]+|\s{1,}")
_AROUND = " \t\r\n,;\"'`“”‘’\ufeff\u200b"
_NAME_OF_A_SETTING = re.compile(r"key|token|secret|auth|bearer|header|password", re.IGNORECASE)


@dataclass(frozen=True)
class Pasted:
    """One pasted line: its secret, or the error why it has none. `note` is a warning about a secret that was taken."""

    number: int = 1
    secret: str = field(default="", repr=False)
    name: str = ""  # the other text in the line, if there was one
    error: str | Promise = ""
    note: str | Promise = ""

    def item(self, provider: str) -> dict[str, Any]:
        """Return the item for `bulk.import_many`. The name of a Sora account is its e-mail address."""
        if self.error:
            return {"error": self.error}
        name = "email" if provider == "sora" and "@" in self.name else "name"
        return {"secret": self.secret} | {key: value for key, value in ((name, self.name), ("note", self.note)) if value}


def read_lines(provider: str, text: str) -> list[Pasted]:
    """Read every line of a text, without empty lines and those that begin with #."""
    lines = [(number, line.strip(_AROUND)) for number, line in enumerate(text.splitlines(), 1)]
    return [read(provider, line, number) for number, line in lines if line and not line.startswith("#")]


def read(provider: str, text: str, number: int = 1) -> Pasted:
    """Read one line."""
    text = text.strip(_AROUND)
    if _CUT.search(text):
        return Pasted(number, error=_("This secret is cut or hidden. Paste the whole of it."))
    if _NUMBER.fullmatch(text):
        return Pasted(number, error=_("This is a number, as spreadsheets make it of other things. Format the column as text."))
    if _ADDRESS.match(text):
        return _of_address(text, number)
    known = list(dict.fromkeys(match[0] for match in _KNOWN[provider].finditer(text)))
    if len(known) > 1:
        return Pasted(number, error=_("There is more than one secret in this line. Paste one a line."))
    if known:
        return _checked(Pasted(number, known[0], _name_beside(text, known[0])))
    if (assigned := _ASSIGNED.fullmatch(text)) and not re.search(r"\s", value := _bare(assigned[2])) and len(value) >= 4:
        return _checked(Pasted(number, value, _as_name(assigned[1])))
    if _SEPARATORS.search(text):
        return _of_row(text, number)
    return _checked(Pasted(number, text))


def _of_address(text: str, number: int) -> Pasted:
    """Take the key from a URL's query or fragment."""
    try:
        parts = urlsplit(text)
        pairs = [*parse_qsl(parts.query), *parse_qsl(parts.fragment)]
    except ValueError:
        pairs = []
    found = {value for name, value in pairs if re.sub(r"[^a-z]", "", name.lower()) in _KEY_NAMES and len(value) >= 4}
    if len(found) != 1:
        return Pasted(number, error=_("This is an address. Paste the key alone."))
    return _checked(Pasted(number, found.pop(), note=_("The key in the address was taken.")))


def _of_row(text: str, number: int) -> Pasted:
    """Take the one part of a table's row that looks like a secret."""
    parts = [part for part in (_bare(part) for part in _SEPARATORS.split(text)) if part]
    candidates = [part for part in parts if _looks_secret(part)]
    if len(candidates) != 1:
        error = _("It cannot be told which part of this line is the secret. Paste the secret alone, without spaces.")
        return Pasted(number, error=error)
    return _checked(Pasted(number, candidates[0], _name_beside(text, candidates[0])))


def _looks_secret(part: str) -> bool:
    is_mixed = re.search(r"[0-9]", part) and re.search(r"[A-Za-z]", part)
    return len(part) >= MIN_LENGTH_IN_ROW and bool(is_mixed) and "@" not in part and part.isascii() and not _ADDRESS.match(part)


def _bare(part: str) -> str:
    return re.sub(r"^Bearer\s+", "", part.strip(_AROUND), flags=re.IGNORECASE).strip(_AROUND)


def _name_beside(text: str, secret: str) -> str:
    """Return the one other part of the line if it can be a name (a password beside a token cannot), else an empty text."""
    rest = [part.strip(_AROUND + "=:") for part in _SEPARATORS.split(text.replace(secret, " ", 1))]
    others = [part for part in rest if part and part.lower() not in ("export", "set", "bearer", "name")]
    mails = [part for part in others if "@" in part]
    return _as_name(mails[0] if len(mails) == 1 else others[0] if len(others) == 1 else "")


def _as_name(text: str) -> str:
    """Return `text` if it can name a credential; the name of a setting or a mere number cannot."""
    is_name = re.search(r"[^\W\d_]", text) and not _NAME_OF_A_SETTING.search(text)
    return text.strip(_AROUND + "=:")[:200] if is_name else ""


def _checked(found: Pasted) -> Pasted:
    """Check the form of the secret: a token that was cut becomes an error, a key of unusual length gets a note."""
    secret = found.secret
    if secret.startswith("eyJ"):
        parts = secret.split(".")
        if len(parts) not in (3, 5) or not all(parts):
            return Pasted(found.number, error=_("This token is cut: a whole one has three parts. Paste the whole of it."))
        if len(parts) == 3 and not _is_json(parts[1]):
            return _noted(found, _("This does not look like a whole token."))
    if secret.startswith("AIza") and len(secret) != GOOGLE_KEY_LENGTH:
        said = _("Google's keys have %(usual)s characters, this one has %(count)s: it may have been cut.")
        return _noted(found, said % {"usual": GOOGLE_KEY_LENGTH, "count": len(secret)})
    return found


def _noted(found: Pasted, note: str | Promise) -> Pasted:
    return Pasted(found.number, found.secret, found.name, note=note)


def _is_json(part: str) -> bool:
    try:
        return isinstance(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))), dict)
    except (ValueError, binascii.Error, RecursionError):
        return False
