"""The words of a use: who, what, and what the answer says."""

import hashlib
import json
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _

from billing.catalog.current import Catalog, ModelInfo
from billing.catalog.pricing import NO_SIZE, Inputs, Size
from tenants.principal import Principal
from waule.core.errors import InvalidRequest, WauleError


@dataclass(frozen=True)
class UsageRequest:
    """A use as the caller words it. `duration` in seconds; `model` is our id or the provider's name."""

    model: str = ""
    operation: str = ""
    quantity: int = 1
    duration: Decimal | None = None
    resolution: Size = NO_SIZE
    mode: str = ""
    operation_type: str = ""
    character_count: int | None = None
    node_type: str = ""
    module_type: str = ""
    metadata: dict[str, Any] | None = None

    def inputs(self) -> Inputs:
        """Return what its price depends on."""
        return Inputs(
            quantity=self.quantity,
            duration=self.duration,
            resolution=self.resolution,
            mode=self.mode,
            operation_type=self.operation_type,
            character_count=self.character_count,
        )

    def resolved(self, catalog: Catalog) -> ModelInfo | None:
        """Return the model it names, if it names one.

        Raises:
            ModelNotFound, InvalidRequest: as `Catalog.model`.
        """
        return catalog.model(self.model) if self.model else None

    def fingerprint(self, catalog: Catalog, **others: Any) -> str:
        """Return what makes two bodies the same: every field, whichever of the model's two names was used."""
        try:
            model = self.resolved(catalog)
            use = replace(self, model=str(model.id)) if model else self
        except WauleError:
            use = self
        return fingerprint(use.__dict__ | others)


def fingerprint(fields: dict[str, Any]) -> str:
    """64 hex digits that are equal for equal fields."""
    text = json.dumps(fields, sort_keys=True, default=_canonical, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(value: Any) -> str:
    return format(value.normalize(), "f") if isinstance(value, Decimal) else str(value)


def unknown_key(key: str | UUID) -> InvalidRequest:
    return InvalidRequest.of_field("apiKeyId", _("This tenant has no key %(key)s.") % {"key": key})


def check_names_something(use: UsageRequest) -> None:
    """Raise InvalidRequest if nothing names what is used."""
    if not (use.model or use.node_type.strip() or use.module_type.strip()):
        raise InvalidRequest.of_field("modelId", _("Give modelId, nodeType or moduleType."))


def check_target_and_use(target: Principal, use: UsageRequest) -> None:
    """What makes a use malformed whatever the tables hold.

    Raises:
        InvalidRequest: nothing names what is used, or a tenant's use names no model.
    """
    check_names_something(use)
    if target.kind == "tenant" and not use.model:
        raise InvalidRequest.of_field("modelId", _("A tenant's use needs modelId."))
