"""What of a model goes together: its option `combinations`, such as that 1080p is made in 8 seconds only.

    combinations:
      - {when: {resolution: [1080p, 4k]}, only: {duration: [8]}}

Each says: where every field of `when` has one of these values, the fields of `only` have one of those.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from django.utils.translation import gettext_lazy as _

from waule.core.errors import InvalidRequest


def check(combinations: Any, given: Mapping[str, Any]) -> None:
    """Raise InvalidRequest naming the field of `given` that does not go with the others. None says nothing of a field."""
    for rule in combinations if isinstance(combinations, list | tuple) else ():
        when, only = (rule.get(part) if isinstance(rule, Mapping) else None for part in ("when", "only"))
        if not isinstance(when, Mapping) or not isinstance(only, Mapping):
            continue
        if all(_is_among(given.get(name), values) for name, values in when.items()):
            for name, values in sorted(only.items()):  # a stored option keeps no order
                if given.get(name) is not None and not _is_among(given[name], values):
                    condition = ", ".join(f"{field} {given[field]}" for field in when)
                    raise InvalidRequest.of_field(
                        name,
                        _("With %(condition)s this model makes %(values)s only, not %(given)s.")
                        % {"condition": condition, "values": listed(values), "given": written(given[name])},
                    )


def check_options(options: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise InvalidRequest for what the options `combinations` and, beside them, `durations` of a model rule out.

    Alone, `durations` only says what to offer: many models make any length.
    """
    rules, durations = options.get("combinations"), options.get("durations")
    if rules and isinstance(durations, list) and given.get("duration") is not None:
        check_among("duration", given["duration"], durations)
    check(rules, given)


def check_among(field: str, given: Any, possible: Iterable[Any]) -> None:
    """Raise InvalidRequest where `given` is none of what is possible."""
    values = list(possible)
    if not _is_among(given, values):
        text = _("This model does not make %(given)s. It makes: %(values)s.")
        raise InvalidRequest.of_field(field, text % {"given": written(given), "values": listed(values)})


def listed(values: Any) -> str:
    return ", ".join(written(value) for value in _list(values))


def written(value: Any) -> str:
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)


def _list(values: Any) -> list[Any]:
    return list(values) if isinstance(values, list | tuple | set) else [values]


def _is_among(given: Any, values: Any) -> bool:
    return any(_plain(given) == _plain(value) for value in _list(values))


def _plain(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value
