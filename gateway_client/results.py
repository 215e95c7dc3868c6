"""Results in the answers of upstreams, in all the spellings that are in use (docs/providers.md): URLs, and files as base64."""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any
from urllib.parse import urljoin

from gateway_client import answers
from gateway_client.errors import NothingMade, OutcomeUnknown
from gateway_client.fetch import IMAGE_TYPES, VIDEO_TYPES, sniff
from gateway_client.media_links import find_media_urls

MAX_SANE_DURATION_SECONDS = 86_400
MAX_PROMPT_LENGTH = 20_000
MAX_TEXT_LENGTH = 64 << 20

# Where results lie in an answer; `[]` is each item of a list. The first place that has any is taken.
PLACES = (
    *("data[]", "images[]", "videos[]", "results[]"),
    *("data.images[]", "data.videos[]", "data.image_urls[]", "data.image_base64[]", "data"),
    *("output.results[]", "output.choices[].message.content[]", "output[]", "output"),
    *("candidates[].content.parts[].inlineData", "choices[].message.images[]"),
    *("binary_data_base64[]", "artifacts[]", "predictions[]", "image_urls[]", "image", "video", "metadata", ""),
)
# What one result's object calls its URL, and what it calls the file itself; an empty twin is no result.
URL_NAMES = ("url", "image_url", "video_url", "file_url", "result_url", "uri", "download_url")
DATA_NAMES = ("b64_json", "base64", "image_base64", "bytesBase64Encoded", "data", "image", "video", "content")
# Lists that an answer promises: of another type they are no answer at all.
PROMISED = ("data", "images", "candidates")

_DATA_URI = re.compile(r"data:(?:image|video)/[a-z0-9.+-]{1,32}(?:;[a-z0-9=._-]{1,64}){0,3},", re.IGNORECASE)
_DATA_URI_IN_TEXT = re.compile(r"data:(?:image|video)/[a-z0-9.+-]{1,32};base64,[A-Za-z0-9+/_=\s-]{16,}", re.IGNORECASE)
_LINK = re.compile(r"(?:https?:)?//|/[^/]", re.IGNORECASE)


@dataclass(frozen=True)
class Found:
    """One result: a URL, still to be fetched, or a file. `duration` in seconds, where the upstream gave a sane one."""

    url: str = ""
    is_from_own_address: bool = False  # of who answered: the URL was relative
    data: bytes = b""
    content_type: str = ""
    duration: Decimal | None = None
    revised_prompt: str = ""


@dataclass(frozen=True)
class Results:
    """`has_odd`: something beside them was meant as a result and cannot be read."""

    found: tuple[Found, ...]
    has_odd: bool = False


class Odd(Exception):
    """Meant as a result, and in no spelling that is known."""


def read_results(body: Any) -> Results:
    """Return the results in an answer of success.

    Raises: the error in the answer; NothingMade for one without a result, or with text alone; OutcomeUnknown for
    one of another shape, and where nothing that it has can be read.
    """
    if not isinstance(body, dict):
        raise OutcomeUnknown(reason="not_an_object")
    found: list[Found] = []
    has_odd = False
    for place in PLACES:
        for item in _items(body, place.split(".") if place else []):
            try:
                found.extend(filter(None, [_found(item)]))
            except Odd:
                # An object that holds lists of results somewhere else is not one itself.
                has_odd = has_odd or place.endswith("[]")
        if found:
            return Results(tuple(found), has_odd)
    if body.get("error"):
        raise answers.told_error(body)
    if has_odd or any(not isinstance(body.get(name), list | None) and body[name] != {} for name in PROMISED):
        raise OutcomeUnknown(reason="odd_result")
    failed = next((item for item in _items(body, ["data[]"]) if isinstance(item, dict) and item.get("error")), None)
    raise answers.told_error(failed) if failed else NothingMade(reason="no_result")


