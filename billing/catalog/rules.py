"""Rules as rows: what pricing makes of them, and which are refused when they are saved."""

from collections.abc import Iterable
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from billing.catalog import pricing
from billing.catalog.models import BillingPrice, BillingRule, ModelPermission, raise_catalog_version, scope_of


def rule_of(row: BillingRule, prices: Iterable[BillingPrice]) -> pricing.Rule:
    """Return the rule that `row` and its `prices` spell, with the rows in the order given."""
    return pricing.Rule(
        id=row.pk,
        name=row.name,
        version=row.version,
        scope=row.scope,
        billing_type=row.billing_type,
        base_credits=row.base_credits,
        is_free=row.is_free,
        round_up=row.round_up,
        pricing_unit=row.pricing_unit,
        is_active=row.is_active,
        prices=tuple(
            pricing.PriceRow(
                dimension=price.dimension,
                value=price.value,
                credits=price.credits,
                # A column of six decimals reads 1.5 back as 1.500000.
                multiplier=None if price.multiplier is None else price.multiplier.normalize(),
                unit_size=price.unit_size,
            )
            for price in prices
        ),
    )


def check(row: BillingRule, prices: Iterable[BillingPrice]) -> None:
    """Reject a rule that cannot work, or whose scope another rule has.

    Raises:
        ValidationError: by field of `row`; what is wrong with a price row is said under `prices`.
    """
    check_scope(row)
    errors: dict[str, list[Any]] = {}
    for field, why in pricing.problems(rule_of(row, prices)):
        errors.setdefault(field.partition("[")[0], []).append(why)
    if errors:
        raise ValidationError(errors)


def check_scope(row: BillingRule | ModelPermission) -> None:
    """Reject a row that does not name exactly one scope, and a second rule of one scope.

    Raises:
        ValidationError: see above.
    """
    given = [bool(row.model_id), bool(row.node_type.strip()), bool(row.module_type.strip())]
    if sum(given) != 1:
        raise ValidationError(_("Give exactly one of model, node type and module type."))
    if not isinstance(row, BillingRule):
        return
    scope = scope_of(model_pk=row.model_id, node_type=row.node_type, module_type=row.module_type)
    other = BillingRule.objects.filter(scope=scope).exclude(pk=row.pk).first()
    if other is not None:
        raise ValidationError(
            _("The rule “%(name)s” already prices this. Change that one: a scope has one rule."), params={"name": other.name}
        )


def mark_changed(rule: BillingRule) -> None:
    """Give a rule whose fields or prices were changed its next version."""
    BillingRule.objects.filter(pk=rule.pk).update(version=F("version") + 1, updated_at=timezone.now())
    raise_catalog_version()
    rule.refresh_from_db(fields=["version", "updated_at"])
