"""What a finished Veo operation says: videos, refused content, or an error; and how its files are fetched.

Google's three spellings of an answer are read alike. A file lies with the project of the key that asked for it: its
address goes to nobody, and the key goes to no other server than the one that is asked.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

from django.conf import settings

from aiservices.generations.providers.base import Job, Output, ProviderResult
from gateway_client import answers, fetch, http
from gateway_client.errors import (
    ContentRefused,
    NotFetched,
    NothingMade,
    Unusable,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRefused,
)
from gateway_client.fetch import MAX_VIDEO_BYTES, VIDEO_TYPES, identify
from gateway_client.results import decode

MAX_REDIRECTS = 3
_PLACES = ("generateVideoResponse", "")  # of the response that holds the videos; "" is the response itself
_LISTS = ("generatedSamples", "generatedVideos", "videos")
_URIS, _DATA = ("uri", "gcsUri", "url"), ("bytesBase64Encoded", "encodedVideo", "videoBytes")
# Google's numbers of what went wrong (google.rpc.Code), and HTTP's, as relays write them.
_REFUSED, _LIMITED = {3, 9, 11, 400, "INVALID_ARGUMENT", "FAILED_PRECONDITION"}, {8, 429, "RESOURCE_EXHAUSTED"}
_ABOUT_CONTENT = re.compile(
    r"responsible ai|sensitive word|prohibited|violat|usage guidelines|safety|content polic|blocked by|\brai\b", re.IGNORECASE
)


def read(body: Mapping[str, Any], secret: str, job: Job, upstream_id: str) -> ProviderResult:
    """Return what became of the job. Its files are fetched.

    Raises: ContentRefused; UpstreamRefused, UpstreamRateLimited and NothingMade for an error, or no video; NotFetched and
    Unusable where there is a video that cannot be had.
    """
    if error := body.get("error"):
        raise failure(error)
    response = body.get("response")
    parts = [part for part in _parts(response) if isinstance(part, Mapping)]
    outputs = [output(video, secret, job) for part in parts for name in _LISTS for video in _videos(part.get(name))][
        : job.quantity
    ]
    filtered = [part for part in parts if _count(part.get("raiMediaFilteredCount")) or part.get("raiMediaFilteredReasons")]
    if outputs:
        return ProviderResult(tuple(outputs), upstream_id=upstream_id, flags=("part_refused",) if filtered else ())
    if filtered:
        reasons = filtered[0].get("raiMediaFilteredReasons")
        said = reasons[0] if isinstance(reasons, list) and reasons else reasons
        raise ContentRefused(reason=answers.clean_text(said, answers.MAX_REASON_LENGTH) or "filtered")
    raise NothingMade(reason="no_video")


def failure(error: Any) -> UpstreamError:
    """Return the error of an operation that has ended with one. Nothing was made, and nothing is billed."""
    details = error if isinstance(error, Mapping) else {"message": error}
    reason = answers.reason_of({"error": dict(details)}) or "failed"
    found = (details.get("code"), details.get("status"))
    words = {int(word) if str(word).isdecimal() else word for word in found if isinstance(word, int | str)}
    if _ABOUT_CONTENT.search(reason):
        return ContentRefused(reason=reason)
    if words & _LIMITED:
        return UpstreamRateLimited(reason=reason)
    return UpstreamRefused(reason=reason) if words & _REFUSED else NothingMade(reason=reason)


def _parts(response: Any) -> Iterator[Any]:
    for place in _PLACES:
        if isinstance(response, Mapping):
            yield response.get(place) if place else response


def _videos(items: Any) -> Iterator[Mapping[str, Any]]:
    for item in items if isinstance(items, list) else []:
        video = item.get("video", item) if isinstance(item, Mapping) else None
        if isinstance(video, Mapping) and any(video.get(name) for name in (*_URIS, *_DATA)):
            yield video


def _count(value: Any) -> int:
    return int(value) if isinstance(value, int) or (isinstance(value, str) and value.isdecimal()) else 0


def output(video: Mapping[str, Any], secret: str, job: Job) -> Output:
    """Return one video. Raises NotFetched, Unusable."""
    for name in _DATA:
        if video.get(name):
            data, content_type = decode(video[name], VIDEO_TYPES)
            return Output(data=data, content_type=content_type, duration=job.duration)
    uri = next(video[name] for name in _URIS if video.get(name))
    if not isinstance(uri, str):
        raise Unusable(reason="unusable_url")
    found = download(uri, secret)
    return Output(path=found.path, content_type=found.content_type, duration=job.duration)


def download(uri: str, secret: str) -> fetch.Fetched:
    """Return the file at `uri`. The key is sent to the server of GEMINI_API_URL, and redirects are followed without it.

    Raises NotFetched, Unusable.
    """
    for _number in range(MAX_REDIRECTS + 1):
        if not _is_ours(uri):
            return fetch.fetch(uri, types=VIDEO_TYPES, max_bytes=MAX_VIDEO_BYTES)
        try:
            path = http.download(uri, secrets={"x-goog-api-key": secret}, max_bytes=MAX_VIDEO_BYTES)
        except UpstreamError as error:
            if not error.redirected_to:
                raise NotFetched(reason=error.details["reason"]) from None
            uri = urljoin(uri, error.redirected_to)
            continue
        try:
            return identify(path, VIDEO_TYPES)
        except NotFetched:
            path.unlink(missing_ok=True)
            raise
    raise NotFetched(reason="redirect")


def _is_ours(uri: str) -> bool:
    """Return whether an address is on the server that we ask, over the same protocol and port."""
    try:
        found, base = urlsplit(uri), urlsplit(settings.GEMINI_API_URL)
        is_plain = "@" not in found.netloc and not re.search(r"[^\x21-\x7e]|\\", uri)
        return is_plain and (found.scheme, found.hostname, _port(found)) == (base.scheme, base.hostname, _port(base))
    except ValueError:
        return False


def _port(parts: Any) -> int | None:
    return parts.port or {"http": 80, "https": 443}.get(parts.scheme)
