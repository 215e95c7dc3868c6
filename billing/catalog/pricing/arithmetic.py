"""The seven billing types."""

from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_HALF_UP, Context, Decimal

from django.utils.translation import gettext as _

from billing.catalog.pricing.tables import normalised, normalised_mode
from billing.catalog.pricing.values import MAX_CREDITS, MAX_DURATION_SECONDS, Inputs, Quote, Rule, Step
from billing.errors import DurationOutOfRange, MissingDimension, PriceNotConfigured, UnknownDimension
from waule.core.errors import InvalidRequest

DEFAULT_CREDITS_PER_SECOND = 10
DEFAULT_CREDITS_PER_IMAGE = 20

# Wide enough that no product of a price, a multiplier and a quantity is rounded before the end; nothing is trapped,
# what overflows becomes an infinity and is refused as too much.
_EXACT = Context(prec=200, traps=[])

Exact = int | Decimal


def price(rule: Rule, inputs: Inputs) -> Quote:
    """Return what `rule` takes for a use.

    Raises:
        InvalidRequest: a quantity, duration or character count that is not positive, or more than 2**53 - 1 credits.
        MissingDimension, UnknownDimension, DurationOutOfRange: the rule cannot price this use.
        PriceNotConfigured: the rule itself cannot work.
    """
    _check(inputs)
    pricer = _PRICERS.get(rule.billing_type)
    if pricer is None:
        raise PriceNotConfigured(ruleId=rule.id)
    steps: list[Step] = []
    exact = pricer(rule, inputs, steps)
    if rule.is_free:
        steps.append(Step("free_rule", {}))
        return Quote(0, True, tuple(steps))
    if not exact > 0:  # a rule that was never checked: a use is not given away for it
        raise PriceNotConfigured(ruleId=rule.id)
    return _round(exact, steps)


def default_price(inputs: Inputs) -> Quote:
    """Return what a use without any rule costs where default prices are on: 10 credits a second, else 20 an image.

    Raises:
        InvalidRequest: as `price`.
    """
    _check(inputs)
    if inputs.duration is not None:
        steps = [
            Step("default_per_second", {"credits": DEFAULT_CREDITS_PER_SECOND}),
            Step("factor_seconds", {"factor": _text(inputs.duration)}),
        ]
        return _round(_EXACT.multiply(inputs.duration, DEFAULT_CREDITS_PER_SECOND), steps)
    steps = [Step("default_per_image", {"credits": DEFAULT_CREDITS_PER_IMAGE})]
    return _round(_times_quantity(DEFAULT_CREDITS_PER_IMAGE, inputs, steps), steps)


def _check(inputs: Inputs) -> None:
    if inputs.quantity < 1:
        raise InvalidRequest.of_field("quantity", _("Send an integer of at least 1."))
    duration = inputs.duration
    if duration is not None and not (duration.is_finite() and 0 < duration <= MAX_DURATION_SECONDS):
        raise InvalidRequest.of_field("duration", _("Send more than 0 and at most 86400 seconds."))
    if inputs.character_count is not None and inputs.character_count < 1:
        raise InvalidRequest.of_field("characterCount", _("Send an integer of at least 1."))


def _round(exact: Exact, steps: list[Step]) -> Quote:
    if exact > MAX_CREDITS:
        raise InvalidRequest(_("This use would cost more than %(most)s credits.") % {"most": MAX_CREDITS})
    credits = exact if isinstance(exact, int) else int(exact.to_integral_value(rounding=ROUND_HALF_UP))
    if credits != exact:
        steps.append(Step("rounded", {"exact": _text(exact), "credits": credits}))
    if credits < 1:
        credits = 1
        steps.append(Step("minimum", {"credits": 1}))
    steps.append(Step("total", {"credits": credits}))
    return Quote(credits, False, tuple(steps))


def _text(number: Exact) -> str:
    """Return an exact number in plain digits."""
    return str(number) if isinstance(number, int) else format(_EXACT.normalize(number), "f")


def _missing(dimension: str) -> MissingDimension:
    return MissingDimension(_("The price depends on %(dimension)s. Send it.") % {"dimension": dimension}, dimension=dimension)


def _unknown(dimension: str, value: str) -> UnknownDimension:
    return UnknownDimension(
        _("No price covers the %(dimension)s “%(value)s”.") % {"dimension": dimension, "value": value},
        dimension=dimension,
        value=value,
    )


def _times_quantity(amount: Exact, inputs: Inputs, steps: list[Step]) -> Exact:
    if inputs.quantity == 1:
        return amount
    steps.append(Step("factor_quantity", {"factor": str(inputs.quantity)}))
    return amount * inputs.quantity if isinstance(amount, int) else _EXACT.multiply(amount, inputs.quantity)


def _times_seconds(credits: int, rule: Rule, inputs: Inputs, steps: list[Step], *, round_up: bool) -> Exact:
    duration = _duration(inputs)
    counted = duration
    if round_up if rule.round_up is None else rule.round_up:
        counted = duration.to_integral_value(rounding=ROUND_CEILING)
    if counted == duration:
        steps.append(Step("factor_seconds", {"factor": _text(counted)}))
    else:
        steps.append(Step("factor_seconds_raised", {"factor": _text(counted), "duration": _text(duration)}))
    return _EXACT.multiply(counted, credits)


