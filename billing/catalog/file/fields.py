"""Reading one object of a catalog file, field by field: what is wrong is told with its path, `rules[2].prices[0].credits`."""

import json
import re
from collections.abc import Callable, Collection
from datetime import date
from decimal import Decimal
from typing import Any, TypeVar

from django.utils.translation import gettext as _

from billing.catalog.file.document import MAX_ENTRIES
from waule.core.errors import InvalidRequest
from waule.core.http import strict_json

T = TypeVar("T")
_DECIMAL = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?")


def reject(path: str, why: Any) -> InvalidRequest:
    return InvalidRequest.of_field(path, why)


class Fields:
    """The fields of one object at `path`. `null` is the same as leaving a field out; a field that nobody reads is refused."""

    def __init__(self, data: Any, path: str) -> None:
        if not isinstance(data, dict):
            raise reject(path or "file", _("Write an object with named fields here."))
        self.path = path
        self._left = {name: value for name, value in data.items() if value is not None}
        self._names = set(data)

    def at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def end(self) -> None:
        """Reject a name that was not asked for."""
        for name in self._names:
            raise reject(self.at(name), _("There is no such field."))

    def _take(self, name: str) -> Any:
        self._names.discard(name)
        return self._left.pop(name, None)

    def _required(self, name: str) -> Any:
        value = self._take(name)
        if value is None:
            raise reject(self.at(name), _("This field is missing."))
        return value

    def text(self, name: str, *, max_length: int, default: str | None = None) -> str:
        """Text without spaces at its ends; required where there is no default."""
        value = self._required(name) if default is None else self._take(name)
        if value is None:
            return str(default)
        if not isinstance(value, str):
            raise reject(self.at(name), _("Write text here, in quotation marks where it could be a number."))
        value = value.strip()
        if not value and default is None:
            raise reject(self.at(name), _("This field is empty."))
        if len(value) > max_length:
            raise reject(self.at(name), _("This is longer than %(limit)s characters.") % {"limit": max_length})
        _check_text(value, self.at(name))
        return value

    def choice(self, name: str, choices: Collection[str], *, default: str | None = None) -> str:
        value = self.text(name, max_length=200, default=default)
        if value not in choices and value != default:
            raise reject(self.at(name), _("Choose one of: %(choices)s.") % {"choices": ", ".join(choices)})
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        value = self.optional_flag(name)
        return default if value is None else value

    def optional_flag(self, name: str) -> bool | None:
        value = self._take(name)
        if value is not None and not isinstance(value, bool):
            raise reject(self.at(name), _("Write true or false."))
        return value

    def integer(self, name: str, *, low: int, high: int, default: int) -> int:
        value = self.optional_integer(name)
        if value is None:
            return default
        if not low <= value <= high:
            raise reject(self.at(name), _("Write a number from %(low)s to %(high)s.") % {"low": low, "high": high})
        return value

    def optional_integer(self, name: str) -> int | None:
        """Any integer of 64 bits."""
        value = self._take(name)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool):
            raise reject(self.at(name), _("Write a whole number."))
        if not strict_json.MIN_INTEGER <= value <= strict_json.MAX_INTEGER:
            raise reject(self.at(name), _("This number is too large."))
        return value

    def optional_decimal(self, name: str) -> Decimal | None:
        """Return a decimal as text (`"1.5"`) or as a number, exactly as it is written."""
        value = self._take(name)
        if value is None:
            return None
        text = value if isinstance(value, str) else repr(value)
        if isinstance(value, bool | dict | list) or not _DECIMAL.fullmatch(text.strip().removeprefix("-")):
            raise reject(self.at(name), _("Write a decimal such as “1.5”."))
        return Decimal(text.strip())

    def optional_day(self, name: str) -> date | None:
        """Return a date such as `2027-06-30`."""
        text = self.text(name, max_length=10, default="")
        try:
            return date.fromisoformat(text) if text else None
        except ValueError:
            raise reject(self.at(name), _("Write a date such as 2027-06-30.")) from None

    def json_object(self, name: str, *, max_bytes: int) -> dict[str, Any]:
        """Return an object of JSON values; required to be one, empty where it is left out."""
        value = self._take(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise reject(self.at(name), _("Write an object with named fields here."))
        try:
            # Read back, so that what is stored is what an export writes: JSON and nothing else.
            written = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
            if len(written) > max_bytes:
                raise reject(self.at(name), _("This is larger than %(limit)s bytes.") % {"limit": max_bytes})
            read: dict[str, Any] = strict_json.parse(written)
        except (TypeError, ValueError) as error:
            raise reject(self.at(name), _("This is not JSON: %(why)s") % {"why": error}) from None
        return read

    def entries(self, name: str, read: Callable[["Fields"], T]) -> tuple[T, ...]:
        """Return the objects of a list, each read by `read`."""
        value = self._take(name)
        if value is None:
            return ()
        if not isinstance(value, list):
            raise reject(self.at(name), _("Write a list here."))
        if len(value) > MAX_ENTRIES:
            raise reject(self.at(name), _("This list has more than %(limit)s entries.") % {"limit": MAX_ENTRIES})
        found = []
        for number, item in enumerate(value):
            fields = Fields(item, f"{self.at(name)}[{number}]")
            found.append(read(fields))
            fields.end()
        return tuple(found)

    def nested(self, name: str) -> "Fields":
        return Fields(self._required(name), self.at(name))


def _check_text(value: str, path: str) -> None:
    try:
        strict_json.check_text(value)
    except InvalidRequest as error:
        raise reject(path, error) from None
