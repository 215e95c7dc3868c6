"""A number of bytes as people type it: with its unit."""

import re
from decimal import Decimal
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from unfold.widgets import UnfoldAdminTextInputWidget

MAX_BYTES = 2**63 - 1
# As everywhere in the admin (`filesizeformat`) a kilobyte has 1,024 bytes.
UNITS = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40, "PB": 1 << 50}
_SIZE = re.compile(r"([0-9][0-9,]*(?:\.[0-9]{1,6})?)\s*([KMGTP]?B)", re.IGNORECASE)


def size_in_words(size: int) -> str:
    """Return the same number of bytes in the largest unit that it is a whole number of: 10737418240 as "10 GB"."""
    name, unit = max(((name, unit) for name, unit in UNITS.items() if size % unit == 0), key=lambda each: each[1])
    return f"{size // unit} {name}" if size else "0 B"


class QuotaField(forms.Field):
    """Bytes; a small number without a unit is refused, for nobody means 10 bytes by 10."""

    widget = UnfoldAdminTextInputWidget

    def prepare_value(self, value: Any) -> Any:
        return size_in_words(value) if isinstance(value, int) else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(self.to_python(data) != initial)
        except forms.ValidationError:
            return True

    def to_python(self, value: Any) -> int | None:
        text = str(value if value is not None else "").strip()
        if not text:
            return None
        if text == "0" or (text.isascii() and text.isdigit() and int(text[:20]) >= UNITS["MB"]):
            return min(int(text[:20]), MAX_BYTES)  # nobody means gigabytes by a number as large as that
        found = _SIZE.fullmatch(text)
        if found is None:
            raise forms.ValidationError(_("Write the quota with its unit, such as 500 MB or 10 GB."))
        size = int(Decimal(found[1].replace(",", "")) * UNITS[found[2].upper()])
        if size > MAX_BYTES:
            raise forms.ValidationError(_("This quota is too large."))
        return size
