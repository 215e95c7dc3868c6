"""S3-compatible buckets, through boto3."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.awsrequest import AWSResponse, HeadersDict
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError

from storage.drivers.base import MAX_LISTED, TRIES, Backend, Driver, Line, Listed, asked_range, problem, with_scheme
from storage.errors import BucketProblem

DEFAULT_REGION = "us-east-1"
# Clouds that want the bucket in the host's name. MinIO, Ceph and the like are sure to understand it in the path.
_BUCKET_IN_HOST = (".amazonaws.com", ".amazonaws.com.cn", ".aliyuncs.com", ".myqcloud.com", ".volces.com")


class S3Driver(Driver):
    name = "s3"

    def __init__(self, backend: Backend) -> None:
        backend.require("bucket", "access_key_id", "access_key_secret")
        self.backend = backend
        self.line = Line(is_operators=backend.is_operators)
        endpoint = with_scheme(backend.endpoint) if backend.endpoint else None
        in_host = endpoint is None or (urlsplit(endpoint).hostname or "").endswith(_BUCKET_IN_HOST)
        try:
            self.client: Any = boto3.session.Session().client(
                "s3",
                region_name=backend.region or DEFAULT_REGION,
                endpoint_url=endpoint,
                aws_access_key_id=backend.access_key_id,
                aws_secret_access_key=backend.access_key_secret,
                config=Config(
                    signature_version="s3v4",
                    s3={"addressing_style": "virtual" if in_host else "path"},
                    retries={"mode": "standard", "total_max_attempts": TRIES},
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                ),
            )
        except (BotoCoreError, ValueError):
            raise BucketProblem("not_reached") from None
        self.client.meta.events.register("before-send.s3", self._send)

    def put(self, key: str, source: bytes | Path, *, content_type: str) -> None:
        with contextlib.ExitStack() as files, _told():
            body = files.enter_context(source.open("rb")) if isinstance(source, Path) else source
            self.client.put_object(Bucket=self.backend.bucket, Key=key, Body=body, ContentType=content_type)

    def get(self, key: str, target: Path, *, part: tuple[int, int] | None = None) -> None:
        asked = {"Range": asked_range(part)} if part else {}
        with _told(), self.line.into(target):
            self.client.get_object(Bucket=self.backend.bucket, Key=key, **asked)

    def delete(self, key: str) -> None:
        with _told():
            self.client.delete_object(Bucket=self.backend.bucket, Key=key)

    def listing(self, prefix: str, *, page: int = MAX_LISTED) -> Iterator[Listed]:
        asked = {"Bucket": self.backend.bucket, "Prefix": prefix, "MaxKeys": page}
        while True:
            with _told():
                found = self.client.list_objects_v2(**asked)
            for item in found.get("Contents", []):
                asked["StartAfter"] = item["Key"]
                yield Listed(item["Key"], item["Size"])
            if not found.get("IsTruncated") or not found.get("Contents"):
                return

    def url(self, key: str, *, seconds: int) -> str:
        """Signed; but plain under a custom domain, since this signature holds for one host name only."""
        if self.backend.custom_domain:
            return f"{with_scheme(self.backend.custom_domain)}/{key}"
        url: str = self.client.generate_presigned_url(
            "get_object", Params={"Bucket": self.backend.bucket, "Key": key}, ExpiresIn=seconds
        )
        return url.partition("?")[0] if self.backend.is_public else url

    @property
    def clock_skew_seconds(self) -> int | None:
        return self.line.clock_skew_seconds

    def _send(self, request: Any, **_event: Any) -> AWSResponse:
        """Stands in for botocore's own HTTP: a response that a handler of `before-send` gives is taken as the answer."""
        headers = {name: value.decode() if isinstance(value, bytes) else value for name, value in request.headers.items()}
        try:
            status, answered, body = self.line.send(request.method, request.url, headers, request.body)
        except OSError as error:  # made one that botocore tries again
            raise EndpointConnectionError(endpoint_url=urlsplit(request.url).hostname, error=error) from None
        return AWSResponse(request.url, status, HeadersDict(answered), _Body(body))


class _Body(io.BytesIO):
    def stream(self, *_arguments: Any, **_options: Any) -> Iterator[bytes]:
        yield self.read()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """botocore's errors as ours."""
    try:
        yield
    except ClientError as error:
        answer = error.response
        told = answer.get("Error", {})
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        raise problem(status, str(told.get("Code", "")), str(told.get("Message", ""))) from None
    except BotoCoreError:
        raise BucketProblem("not_reached") from None
