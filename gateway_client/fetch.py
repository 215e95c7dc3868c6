"""Fetching what others name: results of providers, and callers' reference images."""

import base64
import binascii
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway_client import addresses, http
from gateway_client.addresses import Forbidden, Rules
from gateway_client.errors import NotFetched, NothingMade, ReferenceImageUnusable, Unusable, UpstreamError
from gateway_client.transport import Deadline

MAX_IMAGE_BYTES = 64 << 20
MAX_VIDEO_BYTES = 1 << 30
MAX_REFERENCE_IMAGE_BYTES = 10 << 20
FETCH_SECONDS = 120  # one result, all tries together
FETCH_READ_SECONDS = 30
FETCH_TRIES = 3
FETCH_PAUSE_SECONDS = 0.5
REFERENCE_IMAGE_SECONDS = 30
IMAGE_TYPES = ("image/png", "image/jpeg", "image/webp", "image/gif")
VIDEO_TYPES = ("video/mp4", "video/webm")
EXTENSIONS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
    "video/mp4": "mp4",
    "video/webm": "webm",
}
_STILLS_IN_MP4 = (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1")  # pictures in the same box format
_HEAD_BYTES = 32
_DATA_URI = re.compile(r"data:(image/(?:png|jpe?g|webp|gif));base64,([A-Za-z0-9+/=]*)", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Fetched:
    """A file that is ours now: move it or delete it."""

    path: Path
    content_type: str
    size_bytes: int


def sniff(head: bytes) -> str:
    """Return the content type that a file's first bytes prove; "" for what is none of the six we serve."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head[4:8] == b"ftyp" and head[8:12] not in _STILLS_IN_MP4:
        return "video/mp4"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "video/webm"
    return ""


def fetch(
    url: str,
    *,
    types: Sequence[str] = (*IMAGE_TYPES, *VIDEO_TYPES),
    max_bytes: int = MAX_VIDEO_BYTES,
    total_seconds: float = FETCH_SECONDS,
    tries: int = FETCH_TRIES,
    rules: Rules | None = None,
    is_own_address: bool = False,
    directory: Path | None = None,
) -> Fetched:
    """Download a result into a temporary file. What it is, its bytes say; a content type that was sent is not believed.

    `is_own_address`: it lies at the address of a service that the operator configured, public or not.

    Raises:
        Unusable: not http(s), a forbidden address, a redirect. Asking again would not help.
        NotFetched: anything else, after `tries` tries: the result may still be there.
    """
    rules = rules or addresses.rules()
    deadline = Deadline(read_seconds=FETCH_READ_SECONDS, total_seconds=total_seconds)
    try:
        url = rules.check_form(url)
    except Forbidden:
        raise Unusable(reason="forbidden_url") from None
    if is_own_address:
        rules = addresses.with_own(url)
    for number in range(1, tries + 1):
        try:
            return _fetch_once(url, types, max_bytes, deadline, rules, directory)
        except Unusable:
            raise
        except UpstreamError as error:
            pause = FETCH_PAUSE_SECONDS * number
            if number == tries or pause >= deadline.left_seconds():
                raise NotFetched(reason=error.details.get("reason", "")) from None
        time.sleep(pause)
    raise AssertionError("a fetch has at least one try")


def _fetch_once(
    url: str, types: Sequence[str], max_bytes: int, deadline: Deadline, rules: Rules, directory: Path | None
) -> Fetched:
    try:
        path = http.download(
            url, max_bytes=max_bytes, deadline=deadline, resolve=rules.addresses, max_tries=1, directory=directory
        )
    except Forbidden:
        raise Unusable(reason="forbidden_address") from None
    except NothingMade:
        raise Unusable(reason="redirect") from None
    try:
        return identify(path, types)
    except NotFetched:
        path.unlink(missing_ok=True)
        raise


def identify(path: Path, types: Sequence[str] = (*IMAGE_TYPES, *VIDEO_TYPES)) -> Fetched:
    """Return what the file at `path` is. Raises NotFetched where it is none of `types`; the file stays."""
    with path.open("rb") as file:
        content_type = sniff(file.read(_HEAD_BYTES))
    if content_type not in types:
        raise NotFetched(reason="not_media")
    return Fetched(path, content_type, path.stat().st_size)


@dataclass(frozen=True)
class ReferenceImage:
    data: bytes
    content_type: str


def is_data_uri(text: str) -> bool:
    return text[:5].lower() == "data:"


def parse_data_uri(text: str) -> ReferenceImage:
    """Return the image in `data:image/…;base64,…`. Raises ReferenceImageUnusable: another form, over 10 MiB, or no image."""
    if len(text) > MAX_REFERENCE_IMAGE_BYTES * 4 // 3 + 64:
        raise ReferenceImageUnusable(reason="too_large")
    match = _DATA_URI.fullmatch(text)
    if match is None:
        raise ReferenceImageUnusable(reason="data_uri")
    try:
        data = base64.b64decode(match[2], validate=True)
    except (binascii.Error, ValueError):
        raise ReferenceImageUnusable(reason="data_uri") from None
    return _as_reference_image(data)


def _as_reference_image(data: bytes) -> ReferenceImage:
    content_type = sniff(data[:_HEAD_BYTES])
    if content_type not in IMAGE_TYPES:
        raise ReferenceImageUnusable(reason="not_an_image")
    return ReferenceImage(data, content_type)


def load_reference_image(text: str, *, deadline: Deadline | None = None, rules: Rules | None = None) -> ReferenceImage:
    """Return a caller's reference image, fetched where it is a URL. Raises ReferenceImageUnusable."""
    if is_data_uri(text):
        return parse_data_uri(text)
    seconds = REFERENCE_IMAGE_SECONDS if deadline is None else min(REFERENCE_IMAGE_SECONDS, deadline.left_seconds())
    try:
        fetched = fetch(text, types=IMAGE_TYPES, max_bytes=MAX_REFERENCE_IMAGE_BYTES, total_seconds=seconds, tries=2, rules=rules)
    except (Unusable, NotFetched) as error:
        reason = error.details["reason"]
        # Which names lead to an address that is not public, and which to none, is not for the caller to know.
        raise ReferenceImageUnusable(reason="not_reached" if reason == "forbidden_address" else reason) from None
    try:
        return ReferenceImage(fetched.path.read_bytes(), fetched.content_type)
    finally:
        fetched.path.unlink(missing_ok=True)
