"""What past uses would have cost under a catalog that is only a draft: read, priced anew, summed; nothing is written."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils import timezone

from billing.catalog import pricing
from billing.catalog.current import Catalog
from billing.catalog.models import scope_of
from billing.catalog.offers import price_of
from billing.catalog.usage import UsageRequest
from billing.errors import ModelDisabled
from billing.ledger.models import Account, Charge
from waule.core.errors import WauleError

CHUNK_ROWS = 2000  # charges in memory at once


@dataclass
class Sum:
    """Uses and their credits. `old` and `new` are of uses that still have a price; the others are `unpriced`."""

    uses: int = 0
    old: int = 0
    new: int = 0
    unpriced_uses: int = 0
    unpriced_old: int = 0
    rejections: Counter[str] = field(default_factory=Counter)

    @property
    def difference(self) -> int:
        return self.new - self.old

    def add(self, old: int, new: int | None, rejection: str) -> None:
        self.uses += 1
        if new is None:
            self.unpriced_uses += 1
            self.unpriced_old += old
            self.rejections[rejection] += 1
        else:
            self.old += old
            self.new += new

    def as_json(self) -> dict[str, Any]:
        return {
            "uses": self.uses,
            "oldCredits": self.old,
            "newCredits": self.new,
            "difference": self.difference,
            "unpricedUses": self.unpriced_uses,
            "unpricedOldCredits": self.unpriced_old,
            "refusals": dict(self.rejections),
        }


@dataclass
class Rehearsal:
    since: datetime
    total: Sum = field(default_factory=Sum)
    accounts: dict[int, Sum] = field(default_factory=dict)  # by account
    models: dict[str, Sum] = field(default_factory=dict)  # by name of a model, node type or module type

    def most_changed_accounts(self, limit: int) -> list[tuple[Account, Sum]]:
        """Return the accounts with the largest differences, those that lose a price first."""
        ids = sorted(self.accounts, key=lambda pk: _weight(self.accounts[pk]), reverse=True)[:limit]
        rows = Account.objects.select_related("tenant", "user").in_bulk(ids)
        return [(rows[pk], self.accounts[pk]) for pk in ids]

    def models_by_change(self) -> Iterator[tuple[str, Sum]]:
        yield from sorted(self.models.items(), key=lambda item: _weight(item[1]), reverse=True)


def _weight(summed: Sum) -> tuple[int, int]:
    return summed.unpriced_uses, abs(summed.difference)


def rehearse(catalog: Catalog, *, since: datetime, progress: Callable[[int], None], limit: int | None = None) -> Rehearsal:
    """Prices every charge made since then, or the newest `limit` of them, by `catalog`.

    Uses that were free for a member or level stay free; charges that were refunded in full are left out. Memory grows with
    accounts and models, not with charges.
    """
    result = Rehearsal(since)
    now = timezone.now()
    rows = (
        Charge.objects.filter(created_at__gte=since, refunded_at__isnull=True)
        .order_by(*(["-id"] if limit else []))
        .values_list("account_id", "model_id", "credits", "shortfall", "is_free", "use", "snapshot__rule__isFree")
    )
    for account_id, model_id, credits, shortfall, is_free, use, rule_was_free in rows[:limit].iterator(chunk_size=CHUNK_ROWS):
        old = credits + shortfall
        new, rejection = _reprice(catalog, model_id, use, now)
        if new is not None and is_free and not rule_was_free:
            new = 0
        for summed in (
            result.total,
            result.accounts.setdefault(account_id, Sum()),
            result.models.setdefault(_name(catalog, model_id, use), Sum()),
        ):
            summed.add(old, new, rejection)
        if result.total.uses % CHUNK_ROWS == 0:
            progress(result.total.uses)
    return result


def _reprice(catalog: Catalog, model_id: UUID | None, use: dict[str, Any], now: datetime) -> tuple[int | None, str]:
    """Return the price by `catalog`, or None and the code of the rejection."""
    model = catalog.models.get(model_id) if model_id else None
    request = UsageRequest(
        **pricing.inputs_from_json(use).__dict__,
        node_type=use.get("nodeType", ""),
        module_type=use.get("moduleType", ""),
    )
    if model is not None and not model.is_on(now):
        return None, ModelDisabled.code
    try:
        _rule, quote = price_of(catalog, request, model)
    except WauleError as rejection:
        return None, rejection.code
    return quote.credits, ""


def _name(catalog: Catalog, model_id: UUID | None, use: dict[str, Any]) -> str:
    model = catalog.models.get(model_id) if model_id else None
    if model is not None:
        return f"{model.model_id} ({model.provider})"
    return str(use.get("nodeType") or use.get("moduleType") or model_id)


def without_price(catalog: Catalog) -> list[str]:
    """Models that are on and have no rule of their own: a use of them by model alone is refused."""
    return sorted(
        f"{model.name} ({model.provider})"
        for model in catalog.models.values()
        if model.is_on(timezone.now()) and scope_of(model_pk=model.id) not in catalog.rules
    )
