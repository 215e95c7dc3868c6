"""What the sandbox draws: a picture that is the same for the same request, with the request written on it."""

import hashlib
import io
import random
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageColor, ImageDraw, ImageFont

from billing.catalog.pricing import SoldSize

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Size = tuple[int, int]

DEFAULT_SIDE = 1024  # pixels
DEFAULT_FRAME = (1280, 720)  # pixels
MIN_SIDE, MAX_SIDE = 64, 4096  # pixels of an image
MAX_FRAME_SIDE = 1280  # pixels of a video's frame
MAX_WRITTEN_LENGTH = 400  # characters of the prompt that are written on the picture
WIDEST_RATIO = 4.0
MARGIN = 1 / 16  # of the shorter side
CIRCLES = 9

# Fonts that have Chinese, where systems keep them: the path and the face in its collection.
_FONTS = (
    ("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc", 2),
    ("/usr/share/fonts/noto-cjk/NotoSansCJK-Regular.ttc", 2),
    ("/usr/share/fonts/google-noto-cjk/NotoSansCJK-Regular.ttc", 2),
    ("/usr/share/fonts/google-noto-sans-cjk-fonts/NotoSansCJK-Regular.ttc", 2),
    ("/usr/share/fonts/truetype/wqy/wqy-microhei.ttc", 0),
    ("/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc", 0),
    ("/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf", 0),
    ("/System/Library/Fonts/PingFang.ttc", 0),
    ("/System/Library/Fonts/Hiragino Sans GB.ttc", 0),
    ("/System/Library/Fonts/STHeiti Medium.ttc", 0),
    ("C:/Windows/Fonts/msyh.ttc", 0),
)
_NO_CHINESE = "(no font with Chinese on this machine: install fonts-noto-cjk)"


def image_size(size: SoldSize) -> Size:
    """Return pixels of an image."""
    return _bounded(*(size.image_pixels() or (DEFAULT_SIDE, DEFAULT_SIDE)), MAX_SIDE)


def frame_size(size: SoldSize) -> Size:
    """Return pixels of a video: even, as its encoder wants them, and at most MAX_FRAME_SIDE: it is a rehearsal."""
    width, height = _bounded(*(size.video_pixels or DEFAULT_FRAME), MAX_FRAME_SIDE)
    return width // 2 * 2, height // 2 * 2


def _bounded(width: int, height: int, limit: int) -> Size:
    scale = min(1.0, limit / max(width, height))
    return max(MIN_SIDE, round(width * scale)), max(MIN_SIDE, round(height * scale))


def draw_file(
    *, prompt: str, model: str, size: Size, index: int, salt: str = "", file_format: str = "png", quality: int = 100
) -> bytes:
    """Return the picture as a file; the same bytes for the same arguments (and fonts). `quality` is that of JPEG and WebP."""
    caption = f"{model}  ·  {size[0]}×{size[1]}  ·  #{index + 1}"
    picture = draw(prompt=prompt, model=model, size=size, caption=caption, index=index, salt=salt)
    file = io.BytesIO()
    options = {"compress_level": 1} if file_format == "png" else {"quality": max(1, quality)}
    picture.save(file, file_format.upper(), **options)
    return file.getvalue()


def draw(*, prompt: str, model: str, size: Size, caption: str, index: int = 0, salt: str = "") -> Image.Image:
    parts = (model, prompt, f"{size[0]}x{size[1]}", str(index), *([salt] if salt else []))
    seed = hashlib.sha256("\x1f".join(parts).encode()).digest()
    chance = random.Random(seed)  # noqa: S311  (the same picture for the same request is what is wanted)
    picture = background(size, chance)
    write(picture, prompt, caption)
    return picture


