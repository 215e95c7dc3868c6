"""What the direct providers share: pictures inside JSON, sizes, and one request per picture."""

import base64
import binascii
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from aiservices.providers.base import Outcome, Output, Progress
from gateway_client.errors import OutcomeUnknown, UpstreamError
from gateway_client.fetch import IMAGE_TYPES, sniff

_PIXELS = re.compile(r"([1-9][0-9]{1,4})[x*×]([1-9][0-9]{1,4})", re.IGNORECASE)
_HEIGHT = re.compile(r"([1-9][0-9]{2,3})p", re.IGNORECASE)
_RATIO = re.compile(r"([1-9][0-9]{0,2}):([1-9][0-9]{0,2})")
_SHORTER_SIDES = {"hd": 720, "fhd": 1080, "1k": 1024, "2k": 1440, "4k": 2160, "uhd": 2160}


def decode_picture(data: Any) -> Output:
    """A picture in base64. Raises OutcomeUnknown for what is none: a picture may exist that we did not get."""
    if not isinstance(data, str):
        raise OutcomeUnknown(reason="no_picture")
    try:
        picture = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise OutcomeUnknown(reason="not_base64") from None
    content_type = sniff(picture[:32])
    if content_type not in IMAGE_TYPES:
        raise OutcomeUnknown(reason="not_a_picture")
    return Output(data=picture, content_type=content_type)


def one_by_one(quantity: int, make: Callable[[], tuple[Output, ...]], progress: Progress) -> Outcome:
    """`quantity` pictures from an upstream that makes one per request.

    When a later request fails, what is there is delivered, with the flag `fewer_than_asked`, and `part_unknown` where
    the failed request may have made something after all.
    """
    outputs: list[Output] = []
    flags: tuple[str, ...] = ()
    while len(outputs) < quantity:
        try:
            outputs.extend(make())
        except UpstreamError as error:
            if not outputs:
                raise
            flags = ("fewer_than_asked", "part_unknown") if error.is_unknown else ("fewer_than_asked",)
            break
        progress(min(99, 100 * len(outputs) // quantity))
    return Outcome(tuple(outputs[:quantity]), flags=flags)


def pixels(resolution: str) -> tuple[int, int] | None:
    """Width and height of `1280x720`, or None where the text names no pixels."""
    match = _PIXELS.fullmatch(resolution.strip())
    return (int(match[1]), int(match[2])) if match else None


def video_size(resolution: str, ratio: str) -> str:
    """`1280x720` for `720p` and `16:9` (the default), `720x1280` for `9:16`; "" where no size is named."""
    if found := pixels(resolution):
        return f"{found[0]}x{found[1]}"
    match = _HEIGHT.fullmatch(resolution.strip())
    shorter = int(match[1]) if match else _SHORTER_SIDES.get(resolution.strip().lower())
    if shorter is None:
        return ""
    shape = _RATIO.fullmatch(ratio.strip() or "16:9")
    if shape is None:
        return ""
    width, height = int(shape[1]), int(shape[2])
    longer = round(shorter * Fraction(max(width, height), min(width, height)) / 2) * 2  # encoders want even sides
    return f"{longer}x{shorter}" if width >= height else f"{shorter}x{longer}"