def _duration(inputs: Inputs) -> Decimal:
    if inputs.duration is None:
        raise _missing("duration")
    return inputs.duration


def _per_request(rule: Rule, _inputs: Inputs, steps: list[Step]) -> Exact:
    steps.append(Step("per_request", {"credits": rule.base_credits}))
    return rule.base_credits


def _per_image(rule: Rule, inputs: Inputs, steps: list[Step]) -> Exact:
    credits = rule.base_credits
    tables = rule.tables
    resolution = inputs.resolution.text.strip()
    if tables.pixels and resolution:
        row = tables.size_row(inputs.resolution)
        if row is None or row.credits is None:
            raise _unknown("resolution", resolution)
        credits = row.credits
        steps.append(Step("per_image_at", {"credits": credits, "value": row.value}))
        if normalised(row.value) != normalised(resolution):
            steps.append(Step("counts_as", {"given": resolution, "value": row.value}))
    elif credits or rule.is_free:
        steps.append(Step("per_image", {"credits": credits}))
    else:
        raise _missing("resolution")
    return _times_quantity(credits, inputs, steps)


def _per_duration(rule: Rule, inputs: Inputs, steps: list[Step]) -> Exact:
    steps.append(Step("per_second", {"credits": rule.base_credits}))
    return _times_seconds(rule.base_credits, rule, inputs, steps, round_up=False)


def _duration_resolution(rule: Rule, inputs: Inputs, steps: list[Step]) -> Exact:
    given = inputs.resolution.text.strip()
    if not given:
        raise _missing("resolution")
    resolution = rule.tables.resolution_of(inputs.resolution)
    if resolution is None:
        raise _unknown("resolution", given)
    if resolution.per_second is not None:
        credits = resolution.per_second
        steps.append(Step("per_second_at", {"credits": credits, "value": resolution.label}))
        exact = _times_seconds(credits, rule, inputs, steps, round_up=True)
    else:
        duration = _duration(inputs)
        tier = next((tier for tier in resolution.tiers if tier[0] >= duration), None)
        if tier is None:
            longest = _text(resolution.tiers[-1][0])
            raise DurationOutOfRange(
                _("At %(resolution)s the longest duration for sale is %(longest)s seconds.")
                % {"resolution": resolution.label, "longest": longest},
                dimension="duration",
                longest=longest,
            )
        exact = tier[1]
        steps.append(Step("flat_at", {"credits": tier[1], "seconds": _text(tier[0]), "value": resolution.label}))
    if normalised(resolution.label) != normalised(given):
        steps.append(Step("counts_as", {"given": given, "value": resolution.label}))
    return exact


def _per_character(rule: Rule, inputs: Inputs, steps: list[Step]) -> Exact:
    row = rule.tables.character
    if row is None or row.credits is None or not row.unit_size or row.unit_size < 0:
        raise PriceNotConfigured(ruleId=rule.id)
    if inputs.character_count is None:
        raise _missing("characterCount")
    units = -(-inputs.character_count // row.unit_size)
    steps.append(Step("per_characters", {"credits": row.credits, "unit_size": row.unit_size}))
    steps.append(Step("factor_units", {"factor": str(units), "characters": inputs.character_count}))
    return units * row.credits


def _duration_mode(rule: Rule, inputs: Inputs, steps: list[Step]) -> Exact:
    mode = inputs.mode.strip()
    if not mode:
        raise _missing("mode")
    row = rule.tables.modes.get(normalised_mode(mode))
    if row is None or row.credits is None:
        raise _unknown("mode", mode)
    if rule.pricing_unit == "per_request":
        steps.append(Step("per_request_in_mode", {"credits": row.credits, "value": row.value}))
        return _times_quantity(row.credits, inputs, steps)
    steps.append(Step("per_second_in_mode", {"credits": row.credits, "value": row.value}))
    return _times_seconds(row.credits, rule, inputs, steps, round_up=True)


def _operation_mode(rule: Rule, inputs: Inputs, steps: list[Step]) -> Exact:
    operation, mode = inputs.operation_type.strip(), inputs.mode.strip()
    if not operation:
        raise _missing("operationType")
    if not mode:
        raise _missing("mode")
    priced = rule.tables.operations.get(normalised(operation))
    if priced is None or priced.credits is None:
        raise _unknown("operationType", operation)
    multiplied = rule.tables.modes.get(normalised_mode(mode))
    if multiplied is None or multiplied.multiplier is None:
        raise _unknown("mode", mode)
    steps.append(Step("per_operation", {"credits": priced.credits, "value": priced.value}))
    steps.append(Step("factor_mode", {"factor": _text(multiplied.multiplier), "value": multiplied.value}))
    return _times_quantity(_EXACT.multiply(multiplied.multiplier, priced.credits), inputs, steps)


_PRICERS: dict[str, Callable[[Rule, Inputs, list[Step]], Exact]] = {
    "PER_REQUEST": _per_request,
    "PER_IMAGE": _per_image,
    "PER_DURATION": _per_duration,
    "DURATION_RESOLUTION": _duration_resolution,
    "PER_CHARACTER": _per_character,
    "DURATION_MODE": _duration_mode,
    "OPERATION_MODE": _operation_mode,
}
