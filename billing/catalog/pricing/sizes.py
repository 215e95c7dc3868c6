"""What a caller says about size, read once: a shape, pixels, or the name of a tier.

`Size` is what a text says. `SoldSize` is what is made of it for one model: the tier that is charged, in one shape. The
price and every provider take that value; nobody reads the text a second time.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

Pixels = tuple[int, int]  # width and height

_WRITTEN = re.compile(r"([0-9]{1,5})\s*[x*×]\s*([0-9]{1,5})")
_LINES = re.compile(r"([0-9]{1,5})p")
_RATIO = re.compile(r"([0-9]{1,3})\s*:\s*([0-9]{1,3})")
_IMAGE_NAMES = {
    "1k": (1024, 1024),
    "2k": (2048, 2048),
    "4k": (3840, 2160),
    "uhd": (3840, 2160),
    "8k": (7680, 4320),
    "hd": (1280, 720),
    "fhd": (1920, 1080),
}
_VIDEO_NAMES = {"hd": 720, "fhd": 1080, "2k": 1440, "4k": 2160, "uhd": 2160, "8k": 4320}
_WIDE_NAMES = {Fraction(21, 9): "21:9", Fraction(9, 21): "9:21"}  # nobody writes 7:3
SHAPE_TOLERANCE = 0.03  # by which pixels may differ from a ratio and still be of that shape: 1366x768 is 16:9
DEFAULT_IMAGE, DEFAULT_VIDEO_SIDE = "1K", 720  # where a model sells no tiers and nobody names one
READABLE = "1024x1024, 1K, 2K, 4K, 720p, 1080p, 16:9, auto"


@dataclass(frozen=True)
class Size:
    """What a text says about size. Nothing is set where it is empty, `auto`, or cannot be read."""

    text: str = ""  # as it was written: for messages, and for comparing requests
    shape: Fraction | None = None  # width by height, where the text names one
    pixels: Pixels | None = None  # where the text writes them
    image: Pixels | None = None  # the size of an image: `pixels`, or what a name stands for
    side: int | None = None  # the shorter side of a video in pixels
    names_ratio: bool = False  # the shape was named, and is not only that of the pixels

    def __str__(self) -> str:
        return self.text

    @property
    def is_readable(self) -> bool:
        return bool(self.shape or self.image or self.side) or self.text.strip().lower() in ("", "auto")

    @property
    def names_tier(self) -> bool:
        return self.image is not None or self.side is not None

    @property
    def image_pixels(self) -> int | None:
        """How many pixels an image of this size has."""
        return math.prod(self.image) if self.image else None

    def in_shape_of(self, other: "Size") -> "Size":
        """This size in the shape that `other` names, where it names one. Pixels of another shape only say how many."""
        if other.shape is None:
            return self if self.names_tier or self.shape else other
        tier = self if self.names_tier else other
        pixels = tier.pixels if tier.shape and is_near(tier.shape, other.shape) else None
        return Size(tier.text or other.text, other.shape, pixels, tier.image, tier.side, other.names_ratio)


NO_SIZE = Size()


@lru_cache(maxsize=4096)
def read_size(text: str) -> Size:
    """Return what `text` says: `1024x1024`, `2K`, `720p`, `16:9`, `auto` or nothing. See `Size.is_readable`."""
    word = text.strip().lower()
    if (lines := _LINES.fullmatch(word)) and int(lines[1]):
        height = int(lines[1])
        return Size(text, image=(-(-height * 16 // 9), height), side=height)  # whole pixels, as 480p is 854 wide
    if word in _IMAGE_NAMES:
        return Size(text, image=_IMAGE_NAMES[word], side=_VIDEO_NAMES.get(word))
    if (written := _WRITTEN.fullmatch(word)) and int(written[1]) and int(written[2]):
        pixels = int(written[1]), int(written[2])
        return Size(text, Fraction(*pixels), pixels, pixels, min(pixels))
    if (ratio := _RATIO.fullmatch(word)) and int(ratio[1]) and int(ratio[2]):
        return Size(text, Fraction(int(ratio[1]), int(ratio[2])), names_ratio=True)
    return Size(text)


def is_near(shape: Fraction, other: Fraction) -> bool:
    """Return whether two shapes are one, but for rounding to whole pixels."""
    return _distance(shape, other) <= SHAPE_TOLERANCE


def nearest(shape: Fraction, ratios: Iterable[str]) -> str:
    """Return which of `ratios` comes nearest to `shape`."""
    return min(ratios, key=lambda ratio: _distance(shape, read_size(ratio).shape or Fraction(1)))


def ratio_of(shape: Fraction) -> str:
    """Return a shape as ratios are written: `16:9`."""
    return _WIDE_NAMES.get(shape) or f"{shape.numerator}:{shape.denominator}"


def _distance(shape: Fraction, other: Fraction) -> float:
    return abs(math.log(shape / other))


@dataclass(frozen=True)
class SoldSize:
    """The size that is charged, and that the provider is asked for."""

    tier: Size = NO_SIZE  # one that the model sells; empty where it sells none and nobody named one
    ratio: str = ""  # empty: nobody says
    pixels: Pixels | None = None  # as the caller wrote them, where they are of this tier and shape

    @property
    def shape(self) -> Fraction:
        return read_size(self.ratio).shape or Fraction(1)

    def image_pixels(self, *, step: int = 1, longest: int | None = None) -> Pixels | None:
        """Width and height of the image: as written, else as many pixels as the tier has, in this shape.

        `step` and `longest` are for providers that take only sides in steps, and at most so many pixels long.
        """
        wanted: tuple[float, float] | None = self.pixels
        if wanted is None:
            tier = self.tier if self.tier.image else read_size(DEFAULT_IMAGE)
            if not self.ratio:
                return None
            if tier.pixels and tier.shape and is_near(self.shape, tier.shape):
                wanted = tier.pixels
            else:
                width = math.sqrt((tier.image_pixels or 0) * self.shape)
                wanted = width, width / self.shape
        scale = min(1.0, longest / max(wanted)) if longest else 1.0
        return _in_steps(wanted[0] * scale, step), _in_steps(wanted[1] * scale, step)

    @property
    def video_pixels(self) -> Pixels | None:
        """Width and height of the video: as written, else the tier's shorter side in this shape; encoders want even sides."""
        shorter, shape = self.tier.side or DEFAULT_VIDEO_SIDE, self.shape
        if self.pixels or not self.ratio:
            return self.pixels
        longer = round(shorter * max(shape, 1 / shape) / 2) * 2
        return (longer, shorter) if shape >= 1 else (shorter, longer)

    def kept(self) -> dict[str, str]:
        """As the row of a generation keeps it; `sold_size_of` reads it back."""
        pixels = f"{self.pixels[0]}x{self.pixels[1]}" if self.pixels else ""
        return {"ratio": self.ratio, "resolution": self.tier.text, "pixels": pixels}


def sold_size_of(kept: dict[str, str]) -> SoldSize:
    """Return the size that `SoldSize.kept` wrote."""
    ratio = kept.get("ratio", "")
    return SoldSize(
        tier=read_size(kept.get("resolution", "")),
        ratio=ratio if read_size(ratio).shape else "",
        pixels=read_size(kept.get("pixels", "")).pixels,
    )


def _in_steps(side: float, step: int) -> int:
    # Down, so that it is never more than the tier; the square root of a square must not fall a step lower.
    return max(step, int((side + 1e-6) // step) * step)
