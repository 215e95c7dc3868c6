"""From the size that was asked for to the size that is sold: a tier and a shape that the model has.

The tiers of a model are the rows of its price, where the price depends on the size; else its option `resolutions`; else
what its provider has names for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

from django.utils.translation import gettext_lazy as _

from billing.catalog.pricing.interfaces import SizeInterface
from billing.catalog.pricing.sizes import NO_SIZE, Size, SoldSize, is_near, nearest, ratio_of, read_size
from billing.catalog.pricing.values import Rule
from billing.errors import UnknownDimension
from waule.core.errors import InvalidRequest


@dataclass(frozen=True)
class Tiers:
    """The sizes that a model sells, ascending. Without any, whatever is asked for is sold."""

    sizes: tuple[Size, ...]
    rule: Rule | None = None  # whose rows they are
    by_side: bool = False  # a video's size is its shorter side, an image's its number of pixels

    def measure(self, size: Size) -> int | None:
        return size.side if self.by_side else size.image_pixels

    def of(self, size: Size) -> Size | None:
        """Return the tier that a size is sold as: its own, else the next one up; None above the top, or for no size."""
        if self.rule is not None and self.rule.billing_type == "PER_IMAGE":
            row = self.rule.tables.size_row(size)
            return read_size(row.value) if row else None
        if self.rule is not None:
            resolution = self.rule.tables.resolution_of(size)
            return read_size(resolution.label) if resolution else None
        measured = self.measure(size)
        if measured is None:
            return None
        return next((tier for tier in self.sizes if (self.measure(tier) or 0) >= measured), None)


def tiers_of(rule: Rule | None, options: Mapping[str, Any], *, is_video: bool) -> Tiers:
    """Return what a model with this price and these options sells."""
    if rule is not None and rule.tables.size_tiers:
        return Tiers(tuple(read_size(row.value) for row in rule.tables.size_tiers), rule)
    if rule is not None and rule.tables.resolutions:
        return Tiers(tuple(read_size(resolution.label) for resolution in rule.tables.resolutions), rule, by_side=True)
    tiers = Tiers((), by_side=is_video)
    listed = [size for size in map(read_size, texts(options.get("resolutions"))) if tiers.measure(size) is not None]
    return Tiers(tuple(sorted(listed, key=lambda size: tiers.measure(size) or 0)), by_side=is_video)


def sell(
    asked: Size,
    *,
    rule: Rule | None,
    options: Mapping[str, Any],
    interface: SizeInterface,
    is_video: bool,
    fallback: Size,
) -> SoldSize:
    """Return the size that is charged and asked for. `fallback` is what neither the caller nor the model says.

    Raises:
        UnknownDimension: the model does not sell a size so large, or its provider has no word for it.
        InvalidRequest: the model does not make this `ratio`.
    """
    tiers = tiers_of(rule, options, is_video=is_video)
    named = asked if asked.names_tier else _default(tiers, options, fallback)
    tier: Size | None
    if not named.names_tier:
        tier = NO_SIZE
    elif tiers.sizes:
        tier = tiers.of(named)
    elif interface.tiers is not None:
        tier = Tiers(interface.listed(), by_side=is_video).of(named)
    else:
        tier = named if tiers.measure(named) is not None else None
    if tier is None or not can_be_asked_for(tier, tiers, options, interface):
        sizes = tiers.sizes or interface.listed()
        sold = ", ".join(size.text for size in sizes if can_be_asked_for(size, tiers, options, interface))
        raise UnknownDimension(
            _("“%(value)s” is not for sale. Sizes for sale: %(sold)s.") % {"value": named.text, "sold": sold},
            dimension="resolution",
            value=named.text,
        )
    ratio = _ratio(asked, tier, options, interface, fallback)
    pixels = asked.pixels if asked.pixels and is_near(Fraction(*asked.pixels), read_size(ratio).shape or Fraction(1)) else None
    if pixels and is_video and tiers.sizes and (asked.side or 0) < (tiers.sizes[0].side or 0):
        pixels = None  # below the lowest tier: made in that tier
    return SoldSize(tier, ratio, pixels)


def can_be_asked_for(tier: Size, tiers: Tiers, options: Mapping[str, Any], interface: SizeInterface) -> bool:
    """Return whether the provider can be asked for this tier of the model, in its own words."""
    if interface.by_model_name and not options.get("variants"):
        # The name stands for one size: the model's default.
        return len(tiers.sizes) < 2 or tier == tiers.of(_default(tiers, options, tiers.sizes[0]))
    return not tier.names_tier or interface.can_ask_for(tier)


def _default(tiers: Tiers, options: Mapping[str, Any], fallback: Size) -> Size:
    """Return the size of who names none: as the model's options say, else its lowest tier.

    Where the price has a lower one for that (`baseCredits`), it is the provider's own default: nothing is asked.
    """
    default, rule = read_size(text_of(options.get("defaultResolution"))), tiers.rule
    if default.names_tier:
        return default
    if rule is not None and rule.tables.size_tiers and 0 < rule.base_credits < (rule.tables.size_tiers[0].credits or 0):
        return NO_SIZE
    return tiers.sizes[0] if tiers.sizes else fallback


def _ratio(asked: Size, tier: Size, options: Mapping[str, Any], interface: SizeInterface, fallback: Size) -> str:
    """Return the shape as the model's options or its provider write it."""
    makes = [*interface.ratios, *interface.more_ratios]
    offered = [text for text in texts(options.get("ratios")) if read_size(text).shape and (not makes or text in makes)]
    known = offered or makes
    default = read_size(text_of(options.get("defaultRatio"))).shape
    shape = asked.shape or default or (tier.shape if not asked.names_tier else None) or fallback.shape or Fraction(1)
    for ratio in known:
        if read_size(ratio).shape == shape:
            return ratio
    is_free = not asked.names_ratio  # nobody insists on this very shape
    if known and is_free:
        return nearest(shape, offered or interface.ratios)
    widest = interface.widest
    if widest is not None and not 1 / widest <= shape <= widest and is_free:
        return ratio_of(widest if shape > 1 else 1 / widest)
    if known or (widest is not None and not 1 / widest <= shape <= widest):
        text = ", ".join(known) or f"1:{widest} – {widest}:1"
        raise InvalidRequest.of_field(
            "ratio", _("This model does not make %(ratio)s. It makes %(ratios)s.") % {"ratio": ratio_of(shape), "ratios": text}
        )
    return ratio_of(shape)


