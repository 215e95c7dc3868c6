"""A rule's rows, parsed and sorted, so that pricing a use is a lookup."""

import re
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from billing.catalog.pricing.sizes import Size, read_size

_SECONDS = re.compile(r"[0-9]{1,5}(\.[0-9]{1,6})?")


def normalised(text: str) -> str:
    """Text as it is compared: trimmed, whatever its case."""
    return text.strip().casefold()


def normalised_mode(text: str) -> str:
    """Return a mode as it is compared; `standard` and `std` are one."""
    mode = normalised(text)
    return "std" if mode == "standard" else mode


def split_tier(value: str) -> tuple[str, Decimal | None]:
    """`720p_5` is 720p up to 5 seconds; a value without seconds is the resolution itself."""
    resolution, underscore, seconds = value.strip().rpartition("_")
    if not underscore or not _SECONDS.fullmatch(seconds) or not Decimal(seconds):
        return value.strip(), None
    return resolution, Decimal(seconds)


@dataclass(frozen=True)
class PriceRow:
    """One row of a rule: what a value of a dimension costs, or multiplies the price by."""

    dimension: str  # resolution, mode, operationType or character
    value: str = ""
    credits: int | None = None
    multiplier: Decimal | None = None
    unit_size: int | None = None  # characters


@dataclass
class Resolution:
    """One resolution of a DURATION_RESOLUTION rule: a price per second, or flat tiers by their longest seconds."""

    label: str
    per_second: int | None = None
    tiers: list[tuple[Decimal, int]] = field(default_factory=list)


@dataclass
class Tables:
    """What each dimension's rows say; a rule fills those that its billing type uses."""

    sizes: dict[tuple[int, int], PriceRow] = field(default_factory=dict)
    pixels: list[int] = field(default_factory=list)  # ascending, beside size_tiers
    size_tiers: list[PriceRow] = field(default_factory=list)
    sides: list[int] = field(default_factory=list)  # ascending, beside resolutions
    resolutions: list[Resolution] = field(default_factory=list)
    modes: dict[str, PriceRow] = field(default_factory=dict)
    operations: dict[str, PriceRow] = field(default_factory=dict)
    character: PriceRow | None = None

    def size_row(self, size: Size) -> PriceRow | None:
        """Return the row of this very size of an image, else the next tier up by pixel count; None above the top, or for no
        size.
        """
        if size.image is None:
            return None
        row = self.sizes.get(size.image)
        if row is None:
            place = bisect_left(self.pixels, size.image[0] * size.image[1])
            row = self.size_tiers[place] if place < len(self.pixels) else None
        return row

    def resolution_of(self, size: Size) -> Resolution | None:
        """Return the resolution of this shorter side, else the next higher one; None above the top, or for no size."""
        if size.side is None:
            return None
        place = bisect_left(self.sides, size.side)
        return self.resolutions[place] if place < len(self.sides) else None


def build_tables(billing_type: str, rows: Iterable[PriceRow]) -> Tables:
    """Return the tables of a rule. Rows that mean nothing are left out: `problems` names them, and no use is priced by them."""
    tables = Tables()
    for row in rows:
        if row.dimension == "mode":
            tables.modes.setdefault(normalised_mode(row.value), row)
        elif row.dimension == "operationType":
            tables.operations.setdefault(normalised(row.value), row)
        elif row.dimension == "character":
            tables.character = tables.character or row
    resolution_rows = [row for row in rows if row.dimension == "resolution" and row.credits is not None]
    if billing_type == "PER_IMAGE":
        _add_sizes(tables, resolution_rows)
    elif billing_type == "DURATION_RESOLUTION":
        _add_resolutions(tables, resolution_rows)
    return tables


def _add_sizes(tables: Tables, rows: Iterable[PriceRow]) -> None:
    by_pixels: dict[int, PriceRow] = {}
    for row in rows:
        size = read_size(row.value).image
        if size is None:
            continue
        tables.sizes.setdefault(size, row)
        pixels = size[0] * size[1]
        # Of two sizes with as many pixels (1536x1024, 1024x1536) the dearer one is the tier for sizes not listed.
        if pixels not in by_pixels or (row.credits or 0) > (by_pixels[pixels].credits or 0):
            by_pixels[pixels] = row
    tables.pixels = sorted(by_pixels)
    tables.size_tiers = [by_pixels[pixels] for pixels in tables.pixels]


def _add_resolutions(tables: Tables, rows: Iterable[PriceRow]) -> None:
    by_side: dict[int, Resolution] = {}
    for row in rows:
        text, seconds = split_tier(row.value)
        side = read_size(text).side
        if side is None or row.credits is None:
            continue
        resolution = by_side.setdefault(side, Resolution(text))
        if seconds is None:
            resolution.per_second = row.credits
        else:
            resolution.tiers.append((seconds, row.credits))
    for resolution in by_side.values():
        resolution.tiers.sort()
    tables.sides = sorted(by_side)
    tables.resolutions = [by_side[side] for side in tables.sides]