def background(size: Size, chance: random.Random) -> Image.Image:
    """Return a soft gradient of neighbouring colours with translucent circles and one ring."""
    hue = chance.randrange(360)
    coarse = Image.new("RGB", (4, 4))
    for x in range(4):
        for y in range(4):
            coarse.putpixel((x, y), _colour(hue + 14 * x + 26 * y + chance.randrange(24), 60 - 6 * y, 62 - 7 * x))
    picture = coarse.resize(size, Image.Resampling.BICUBIC)
    longer = max(size)
    overlay = Image.new("RGBA", size, (0, 0, 0, 0))
    brush = ImageDraw.Draw(overlay)
    for number in range(CIRCLES):
        x, y = chance.randrange(size[0]), chance.randrange(size[1])
        radius = longer * (0.04 + 0.24 * chance.random())
        colour = (*_colour(hue + chance.choice((-40, 30, 160, 190)), 70, 70), 26 + 6 * number)
        box = (x - radius, y - radius, x + radius, y + radius)
        if number % 3 == 2:
            brush.ellipse(box, outline=colour, width=max(2, longer // 90))
        else:
            brush.ellipse(box, fill=colour)
    picture.paste(overlay, (0, 0), overlay)
    return picture


def _colour(hue: int, saturation: int, lightness: int) -> tuple[int, int, int]:
    found = ImageColor.getrgb(f"hsl({hue % 360}, {saturation}%, {lightness}%)")
    return found[0], found[1], found[2]


def write(picture: Image.Image, prompt: str, caption: str) -> None:
    """Write the prompt, as large as it fits, and the caption below it, on a darkened band at the bottom."""
    width, height = picture.size
    margin = max(4, round(min(width, height) * MARGIN))
    small = font(max(9, min(width, height) // 34))
    text = " ".join(prompt.split())
    text = text if len(text) <= MAX_WRITTEN_LENGTH else text[: MAX_WRITTEN_LENGTH - 1] + "…"
    if not has_chinese_font() and any(ord(character) > 0x2E7F for character in text):
        text = "".join(character if ord(character) <= 0x2E7F else "·" for character in text) + " " + _NO_CHINESE
    face, lines = fitted(text, width - 2 * margin, height // 2)
    line_height = round(_pixels(face) * 1.3)
    top = height - margin - round(_pixels(small) * 1.8) - line_height * len(lines)
    band = Image.new("L", (1, height), 0)
    fade = max(1, margin * 2)
    for y in range(height):
        band.putpixel((0, y), max(0, min(150, 150 * (y - top + fade) // fade)))
    picture.paste((8, 10, 24), (0, 0), band.resize(picture.size))
    brush = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        brush.text((margin, top + number * line_height), line, font=face, fill=(255, 255, 255))
    brush.text((margin, height - margin - _pixels(small)), caption, font=small, fill=(214, 220, 236))


def fitted(text: str, width: int, height: int) -> tuple[Font, list[str]]:
    """Return the largest font, and the lines, with which `text` fits; with the smallest one it is cut off."""
    largest, smallest = max(12, width // 14), max(9, width // 60)
    size = largest
    while True:
        face = font(size)
        lines = list(wrapped(text, face, width))
        room = max(1, int(height // (size * 1.3)))
        if len(lines) <= room:
            return face, lines
        if size <= smallest:
            return face, [*lines[: room - 1], lines[room - 1][:-1] + "…"]
        size = max(smallest, int(size * 0.85))


def wrapped(text: str, face: Font, width: int) -> Iterator[str]:
    """Lines no wider than `width`: broken at a space where there is one, else (Chinese) anywhere."""
    line = ""
    for character in text:
        if face.getlength(line + character) <= width:
            line += character
            continue
        head, space, tail = line.rpartition(" ")
        if space and character != " " and len(tail) < 24 and tail.isascii():
            yield head
            line = tail + character
        else:
            yield line
            line = character.strip()
    if line:
        yield line


def font(size: int) -> Font:
    """Return a font of that size in pixels; one with Chinese where the machine has one."""
    if (found := _font_file()) is not None:
        return ImageFont.truetype(found[0], size, index=found[1])
    return ImageFont.load_default(size)


def has_chinese_font() -> bool:
    return _font_file() is not None


@lru_cache(maxsize=1)
def _font_file() -> tuple[str, int] | None:
    return next(((path, face) for path, face in _FONTS if Path(path).is_file()), None)


def _pixels(face: Font) -> float:
    return face.size if isinstance(face, ImageFont.FreeTypeFont) else 11.0
