"""A rule as a price list in words: every figure of it, whatever its billing type."""

from collections.abc import Callable

from django.utils.translation import gettext as _

from billing.catalog.pricing.arithmetic import DEFAULT_CREDITS_PER_IMAGE, DEFAULT_CREDITS_PER_SECOND
from billing.catalog.pricing.explanation import explain
from billing.catalog.pricing.tables import PriceRow, split_tier
from billing.catalog.pricing.values import Rule, Step

RAISED_BY_DEFAULT = {"DURATION_RESOLUTION", "DURATION_MODE"}  # to whole seconds
PRICED_BY_SECONDS = RAISED_BY_DEFAULT | {"PER_DURATION"}


def explain_rule(rule: Rule) -> list[str]:
    """Return one sentence for each figure, in the active language."""
    lister = _LISTERS.get(rule.billing_type)
    sentences = explain(lister(rule)) if lister is not None else []
    if rule.billing_type in ("PER_IMAGE", "DURATION_RESOLUTION") and _rows(rule, "resolution"):
        sentences.append(_("A size that is not listed is priced as the next larger one."))
    is_raised = rule.billing_type in RAISED_BY_DEFAULT if rule.round_up is None else rule.round_up
    if rule.billing_type in PRICED_BY_SECONDS and is_raised and rule.pricing_unit != "per_request":
        sentences.append(_("Durations are raised to whole seconds."))
    return [*explain([Step("free_rule", {})]), *sentences] if rule.is_free else sentences


def explain_default() -> list[str]:
    """Return the price of what has no rule, where default prices are on."""
    second = Step("default_per_second", {"credits": DEFAULT_CREDITS_PER_SECOND})
    return explain([second, Step("default_per_image", {"credits": DEFAULT_CREDITS_PER_IMAGE})])


def _rows(rule: Rule, dimension: str) -> list[PriceRow]:
    return [row for row in rule.prices if row.dimension == dimension]


def _base(code: str) -> Callable[[Rule], list[Step]]:
    return lambda rule: [Step(code, {"credits": rule.base_credits})]


def _per_image(rule: Rule) -> list[Step]:
    steps = [Step("per_image", {"credits": rule.base_credits})] if rule.base_credits or rule.is_free else []
    return steps + [Step("per_image_at", {"credits": row.credits, "value": row.value}) for row in _rows(rule, "resolution")]


def _duration_resolution(rule: Rule) -> list[Step]:
    steps = []
    for row in _rows(rule, "resolution"):
        label, seconds = split_tier(row.value)
        code = "per_second_at" if seconds is None else "flat_at"
        steps.append(Step(code, {"credits": row.credits, "value": label, "seconds": seconds}))
    return steps


def _per_character(rule: Rule) -> list[Step]:
    rows = _rows(rule, "character")
    return [Step("per_characters", {"credits": row.credits, "unit_size": row.unit_size}) for row in rows]


def _duration_mode(rule: Rule) -> list[Step]:
    code = "per_request_in_mode" if rule.pricing_unit == "per_request" else "per_second_in_mode"
    return [Step(code, {"credits": row.credits, "value": row.value}) for row in _rows(rule, "mode")]


def _operation_mode(rule: Rule) -> list[Step]:
    steps = [Step("per_operation", {"credits": row.credits, "value": row.value}) for row in _rows(rule, "operationType")]
    return steps + [Step("factor_mode", {"factor": row.multiplier, "value": row.value}) for row in _rows(rule, "mode")]


_LISTERS: dict[str, Callable[[Rule], list[Step]]] = {
    "PER_REQUEST": _base("per_request"),
    "PER_IMAGE": _per_image,
    "PER_DURATION": _base("per_second"),
    "DURATION_RESOLUTION": _duration_resolution,
    "PER_CHARACTER": _per_character,
    "DURATION_MODE": _duration_mode,
    "OPERATION_MODE": _operation_mode,
}
