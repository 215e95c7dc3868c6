"""What makes a model one whose customers would be charged one size and get another: found when the catalog is applied."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from billing.catalog.pricing.interfaces import SizeInterface
from billing.catalog.pricing.selling import Tiers, is_same_tier, seconds_of, text_of, texts, tiers_of
from billing.catalog.pricing.sizes import Size, read_size
from billing.catalog.pricing.tables import split_tier
from billing.catalog.pricing.values import Rule

MAX_VARIANTS = 100
MAX_MODEL_NAME_LENGTH = 64


@dataclass(frozen=True)
class SizeProblem:
    """An option of a model that promises what is not made. `is_fatal`: it can never be sold as it stands."""

    option: str
    why: str | Promise
    is_fatal: bool = False


def size_problems(
    *, rule: Rule | None, options: Mapping[str, Any], interface: SizeInterface, is_video: bool
) -> list[SizeProblem]:
    """Return each option that promises what is not made, and why."""
    tiers = tiers_of(rule, options, is_video=is_video)
    found = [*_option_problems(options, tiers), *_ratio_problems(options, interface)]
    if interface.by_model_name or options.get("variants"):
        return found + _variant_problems(options, tiers, rule)
    return [*found, *_tier_problems(tiers, interface)]


def _tier_problems(tiers: Tiers, interface: SizeInterface) -> Iterable[SizeProblem]:
    """Tiers that the provider has no word for, or one word for two."""
    words = ", ".join(interface.tiers or ())
    largest = max((tiers.measure(size) or 0 for size in interface.listed()), default=0)
    asked: dict[str, str] = {}
    for tier in tiers.sizes if interface.tiers is not None else ():
        name = interface.name_of(tier)
        if not name:
            text = _("“%(tier)s” is sold, but the provider has only %(words)s.") % {"tier": tier.text, "words": words}
            yield SizeProblem("resolutions", text, is_fatal=0 < largest < (tiers.measure(tier) or 0))
        elif name in asked:
            names = {"tier": tier.text, "other": asked[name], "name": name}
            yield SizeProblem("resolutions", _("“%(tier)s” and “%(other)s” are both “%(name)s” for the provider.") % names)
        asked.setdefault(name, tier.text)


def _option_problems(options: Mapping[str, Any], tiers: Tiers) -> list[SizeProblem]:
    found: list[SizeProblem] = []
    default = text_of(options.get("defaultResolution"))
    for name, values in (("resolutions", texts(options.get("resolutions"))), ("defaultResolution", [default] if default else [])):
        for text in values:
            size = read_size(text)
            if tiers.measure(size) is None:
                found.append(SizeProblem(name, _("“%(value)s” names no size.") % {"value": text}))
            elif tiers.sizes and tiers.of(size) is None:
                found.append(SizeProblem(name, _("No price covers “%(value)s”.") % {"value": text}))
    return found


def _ratio_problems(options: Mapping[str, Any], interface: SizeInterface) -> list[SizeProblem]:
    found: list[SizeProblem] = []
    ratios, default = texts(options.get("ratios")), text_of(options.get("defaultRatio"))
    known = (*interface.ratios, *interface.more_ratios)
    for name, values in (("ratios", ratios), ("defaultRatio", [default] if default else [])):
        for text in values:
            shape = read_size(text).shape
            if shape is None:
                found.append(SizeProblem(name, _("“%(value)s” is not a ratio such as 16:9.") % {"value": text}))
            elif known and text not in known:
                found.append(SizeProblem(name, _("The provider does not make %(value)s.") % {"value": text}))
    if default and ratios and default not in ratios:
        found.append(SizeProblem("defaultRatio", _("“%(value)s” is not among the ratios.") % {"value": default}))
    return found


def _variant_problems(options: Mapping[str, Any], tiers: Tiers, rule: Rule | None) -> list[SizeProblem]:
    variants = options.get("variants", [])
    if not variants:
        if len(tiers.sizes) > 1:
            text = _("Several sizes are sold, but the provider knows them by the model's name alone: give variants.")
            return [SizeProblem("variants", text)]
        return []
    if not isinstance(variants, list) or len(variants) > MAX_VARIANTS or not all(map(_is_variant, variants)):
        text = _("Write a list of objects with modelId and ratio, duration or resolution.")
        return [SizeProblem("variants", text, is_fatal=True)]
    found: list[SizeProblem] = []
    for tier in tiers.sizes:
        fitting = [variant for variant in variants if _makes_tier(variant, tier)]
        if not fitting:
            found.append(SizeProblem("variants", _("“%(tier)s” is sold, but no variant makes it.") % {"tier": tier.text}))
        lengths = [seconds_of(variant.get("duration")) for variant in fitting]
        for seconds in _flat_seconds(rule, tier):
            if fitting and None not in lengths and seconds not in lengths:
                sold = f"{tier.text} {seconds:f} s"
                found.append(SizeProblem("variants", _("“%(tier)s” is sold, but no variant makes it.") % {"tier": sold}))
    return found


def _is_variant(variant: Any) -> bool:
    if not isinstance(variant, dict) or not set(variant) <= {"modelId", "ratio", "duration", "resolution"}:
        return False
    ratio, resolution = variant.get("ratio"), variant.get("resolution")
    return (
        isinstance(variant.get("modelId"), str)
        and 0 < len(variant["modelId"]) <= MAX_MODEL_NAME_LENGTH
        and (ratio is None or (isinstance(ratio, str) and read_size(ratio).shape is not None))
        and (resolution is None or (isinstance(resolution, str) and read_size(resolution).names_tier))
        and (variant.get("duration") is None or seconds_of(variant["duration"]) is not None)
    )


def _makes_tier(variant: Mapping[str, Any], tier: Size) -> bool:
    resolution = read_size(text_of(variant.get("resolution")))
    return not resolution.names_tier or is_same_tier(resolution, tier)


def _flat_seconds(rule: Rule | None, tier: Size) -> Iterable[Decimal]:
    """Yield the lengths that a tier is sold in, where they have prices of their own."""
    for row in rule.prices if rule is not None and rule.billing_type == "DURATION_RESOLUTION" else ():
        resolution, seconds = split_tier(row.value)
        if row.dimension == "resolution" and seconds is not None and read_size(resolution).side == tier.side:
            yield seconds