def in_text(text: str) -> tuple[Found, ...]:
    """Return the results in a chat's text: links and tags, else files as data URIs."""
    if urls := find_media_urls(text):
        return tuple(Found(url=url) for url in urls)
    found: list[Found] = []
    for match in _DATA_URI_IN_TEXT.finditer(text[-MAX_TEXT_LENGTH:]):
        data, content_type = decode(match[0])
        found.append(Found(data=data, content_type=content_type))
    return tuple(found)


def absolute(found: Found, base: str) -> Found:
    """Return the result with its whole address: where it is relative (`/uploads/a.png`), it is that of who answered."""
    if not found.url.startswith("/") or found.url.startswith("//"):
        return found
    return replace(found, url=urljoin(base, found.url), is_from_own_address=True)


def _items(value: Any, path: list[str]) -> Iterator[Any]:
    """Yield what lies at a path, each item of its lists."""
    if not path:
        yield value
        return
    name, *rest = path
    inner = value.get(name.removesuffix("[]")) if isinstance(value, dict) else None
    if name.endswith("[]"):
        for item in inner if isinstance(inner, list) else []:
            yield from _items(item, rest)
    elif inner is not None and not isinstance(inner, list):
        yield from _items(inner, rest)


def _found(item: Any) -> Found | None:
    """Return one result; None where it is empty. Raises Odd."""
    if item in ("", None):
        return None
    if isinstance(item, str):
        return _of_text(item)
    if not isinstance(item, dict):
        raise Odd
    values = [_innermost(item.get(name)) for name in (*URL_NAMES, *DATA_NAMES)]
    texts = [value for value in values if isinstance(value, str) and value.strip()]
    odd = any(value not in ("", None) and not isinstance(value, str | dict | list) for value in values)
    about = {
        "duration": read_duration(item.get("duration")),
        "revised_prompt": answers.clean_text(item.get("revised_prompt"), MAX_PROMPT_LENGTH),
    }
    for text in texts:
        try:
            read = _of_text(text)
        except Odd:
            odd = True
            continue
        return Found(url=read.url, data=read.data, content_type=read.content_type, **about)  # type: ignore[arg-type]
    if (url := item.get("url")) and isinstance(url, str):
        return Found(url=url, **about)  # type: ignore[arg-type]  # no address that may be fetched: whoever fetches says so
    if odd:
        raise Odd
    return None


def _innermost(value: Any) -> Any:
    """`{"url": …}` stands for its URL."""
    return value.get("url") if isinstance(value, dict) and "url" in value else value


def _of_text(text: str) -> Found:
    """Return a URL or a file, told apart by what it looks like and not by its name. Raises Odd."""
    text = text.strip()
    if not _DATA_URI.match(text) and _LINK.match(text) and len(text) <= 4096 and not re.search(r"\s", text):
        return Found(url=text)
    try:
        data, content_type = decode(text)
    except OutcomeUnknown:
        raise Odd from None
    return Found(data=data, content_type=content_type)


def decode(text: Any, types: tuple[str, ...] = (*IMAGE_TYPES, *VIDEO_TYPES)) -> tuple[bytes, str]:
    """Return a file in base64, wrapped in lines or not, in either alphabet, as a data URI or bare; and what its bytes prove it
    is.

    Raises OutcomeUnknown for what is none: a file may exist that we did not get.
    """
    if not isinstance(text, str):
        raise OutcomeUnknown(reason="no_picture")
    bare = re.sub(r"\s+", "", text)
    if match := _DATA_URI.match(bare):
        bare = bare[match.end() :]
    bare = bare.translate(_TO_STANDARD).rstrip("=")
    try:
        data = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise OutcomeUnknown(reason="not_base64") from None
    content_type = sniff(data[:32])
    if content_type not in types:
        raise OutcomeUnknown(reason="not_a_picture")
    return data, content_type


_TO_STANDARD = str.maketrans("-_", "+/")


def read_duration(value: Any) -> Decimal | None:
    """Return seconds as a Decimal, where `value` is a sane number."""
    if type(value) in {int, Decimal} and 0 < value <= MAX_SANE_DURATION_SECONDS:
        return Decimal(value)
    return None
