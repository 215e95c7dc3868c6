"""Alibaba Cloud OSS, through its own SDK."""

import contextlib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import alibabacloud_oss_v2 as sdk
from alibabacloud_oss_v2 import exceptions
from alibabacloud_oss_v2.types import HttpClient, HttpRequest, HttpResponse

from storage.drivers.base import MAX_LISTED, TRIES, Backend, Driver, Line, Listed, asked_range, problem, with_scheme
from storage.errors import BucketProblem


class OssDriver(Driver):
    name = "oss"

    def __init__(self, backend: Backend) -> None:
        backend.require("bucket", "access_key_id", "access_key_secret", "region")
        self.backend = backend
        self.http = _Http(Line(is_operators=backend.is_operators))
        self.client = self._client(with_scheme(backend.endpoint) if backend.endpoint else None)

    def _client(self, endpoint: str | None, **options: Any) -> Any:
        return sdk.Client(
            sdk.config.Config(
                region=self.backend.region.removeprefix("oss-"),  # `oss-cn-beijing` is how its hosts are called
                endpoint=endpoint,
                credentials_provider=sdk.credentials.StaticCredentialsProvider(
                    self.backend.access_key_id, self.backend.access_key_secret
                ),
                http_client=self.http,
                retry_max_attempts=TRIES,
                **options,
            )
        )

    def put(self, key: str, source: bytes | Path, *, content_type: str) -> None:
        with contextlib.ExitStack() as files, _told():
            body: Any = files.enter_context(source.open("rb")) if isinstance(source, Path) else source
            self.client.put_object(
                sdk.PutObjectRequest(bucket=self.backend.bucket, key=key, body=body, content_type=content_type)
            )

    def get(self, key: str, target: Path, *, part: tuple[int, int] | None = None) -> None:
        asked = sdk.GetObjectRequest(bucket=self.backend.bucket, key=key, range_header=asked_range(part))
        with _told(), self.http.line.into(target):
            self.client.get_object(asked)

    def delete(self, key: str) -> None:
        with _told():
            self.client.delete_object(sdk.DeleteObjectRequest(bucket=self.backend.bucket, key=key))

    def listing(self, prefix: str, *, page: int = MAX_LISTED) -> Iterator[Listed]:
        asked = sdk.ListObjectsV2Request(bucket=self.backend.bucket, prefix=prefix, max_keys=page)
        while True:
            with _told():
                found = self.client.list_objects_v2(asked)
            for item in found.contents or []:
                asked.start_after = item.key
                yield Listed(item.key, item.size)
            if not found.is_truncated or not found.contents:
                return

    def url(self, key: str, *, seconds: int) -> str:
        """Signed, under the custom domain where there is one: this signature holds for every host name."""
        domain = self.backend.custom_domain
        client = self._client(with_scheme(domain), use_cname=True) if domain else self.client
        request = sdk.GetObjectRequest(bucket=self.backend.bucket, key=key)
        with _told():
            url = str(client.presign(request, expires=timedelta(seconds=seconds)).url)
        return url.partition("?")[0] if self.backend.is_public else url

    @property
    def clock_skew_seconds(self) -> int | None:
        return self.http.line.clock_skew_seconds


class _Http(HttpClient):
    """The SDK's HTTP, over our transport."""

    def __init__(self, line: Line) -> None:
        self.line = line

    def send(self, request: HttpRequest, **_options: Any) -> HttpResponse:
        try:
            answer = self.line.send(request.method, request.url, request.headers, request.body)
        except OSError as error:  # made one that the SDK tries again
            raise exceptions.RequestError(error=f"{urlsplit(request.url).hostname}: {error}") from None
        return _Answer(request, *answer)

    def open(self) -> None:
        """Every call has a connection of its own."""

    def close(self) -> None:
        """Nothing is kept open."""


class _Answer(HttpResponse):
    def __init__(self, request: HttpRequest, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self._request, self._status, self._headers, self._body = request, status, headers, body

    request = property(lambda self: self._request)
    status_code = property(lambda self: self._status)
    headers = property(lambda self: self._headers)
    content = property(lambda self: self._body)
    reason = property(lambda self: "")
    is_closed = property(lambda self: True)
    is_stream_consumed = property(lambda self: True)

    def __enter__(self) -> HttpResponse:
        return self

    def __exit__(self, *_error: Any) -> None:
        self.close()

    def read(self) -> bytes:
        return self._body

    def close(self) -> None:
        """It was read whole."""

    def iter_bytes(self, **_options: Any) -> Iterator[bytes]:
        yield self._body


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """The SDK's errors as ours."""
    try:
        yield
    except exceptions.BaseError as error:
        cause = error.unwrap() if isinstance(error, exceptions.OperationError) else error
        if isinstance(cause, BucketProblem):
            raise cause from None
        if isinstance(cause, exceptions.ServiceError):
            raise problem(int(cause.status_code), str(cause.code), str(cause.message)) from None
        if isinstance(cause, exceptions.BucketNameInvalidError):
            raise BucketProblem("bucket") from None
        raise BucketProblem("not_reached") from None
