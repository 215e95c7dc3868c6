"""How a use becomes credits: the seven billing types, as arithmetic only. No ORM, no clock.

Amounts are exact (integers and Decimal) and rounded once, at the end, half up. Seconds are Decimal.
"""

from billing.pricing.arithmetic import default_price, price
from billing.pricing.problems import problems
from billing.pricing.values import (
    MAX_CREDITS,
    MAX_DURATION_SECONDS,
    Inputs,
    PriceRow,
    Quote,
    Rule,
    Step,
    inputs_from_json,
    inputs_to_json,
    rule_from_json,
    rule_to_json,
    steps_from_json,
    steps_to_json,
)
from billing.pricing.words import explain

__all__ = [
    "MAX_CREDITS",
    "MAX_DURATION_SECONDS",
    "Inputs",
    "PriceRow",
    "Quote",
    "Rule",
    "Step",
    "default_price",
    "explain",
    "inputs_from_json",
    "inputs_to_json",
    "price",
    "problems",
    "rule_from_json",
    "rule_to_json",
    "steps_from_json",
    "steps_to_json",
]
