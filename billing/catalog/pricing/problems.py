"""What makes a rule one that cannot work, so that it is refused when it is saved."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from decimal import Decimal

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from billing.catalog.pricing.sizes import read_size
from billing.catalog.pricing.tables import PriceRow, normalised, normalised_mode, split_tier
from billing.catalog.pricing.values import MAX_CREDITS, Rule

MAX_ROWS = 500
MAX_MULTIPLIER = Decimal("999999.999999")

Problem = tuple[str, str | Promise]


@dataclass(frozen=True)
class _Needs:
    """What a billing type takes its price from."""

    base: bool = False
    priced: tuple[str, ...] = ()  # dimensions whose rows carry credits
    multiplied: tuple[str, ...] = ()  # dimensions whose rows carry a multiplier
    rows_optional: bool = False


_NEEDS = {
    "PER_REQUEST": _Needs(base=True),
    "PER_IMAGE": _Needs(base=True, priced=("resolution",), rows_optional=True),
    "PER_DURATION": _Needs(base=True),
    "DURATION_RESOLUTION": _Needs(priced=("resolution",)),
    "PER_CHARACTER": _Needs(priced=("character",)),
    "DURATION_MODE": _Needs(priced=("mode",)),
    "OPERATION_MODE": _Needs(priced=("operationType",), multiplied=("mode",)),
}
_NO_ROWS: dict[str, str | Promise] = {
    "resolution": _("This billing type needs at least one price row for a resolution."),
    "mode": _("This billing type needs at least one price row for a mode."),
    "operationType": _("This billing type needs at least one price row for an operation type."),
    "character": _("This billing type needs a price row for characters."),
}
_NEGATIVE = _("A price cannot be negative.")
_TOO_LARGE = _("This is larger than 9007199254740991.")
_PRICE_NEEDED = _("Give a price above 0, or mark the rule as free.")


def problems(rule: Rule) -> list[Problem]:
    """Return each thing that keeps the rule from working: the field (`base_credits`, `prices[2].credits`) and why.

    Rows of dimensions that the billing type does not use are allowed; only their numbers are looked at.
    """
    needs = _NEEDS.get(rule.billing_type)
    if needs is None:
        return [("billing_type", _("This billing type does not exist."))]
    if len(rule.prices) > MAX_ROWS:
        return [("prices", _("A rule has at most 500 price rows."))]
    found: list[Problem] = []
    used = {row.dimension for row in rule.prices}
    if rule.base_credits < 0:
        found.append(("base_credits", _NEGATIVE))
    elif rule.base_credits > MAX_CREDITS:
        found.append(("base_credits", _TOO_LARGE))
    elif not (rule.base_credits or rule.is_free) and needs.base and not (needs.rows_optional and used & set(needs.priced)):
        found.append(("base_credits", _PRICE_NEEDED))
    if rule.pricing_unit not in ("", "per_second", "per_request"):
        found.append(("pricing_unit", _("Choose per_second or per_request.")))
    if not needs.rows_optional:
        found.extend(("prices", _NO_ROWS[name]) for name in (*needs.priced, *needs.multiplied) if name not in used)
    for number, row in enumerate(rule.prices):
        found.extend((f"prices[{number}].{field}", why) for field, why in _row_problems(row, rule, needs))
    return found + _clashes(rule, needs)


def _row_problems(row: PriceRow, rule: Rule, needs: _Needs) -> list[Problem]:
    found: list[Problem] = []
    if row.dimension not in _NO_ROWS:
        return [("dimension", _("This dimension does not exist."))]
    is_priced, is_multiplied = row.dimension in needs.priced, row.dimension in needs.multiplied
    if row.credits is not None and row.credits < 0:
        found.append(("credits", _NEGATIVE))
    elif row.credits is not None and row.credits > MAX_CREDITS:
        found.append(("credits", _TOO_LARGE))
    elif is_priced and (row.credits is None or (row.credits == 0 and not rule.is_free)):
        found.append(("credits", _PRICE_NEEDED))
    found.extend(_multiplier_problems(row.multiplier, is_needed=is_multiplied))
    if row.unit_size is not None and row.unit_size < 1:
        found.append(("unit_size", _("The unit size is at least 1.")))
    elif row.unit_size is not None and row.unit_size > MAX_CREDITS:
        found.append(("unit_size", _TOO_LARGE))
    elif row.unit_size is None and row.dimension == "character" and is_priced:
        found.append(("unit_size", _("Give the number of characters that the price is for.")))
    if (is_priced or is_multiplied) and row.dimension != "character":
        if not row.value.strip():
            found.append(("value", _("Give the value that this price is for.")))
        elif row.dimension == "resolution" and _key(row, rule) is None:
            found.append(("value", _("“%(value)s” names no size.") % {"value": row.value}))
    return found


def _multiplier_problems(multiplier: Decimal | None, *, is_needed: bool) -> list[Problem]:
    if multiplier is None:
        return [("multiplier", _("Give a multiplier above 0."))] if is_needed else []
    if not multiplier.is_finite() or multiplier <= 0:
        return [("multiplier", _("A multiplier is above 0."))]
    if multiplier > MAX_MULTIPLIER or multiplier != multiplier.quantize(Decimal("0.000001")):
        return [("multiplier", _("A multiplier is below 1,000,000 and has at most 6 decimal places."))]
    return []


def _clashes(rule: Rule, needs: _Needs) -> list[Problem]:
    """Return rows that say two things about one value."""
    found: list[Problem] = []
    seen: set[Hashable] = set()
    for number, row in enumerate(rule.prices):
        is_used = row.dimension in (*needs.priced, *needs.multiplied)
        value = _key(row, rule) if is_used else normalised(row.value)
        key = (row.dimension, value)
        if value is not None and key in seen:
            found.append((f"prices[{number}].value", _("Another row already gives the price of this value.")))
        seen.add(key)
    if rule.billing_type == "DURATION_RESOLUTION":
        by_second = {key[1][0] for key in seen if _is_resolution(key) and key[1][1] is None}  # type: ignore[index]
        for number, row in enumerate(rule.prices):
            text, seconds = split_tier(row.value)
            if row.dimension == "resolution" and seconds is not None and read_size(text).side in by_second:
                found.append(
                    (f"prices[{number}].value", _("This resolution has a price per second; it cannot have tiers as well."))
                )
    return found


def _is_resolution(key: Hashable) -> bool:
    return isinstance(key, tuple) and key[0] == "resolution" and key[1] is not None


def _key(row: PriceRow, rule: Rule) -> Hashable | None:
    """Return what a row's value means, equal for two spellings of one value; None where it means nothing."""
    return _KEYS[row.dimension](row.value, rule.billing_type)


def _resolution_key(value: str, billing_type: str) -> Hashable | None:
    if billing_type != "DURATION_RESOLUTION":
        return read_size(value).image
    text, seconds = split_tier(value)
    side = read_size(text).side
    return None if side is None else (side, seconds)


_KEYS: dict[str, Callable[[str, str], Hashable | None]] = {
    "resolution": _resolution_key,
    "mode": lambda value, _type: normalised_mode(value),
    "operationType": lambda value, _type: normalised(value),
    "character": lambda _value, _type: "",
}
