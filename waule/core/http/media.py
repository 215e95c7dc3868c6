"""`/media/…`: results as local files. Their names cannot be guessed, so who has the URL may read.

In production a web server in front may serve the same files from MEDIA_ROOT.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from django.conf import settings
from django.core.exceptions import SuspiciousFileOperation
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils._os import safe_join

from waule.core.errors import MethodNotAllowed, NotFound
from waule.core.http import error_handler

CHUNK_BYTES = 256 << 10
TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
}
_RANGE = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})")


def media(request: HttpRequest, path: str) -> HttpResponseBase:
    """One file, whole or a range of it."""
    if request.method not in ("GET", "HEAD"):
        return error_handler.respond(MethodNotAllowed(), request)
    found = find_file(path)
    if found is None:
        return error_handler.respond(NotFound(), request)
    try:
        return serve(request, content_of(found))
    except FileNotFoundError:  # it has just moved, or was deleted
        return error_handler.respond(NotFound(), request)


def find_file(path: str) -> Path | None:
    """Return the file under MEDIA_ROOT; None for what is not there, is hidden, or would lead outside."""
    if "\0" in path or any(part.startswith(".") for part in path.split("/")):
        return None
    try:
        found = Path(safe_join(settings.MEDIA_ROOT, path))
        resolved = found.resolve(strict=True)
    except (SuspiciousFileOperation, OSError):
        return None
    inside = resolved.is_relative_to(settings.MEDIA_ROOT.resolve())
    return resolved if inside and resolved.is_file() else None


@dataclass(frozen=True)
class Content:
    """What can be served in parts. `part(first, length)` gives its bytes."""

    size_bytes: int
    tag: str
    modified_at: float
    content_type: str
    part: Callable[[int, int], Iterable[bytes]]


def content_of(path: Path, *, content_type: str = "") -> Content:
    """Return a file, with a type that is not guessed from its bytes."""
    status = path.stat()
    return Content(
        size_bytes=status.st_size,
        tag=f"{status.st_mtime_ns:x}-{status.st_size:x}",
        modified_at=status.st_mtime,
        content_type=content_type or TYPES.get(path.suffix.lower(), "application/octet-stream"),
        part=lambda first, length: FilePart(path, first, length),
    )


def serve(request: HttpRequest, content: Content) -> HttpResponseBase:
    """The content with what players and caches need: ranges, a tag, and its type."""
    size, tag = content.size_bytes, f'"{content.tag}"'
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": tag,
        "Last-Modified": formatdate(content.modified_at, usegmt=True),
        "Cache-Control": "private, max-age=86400",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Content-Disposition": "inline" if content.content_type in TYPES.values() else "attachment",
    }
    if tag in [part.strip() for part in request.META.get("HTTP_IF_NONE_MATCH", "").split(",")]:
        return HttpResponse(status=304, headers=headers)
    asked = request.META.get("HTTP_RANGE", "") if request.META.get("HTTP_IF_RANGE", tag) == tag else ""
    first, last, code = 0, size - 1, 200
    if match := _RANGE.fullmatch(asked.strip()):
        wanted = _range_of(match[1], match[2], size)
        if wanted is None:
            return HttpResponse(status=416, headers=headers | {"Content-Range": f"bytes */{size}"})
        (first, last), code = wanted, 206
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    length = last - first + 1
    headers["Content-Length"] = str(length)
    if request.method == "HEAD":
        return HttpResponse(status=code, headers=headers, content_type=content.content_type)
    part = content.part(first, length)
    response = StreamingHttpResponse(part, status=code, headers=headers, content_type=content.content_type)
    if isinstance(part, FilePart):
        response.file_part = part  # type: ignore[attr-defined]  # the server sends files by itself
    return response


def _range_of(first: str, last: str, size: int) -> tuple[int, int] | None:
    """Positions of `first-last`, `first-` or `-length`, both inclusive; None where there are no such bytes."""
    if first:
        start, end = int(first), min(int(last), size - 1) if last else size - 1
    elif last:
        start, end = max(0, size - int(last)), size - 1
    else:
        return None
    return (start, end) if start <= end and start < size else None


class FilePart:
    """Bytes of a file, chunk by chunk."""

    def __init__(self, path: Path, first: int, length: int) -> None:
        self.path, self.first, self.length = path, first, length
        self.left = length
        self.file = path.open("rb")
        self.file.seek(first)

    def __iter__(self) -> Iterator[bytes]:
        while self.left > 0 and (chunk := self.file.read(min(CHUNK_BYTES, self.left))):
            self.left -= len(chunk)
            yield chunk

    def close(self) -> None:
        self.file.close()