# --- variants: models whose name says length, shape and size -------------------------------------------------------


def variant_of(options: Mapping[str, Any], size: SoldSize, duration: Decimal | None) -> str:
    """Return the provider's name of the model that makes exactly this; empty where the model has no variants.

    Raises:
        InvalidRequest: none of its variants does.
    """
    variants = options.get("variants")
    if not isinstance(variants, list) or not variants:
        return ""
    fitting, field = [variant for variant in variants if isinstance(variant, dict)], ""
    made = "; ".join(_described(variant) for variant in fitting)
    for name, fits in _FITS.items():
        fitting = [variant for variant in fitting if fits(variant, size, duration)]
        if not fitting and not field:
            field = name
    if fitting:
        return text_of(fitting[0].get("modelId"))
    asked = _described({"ratio": size.ratio, "duration": duration, "resolution": size.tier.text})
    raise InvalidRequest.of_field(
        field, _("This model does not make %(asked)s. It makes: %(made)s.") % {"asked": asked, "made": made}
    )


def variant_names(options: Mapping[str, Any]) -> set[str]:
    """Return the provider's names of a model's variants."""
    variants = options.get("variants")
    if not isinstance(variants, list):
        return set()
    return {text_of(variant.get("modelId")) for variant in variants if isinstance(variant, dict)} - {""}


def _has_ratio(variant: Mapping[str, Any], size: SoldSize, _duration: Decimal | None) -> bool:
    shape = read_size(text_of(variant.get("ratio"))).shape
    return shape is None or shape == size.shape


def _has_resolution(variant: Mapping[str, Any], size: SoldSize, _duration: Decimal | None) -> bool:
    resolution = read_size(text_of(variant.get("resolution")))
    return not resolution.names_tier or is_same_tier(resolution, size.tier)


def _has_duration(variant: Mapping[str, Any], _size: SoldSize, duration: Decimal | None) -> bool:
    seconds = seconds_of(variant.get("duration"))
    return seconds is None or seconds == duration


_FITS = {"ratio": _has_ratio, "resolution": _has_resolution, "duration": _has_duration}


def is_same_tier(one: Size, other: Size) -> bool:
    return one.side == other.side if one.side and other.side else one.image == other.image


def _described(variant: Mapping[str, Any]) -> str:
    seconds = seconds_of(variant.get("duration"))
    parts = (text_of(variant.get("ratio")), text_of(variant.get("resolution")), f"{seconds:f} s" if seconds else "")
    return " ".join(part for part in parts if part)


def seconds_of(value: Any) -> Decimal | None:
    """Return a number of seconds in a model's options, as a number or as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        seconds = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return seconds if seconds.is_finite() and 0 < seconds <= 86_400 else None


def texts(values: Any) -> list[str]:
    """Return the texts of a list in a model's options."""
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []


def text_of(value: Any) -> str:
    return value[:64] if isinstance(value, str) else ""
