"""What every driver does, and what the services' answers mean."""

import contextlib
import itertools
import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import mktime_tz, parsedate_tz
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from django.conf import settings
from django.utils.module_loading import import_string

from storage.errors import BucketProblem

MAX_LISTED = 1000
MIN_URL_SECONDS = 60
TRIES = 3  # of one call, where the service was not reached, was busy or broke


@dataclass(frozen=True)
class Backend:
    """Where files lie: this machine, or a bucket and the way into it.

    `is_operators`: the platform's own; else a tenant named its address. `is_public`: whoever has an object's URL may read it.
    """

    driver: str
    region: str = ""
    bucket: str = ""
    endpoint: str = ""
    access_key_id: str = ""
    access_key_secret: str = field(default="", repr=False)
    custom_domain: str = ""
    is_operators: bool = True
    is_public: bool = False

    def require(self, *names: str) -> None:
        """Raise BucketProblem where one of these is empty."""
        for name in names:
            if not getattr(self, name):
                raise BucketProblem("setting", setting=name)


class Listed(NamedTuple):
    """An object as its place lists it."""

    key: str
    size_bytes: int


class Driver(ABC):
    """Speaks to one backend. Keys are paths without a slash at the front.

    Every method raises BucketProblem, whose `details.reason` says what is wrong with the backend.
    """

    name: str

    @abstractmethod
    def put(self, key: str, source: bytes | Path, *, content_type: str) -> None:
        """Store bytes, or a file, which may be moved away. What had that key is replaced."""

    @abstractmethod
    def get(self, key: str, target: Path, *, part: tuple[int, int] | None = None) -> None:
        """Copy an object into the file `target`, or the part of it from one position to another, both inclusive."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object. One that is not there is no error."""

    def exists(self, key: str) -> bool:
        return key in self.keys(key, limit=1)  # HEAD's answer would have no body that tells why not

    @abstractmethod
    def listing(self, prefix: str, *, page: int = MAX_LISTED) -> Iterator[Listed]:
        """Return every object whose key begins so, in the order of the keys' bytes, asked for `page` by `page`."""

    def keys(self, prefix: str, *, limit: int = MAX_LISTED) -> list[str]:
        """Return the first keys that begin so, in order."""
        return [found.key for found in itertools.islice(self.listing(prefix, page=min(limit, MAX_LISTED)), limit)]

    @abstractmethod
    def url(self, key: str, *, seconds: int) -> str:
        """Return an address that opens the object without a key; where it is signed, for so many seconds."""

    def address(self, key: str) -> str:
        """Return its address without a signature: it opens the object only where the backend is public."""
        return self.url(key, seconds=MIN_URL_SECONDS).partition("?")[0]

    @property
    def clock_skew_seconds(self) -> int | None:
        """How far the service's clock was ahead of ours when it last answered this thread; None where there is none."""
        return None


class Transport(Protocol):
    """How signed requests are sent; see `gateway_client.upstreams.object_storage.send`."""

    def __call__(
        self, method: str, url: str, *, headers: Any, body: Any = None, is_operators: bool, target: Path | None = None
    ) -> tuple[int, Mapping[str, str], bytes]: ...


class Line:
    """A driver's way to its service: what its SDK has signed goes over our transport."""

    def __init__(self, *, is_operators: bool) -> None:
        self.is_operators = is_operators
        self._kept = threading.local()

    @contextlib.contextmanager
    def into(self, target: Path) -> Iterator[None]:
        """What this thread gets meanwhile goes into a file, which no SDK has to read."""
        self._kept.target = target
        try:
            yield
        finally:
            self._kept.target = None

    def send(self, method: str, url: str, headers: Any, body: Any) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of the answer.

        Raises:
            OSError: no whole answer. An address that is not public is told like one that does not answer: a tenant is not
                to learn which names lead to one.
        """
        transport: Transport = import_string(settings.OBJECT_STORAGE_TRANSPORT)
        target = getattr(self._kept, "target", None)
        self._kept.skew = None
        answer = transport(method, url, headers=headers, body=body, is_operators=self.is_operators, target=target)
        self._kept.skew = _skew_seconds(answer[1])
        return answer

    @property
    def clock_skew_seconds(self) -> int | None:
        """By the header `Date` of this thread's last answer."""
        skew: int | None = getattr(self._kept, "skew", None)
        return skew


def _skew_seconds(headers: Mapping[str, str]) -> int | None:
    parsed = parsedate_tz(headers.get("Date", ""))
    return round(mktime_tz(parsed) - time.time()) if parsed else None


def asked_range(part: tuple[int, int] | None) -> str | None:
    """`part` as the header `Range` says it."""
    return f"bytes={part[0]}-{part[1]}" if part else None


def with_scheme(address: str) -> str:
    """`address` as a URL without a slash at its end; https where it does not say."""
    return (address if "://" in address else f"https://{address}").rstrip("/")


# The two services name most failures alike.
_REASONS = {
    "InvalidAccessKeyId": "access_key_id",
    "InvalidClientTokenId": "access_key_id",
    "SignatureDoesNotMatch": "access_key_secret",
    "NoSuchBucket": "bucket",
    "InvalidBucketName": "bucket",
    "PermanentRedirect": "region",
    "TemporaryRedirect": "region",
    "AuthorizationHeaderMalformed": "region",
    "IllegalLocationConstraintException": "region",
    "RequestTimeTooSkewed": "clock",
    "RequestExpired": "clock",
    "NoSuchKey": "key",
    "AccessDenied": "denied",
    "UserDisable": "denied",
    "QuotaExceeded": "full",
}
_REGION = re.compile(r"specified endpoint|signing region|region .* is wrong", re.IGNORECASE)


def problem(status: int, code: str, message: str) -> BucketProblem:
    """Return what a rejection of the service means. Its own words are not repeated: they can hold what was signed."""
    if _REGION.search(message) or status == 301:
        return BucketProblem("region")
    reason = _REASONS.get(code) or {401: "denied", 403: "denied"}.get(status) or ("busy" if status >= 500 else "refused")
    return BucketProblem(reason, status=status)
