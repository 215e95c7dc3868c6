"""What each provider can be asked for about size, in its own words, as its documentation says.

A model whose tiers its provider has no words for cannot be sold by them: `problems_of_sizes` finds that.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from billing.catalog.pricing.sizes import Pixels, Size, SoldSize, nearest, read_size

GATEWAY = "gateway"
DIRECT = frozenset({"gemini", "openai", "sandbox", "sora"})  # providers that are reached without a gateway
SORA_CHAT = "sora-chat"


@dataclass(frozen=True)
class SizeInterface:
    """The size parameters of one call of one provider.

    `tiers`: its names of sizes, each with the pixels of an image or the shorter side of a video that it stands for; None
    where it takes pixels. `ratios`: what every model of it makes, `more_ratios` what some do; none: any.
    """

    tiers: Mapping[str, tuple[Pixels, ...] | int] | None = None
    ratios: tuple[str, ...] = ()
    more_ratios: tuple[str, ...] = ()
    widest: Fraction | None = None  # no side may be more times the other than this
    by_model_name: bool = False  # length, shape and size are part of the model's name: a model's `variants`

    def name_of(self, tier: Size) -> str:
        """Return the provider's name of a tier; empty where it has none."""
        for name, meaning in (self.tiers or {}).items():
            if tier.side == meaning or (isinstance(meaning, tuple) and _lying(tier.image) in meaning):
                return name
        return ""

    def can_ask_for(self, tier: Size) -> bool:
        return self.tiers is None or self.by_model_name or bool(self.name_of(tier))

    def ratio_of(self, size: SoldSize) -> str:
        """Return the provider's word for the shape."""
        known = (*self.ratios, *self.more_ratios)
        if not size.ratio:
            return ""
        return size.ratio if not known or size.ratio in known else nearest(size.shape, self.ratios)

    def listed(self) -> tuple[Size, ...]:
        """Return the tiers by name, ascending, as sizes."""
        return tuple(read_size(name if name != "512" else "512x512") for name in self.tiers or {})


def _lying(pixels: Pixels | None) -> Pixels | None:
    return (max(pixels), min(pixels)) if pixels else None


_1K, _2K, _4K = ((1024, 1024),), ((2048, 2048),), ((3840, 2160), (4096, 4096))
PIXELS = SizeInterface()
BY_MODEL_NAME = SizeInterface(by_model_name=True)
GEMINI_IMAGES = SizeInterface(
    {"512": ((512, 512),), "1K": _1K, "2K": _2K, "4K": _4K},
    ratios=("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"),
    more_ratios=("1:4", "4:1", "1:8", "8:1"),
)
GEMINI_VIDEOS = SizeInterface({"720p": 720, "1080p": 1080, "4k": 2160}, ratios=("16:9", "9:16"))
OPENAI_IMAGES = SizeInterface(widest=Fraction(3))
GATEWAY_IMAGES = SizeInterface(
    {"1K": _1K, "2K": _2K, "4K": _4K},
    ratios=("1:1", "16:9", "9:16", "4:3", "3:4", "5:4", "4:5", "21:9", "3:2", "2:3"),
)
GATEWAY_VIDEOS = SizeInterface({"540p": 540, "720p": 720, "1080p": 1080})

_INTERFACES = {
    ("gemini", False): GEMINI_IMAGES,
    ("gemini", True): GEMINI_VIDEOS,
    ("openai", False): OPENAI_IMAGES,
    ("sora", False): BY_MODEL_NAME,
    ("sora", True): BY_MODEL_NAME,
    (GATEWAY, False): GATEWAY_IMAGES,
    (GATEWAY, True): GATEWAY_VIDEOS,
}


def interface_of(route: str, *, is_video: bool, gateway_endpoint: str, options: Mapping[str, Any]) -> SizeInterface:
    """Return what the provider `route` can be asked for when it makes an image or a video of a model."""
    if route == GATEWAY and gateway_endpoint == SORA_CHAT:
        return BY_MODEL_NAME
    if route == GATEWAY and not is_video and options.get("gatewaySize") == "pixels":
        return PIXELS
    return _INTERFACES.get((route, is_video), PIXELS)
