"""What a resolution's text means: a width and a height of an image, or the shorter side of a video."""

import re

_SIZE = re.compile(r"([0-9]{1,5})\s*[x*×]\s*([0-9]{1,5})")
_LINES = re.compile(r"([0-9]{1,5})p")
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


def image_size(text: str) -> tuple[int, int] | None:
    """Width and height in pixels; None where `text` names no size (`16:9`, `auto`)."""
    text = text.strip().lower()
    if (named := _IMAGE_NAMES.get(text)) is not None:
        return named
    if lines := _LINES.fullmatch(text):
        height = int(lines[1])
        width = -(-height * 16 // 9)  # whole pixels, as 480p is 854 wide
        return (width, height) if height else None
    return _written_size(text)


def shorter_side(text: str) -> int | None:
    """The shorter side in pixels, by which videos are priced; None where `text` names no size."""
    text = text.strip().lower()
    if (named := _VIDEO_NAMES.get(text)) is not None:
        return named
    if lines := _LINES.fullmatch(text):
        return int(lines[1]) or None
    size = _written_size(text)
    return min(size) if size else None


def _written_size(text: str) -> tuple[int, int] | None:
    found = _SIZE.fullmatch(text)
    if found is None:
        return None
    width, height = int(found[1]), int(found[2])
    return (width, height) if width and height else None
