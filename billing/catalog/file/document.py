"""What a catalog file says, entry by entry. Each entry knows how it is written in a file (`as_json`)."""

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

MAX_FILE_BYTES = 1 << 20
MAX_ENTRIES = 5000  # of one list
MAX_OPTIONS_BYTES = 16 << 10
MAX_LIMIT = 2**31 - 1  # of uses a day and generations at once


@dataclass(frozen=True)
class ScopeEntry:
    """A model (by the provider's name; provider and type where two models share it), a node type or a module type."""

    model_id: str = ""
    provider: str = ""
    type: str = ""
    node_type: str = ""
    module_type: str = ""

    def as_json(self) -> dict[str, str]:
        named = {
            "modelId": self.model_id,
            "provider": self.provider,
            "type": self.type,
            "nodeType": self.node_type,
            "moduleType": self.module_type,
        }
        return {name: value for name, value in named.items() if value}

    def __str__(self) -> str:
        return " ".join(self.as_json().values())


@dataclass(frozen=True)
class ModelEntry:
    model_id: str
    provider: str
    type: str
    name: str = ""
    is_active: bool = True
    options: dict[str, Any] = field(default_factory=dict)
    gateway_endpoint: str = ""
    retires_at: date | None = None
    replaced_by: str = ""
    serve_replacement: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        return self.provider, self.model_id, self.type

    def as_json(self) -> dict[str, Any]:
        written: dict[str, Any] = {
            "modelId": self.model_id,
            "name": self.name,
            "provider": self.provider,
            "type": self.type,
            "isActive": self.is_active,
        }
        if self.options:
            written["options"] = self.options
        if self.gateway_endpoint:
            written["gatewayEndpoint"] = self.gateway_endpoint
        if self.retires_at is not None:
            written["retiresAt"] = self.retires_at.isoformat()
        if self.replaced_by:
            written["replacedBy"] = self.replaced_by
        if self.serve_replacement:
            written["serveReplacement"] = True
        return written


@dataclass(frozen=True)
class PriceEntry:
    dimension: str
    value: str = ""
    credits: int | None = None
    multiplier: Decimal | None = None
    unit_size: int | None = None

    @property
    def label(self) -> str:
        return f"{self.dimension} {self.value}".strip()

    def as_json(self) -> dict[str, Any]:
        written: dict[str, Any] = {"dimension": self.dimension}
        if self.value:
            written["value"] = self.value
        if self.credits is not None:
            written["credits"] = self.credits
        if self.multiplier is not None:
            written["multiplier"] = format(self.multiplier.normalize(), "f")
        if self.unit_size is not None:
            written["unitSize"] = self.unit_size
        return written


@dataclass(frozen=True)
class RuleEntry:
    name: str
    scope: ScopeEntry
    billing_type: str
    base_credits: int = 0
    is_free: bool = False
    round_up: bool | None = None
    pricing_unit: str = ""
    is_active: bool = True
    prices: tuple[PriceEntry, ...] = ()

    def as_json(self) -> dict[str, Any]:
        written: dict[str, Any] = {
            "name": self.name,
            "scope": self.scope.as_json(),
            "billingType": self.billing_type,
            "baseCredits": self.base_credits,
            "isFree": self.is_free,
            "roundUp": self.round_up,
            "pricingUnit": self.pricing_unit or None,
            "isActive": self.is_active,
        }
        if self.prices:
            written["prices"] = [price.as_json() for price in self.prices]
        return written

    def facts(self) -> dict[str, Any]:
        """Return every field as a change would name it, the scope aside."""
        written = self.as_json()
        del written["scope"]
        written.pop("prices", None)
        for price in self.prices:
            row = price.as_json()
            del row["dimension"]
            row.pop("value", None)
            written[f"prices[{price.label}]"] = row
        return written


@dataclass(frozen=True)
class PermissionEntry:
    scope: ScopeEntry
    is_allowed: bool = True
    daily_limit: int = -1
    is_free_for_member: bool = False
    free_daily_limit: int = 0

    def as_json(self) -> dict[str, Any]:
        return {"scope": self.scope.as_json(), **self.facts()}

    def facts(self) -> dict[str, Any]:
        return {
            "isAllowed": self.is_allowed,
            "dailyLimit": self.daily_limit,
            "isFreeForMember": self.is_free_for_member,
            "freeDailyLimit": self.free_daily_limit,
        }


@dataclass(frozen=True)
class LevelEntry:
    level: str
    max_concurrency: int = -1
    permissions: tuple[PermissionEntry, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "level": self.level,
            "maxConcurrency": self.max_concurrency,
            "permissions": [permission.as_json() for permission in self.permissions],
        }


@dataclass(frozen=True)
class Document:
    models: tuple[ModelEntry, ...] = ()
    rules: tuple[RuleEntry, ...] = ()
    levels: tuple[LevelEntry, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "models": [entry.as_json() for entry in self.models],
            "rules": [entry.as_json() for entry in self.rules],
            "levels": [entry.as_json() for entry in self.levels],
        }
