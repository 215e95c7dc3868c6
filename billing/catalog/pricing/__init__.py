"""How a use becomes credits: the seven billing types, as arithmetic only. No ORM, no clock.

Amounts are exact (integers and Decimal) and rounded once, at the end, half up. Seconds are Decimal.
"""

from billing.catalog.pricing.arithmetic import default_price, price
from billing.catalog.pricing.explanation import explain
from billing.catalog.pricing.interfaces import PIXELS as ANY_SIZE
from billing.catalog.pricing.interfaces import SizeInterface, interface_of
from billing.catalog.pricing.price_list import explain_default, explain_rule
from billing.catalog.pricing.problems import problems
from billing.catalog.pricing.selling import seconds_of, sell, text_of, variant_names, variant_of
from billing.catalog.pricing.sizes import NO_SIZE, Size, SoldSize, read_size, sold_size_of
from billing.catalog.pricing.sizes import READABLE as READABLE_SIZES
from billing.catalog.pricing.tables import PriceRow
from billing.catalog.pricing.values import (
    MAX_CREDITS,
    MAX_DURATION_SECONDS,
    Inputs,
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

__all__ = [
    "ANY_SIZE",
    "MAX_CREDITS",
    "MAX_DURATION_SECONDS",
    "NO_SIZE",
    "READABLE_SIZES",
    "Inputs",
    "PriceRow",
    "Quote",
    "Rule",
    "Size",
    "SizeInterface",
    "SoldSize",
    "Step",
    "default_price",
    "explain",
    "explain_default",
    "explain_rule",
    "inputs_from_json",
    "inputs_to_json",
    "interface_of",
    "price",
    "problems",
    "read_size",
    "rule_from_json",
    "rule_to_json",
    "seconds_of",
    "sell",
    "sold_size_of",
    "steps_from_json",
    "steps_to_json",
    "text_of",
    "variant_names",
    "variant_of",
]
