"""Finds the media URL in a chat completion's text: `<video src=…>`, `<img src=…>`, a Markdown link, or bare.

In a tag and in a link it may be relative (`/uploads/a.mp4`): at the address of who answered.
"""

import html
import re

# Every repetition is bounded: a text made for it could otherwise keep a pattern busy for hours.
_QUOTED = r"""["']?(https?://[^\s"'<>]{1,4096}|/(?!/)[^\s"'<>]{1,4096})"""
_PATTERNS = (
    re.compile(rf"<(?:video|source)\b[^<>]{{0,500}}?\bsrc\s{{0,5}}=\s{{0,5}}{_QUOTED}", re.IGNORECASE),
    re.compile(rf"<img\b[^<>]{{0,500}}?\bsrc\s{{0,5}}=\s{{0,5}}{_QUOTED}", re.IGNORECASE),
    re.compile(r"\[[^\[\]]{0,500}\]\(\s{0,5}<?(https?://[^\s<>()]{1,4096}|/(?!/)[^\s<>()]{1,4096})", re.IGNORECASE),
    re.compile(r"(https?://[^\s\"'<>`()\[\]]{1,4096})", re.IGNORECASE),
)
MAX_TEXT_LENGTH = 256 << 10


def find_media_urls(text: str) -> list[str]:
    """Return every media URL in `text`, in order and once each. A tag is believed before a link, a link before a bare URL."""
    text = text[-MAX_TEXT_LENGTH:]  # the result comes at the end
    for pattern in _PATTERNS:
        if found := pattern.findall(text):
            return list(dict.fromkeys(html.unescape(url).rstrip(".,;!?。，；！？") for url in found))
    return []
