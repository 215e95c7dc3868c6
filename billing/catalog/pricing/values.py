"""The nouns of pricing, and how they are kept as JSON in the snapshot of a charge."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

from billing.catalog.pricing.sizes import NO_SIZE, Size, read_size
from billing.catalog.pricing.tables import PriceRow, Tables, build_tables

MAX_CREDITS = 2**53 - 1  # the largest price and the largest amount of one use: every JSON reader can still read it
MAX_DURATION_SECONDS = 86400


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How the uses of one scope become credits. `round_up` None: as the billing type says."""

    id: int | None = None
    name: str = ""
    version: int = 1
    scope: str = ""
    billing_type: str
    base_credits: int = 0
    is_free: bool = False
    round_up: bool | None = None
    pricing_unit: str = ""  # "", per_second or per_request
    is_active: bool = True
    prices: tuple[PriceRow, ...] = ()

    @cached_property
    def tables(self) -> Tables:
        """The rows, parsed and sorted once: a rule prices many uses."""
        return build_tables(self.billing_type, self.prices)

    @cached_property
    def as_json(self) -> dict[str, Any]:
        """The rule for snapshots, made once. Not to be changed."""
        return {
            "id": self.id,
            "name": self.name,
            "version": self.version,
            "scope": self.scope,
            "billingType": self.billing_type,
            "baseCredits": self.base_credits,
            "isFree": self.is_free,
            "roundUp": self.round_up,
            "pricingUnit": self.pricing_unit,
            "isActive": self.is_active,
            "prices": [_row_to_json(row) for row in self.prices],
        }


@dataclass(frozen=True)
class Inputs:
    """What the price of a use depends on. Empty values and None: the caller left it out."""

    quantity: int = 1
    duration: Decimal | None = None  # seconds
    resolution: Size = NO_SIZE
    mode: str = ""
    operation_type: str = ""
    character_count: int | None = None


@dataclass(frozen=True)
class Step:
    """One step of the arithmetic, kept as data; `explain` words it in the reader's language.

    The price is the first step's `credits` times every later `factor`; then it is rounded, raised to 1, or made free.
    """

    code: str
    params: dict[str, Any]


@dataclass(frozen=True)
class Quote:
    """What a use costs, and how that came about. 0 credits only where `is_free`."""

    credits: int
    is_free: bool
    steps: tuple[Step, ...]


def _row_to_json(row: PriceRow) -> dict[str, Any]:
    fields: dict[str, Any] = {"dimension": row.dimension}
    if row.value:
        fields["value"] = row.value
    if row.credits is not None:
        fields["credits"] = row.credits
    if row.multiplier is not None:
        fields["multiplier"] = str(row.multiplier)
    if row.unit_size is not None:
        fields["unitSize"] = row.unit_size
    return fields


def rule_to_json(rule: Rule) -> dict[str, Any]:
    """Return the rule as it is now, for a snapshot. The same object each time: keep it, do not change it."""
    return rule.as_json


def rule_from_json(data: Mapping[str, Any]) -> Rule:
    """Return the rule that `rule_to_json` wrote."""
    return Rule(
        id=data["id"],
        name=data["name"],
        version=data["version"],
        scope=data["scope"],
        billing_type=data["billingType"],
        base_credits=data["baseCredits"],
        is_free=data["isFree"],
        round_up=data["roundUp"],
        pricing_unit=data["pricingUnit"],
        is_active=data["isActive"],
        prices=tuple(
            PriceRow(
                dimension=row["dimension"],
                value=row.get("value", ""),
                credits=row.get("credits"),
                multiplier=Decimal(row["multiplier"]) if "multiplier" in row else None,
                unit_size=row.get("unitSize"),
            )
            for row in data["prices"]
        ),
    )


def inputs_to_json(inputs: Inputs) -> dict[str, Any]:
    """Return what the caller gave, a duration as exact decimal text."""
    fields: dict[str, Any] = {"quantity": inputs.quantity}
    if inputs.duration is not None:
        fields["duration"] = str(inputs.duration)
    if inputs.resolution.text:
        fields["resolution"] = inputs.resolution.text
    if inputs.mode:
        fields["mode"] = inputs.mode
    if inputs.operation_type:
        fields["operationType"] = inputs.operation_type
    if inputs.character_count is not None:
        fields["characterCount"] = inputs.character_count
    return fields


def inputs_from_json(data: Mapping[str, Any]) -> Inputs:
    """Return the inputs that `inputs_to_json` wrote; other keys are of no concern here."""
    duration = data.get("duration")
    return Inputs(
        quantity=data["quantity"],
        duration=None if duration is None else Decimal(duration),
        resolution=read_size(data.get("resolution", "")),
        mode=data.get("mode", ""),
        operation_type=data.get("operationType", ""),
        character_count=data.get("characterCount"),
    )


def steps_to_json(steps: Iterable[Step]) -> list[dict[str, Any]]:
    return [{"code": step.code, "params": step.params} for step in steps]


def steps_from_json(data: Iterable[Mapping[str, Any]]) -> tuple[Step, ...]:
    return tuple(Step(step["code"], step["params"]) for step in data)
