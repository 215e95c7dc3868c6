"""Alibaba Cloud OSS as it behaves on the wire, for one region: objects of one bucket, and signatures of version 4.

Written from the service's public description of the signature, not from an SDK, so that both must agree.
"""

import hashlib
import hmac
import re
import time
from calendar import timegm
from collections.abc import Mapping
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

MAX_SKEW_SECONDS = 900


class OssService:
    """Bucket `shelf` in `cn-test`; key id `LTAI-known`, secret `oss-secret-0001`."""

    bucket, region, key_id, secret = "shelf", "cn-test", "LTAI-known", "oss-secret-0001"

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, str]] = {}
        self.rejections: list[int] = []  # statuses that the next calls get
        self.clock_offset_seconds = 0
        self.server = HTTPServer(host="127.0.0.1", port=0)
        self.server.expect_request(re.compile(".*")).respond_with_handler(self.answer)
        self.server.start()

    @property
    def url(self) -> str:
        return self.server.url_for("").rstrip("/")

    def stop(self) -> None:
        self.server.clear()
        if self.server.is_running():
            self.server.stop()

    def answer(self, request: Request) -> Response:
        if self.rejections:
            return reject(self.rejections.pop(0), "InternalError", "try again")
        _slash, bucket, *rest = unquote(request.path).split("/", 2)
        key = rest[0] if rest else ""
        if (rejection := self.rejection(request, bucket, key)) is not None:
            return rejection
        if bucket != self.bucket:
            return reject(404, "NoSuchBucket", "The specified bucket does not exist.")
        if not key:
            return self.listed(request)
        if request.method == "PUT":
            self.objects[key] = (request.get_data(), request.headers.get("Content-Type", ""))
            return Response(status=200)
        if request.method == "DELETE":
            self.objects.pop(key, None)
            return Response(status=204)
        if key not in self.objects:
            return reject(404, "NoSuchKey", "The specified key does not exist.")
        content, content_type = self.objects[key]
        if asked := re.fullmatch("bytes=([0-9]+)-([0-9]+)", request.headers.get("Range", "")):
            return Response(content[int(asked[1]) : int(asked[2]) + 1], status=206, content_type=content_type)
        return Response(content, content_type=content_type)

    def listed(self, request: Request) -> Response:
        prefix, limit = request.args.get("prefix", ""), int(request.args.get("max-keys", 100))
        after = request.args.get("start-after", "")
        every = [key for key in sorted(self.objects) if key.startswith(prefix) and key > after]
        found, is_truncated = every[:limit], str(len(every) > limit).lower()
        items = f"<IsTruncated>{is_truncated}</IsTruncated>"
        items += "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.objects[key][0])}</Size></Contents>" for key in found
        )
        return xml(
            200,
            f"<ListBucketResult><Name>{self.bucket}</Name>{items}</ListBucketResult>",
        )

    # --- signatures ------------------------------------------------------------------------------------------------

    def rejection(self, request: Request, bucket: str, key: str) -> Response | None:
        """What is wrong with the signature, in the header or in the query."""
        pairs = [tuple((pair + "=").split("=", 2)[:2]) for pair in request.query_string.decode().split("&") if pair]
        query = dict(pairs)
        header = request.headers.get("Authorization", "")
        if header:
            fields = dict(part.strip().split("=", 1) for part in header.removeprefix("OSS4-HMAC-SHA256").split(","))
            credential, signature, timestamp = fields["Credential"], fields["Signature"], request.headers["x-oss-date"]
        elif "x-oss-signature" in query:
            credential, signature = unquote(query["x-oss-credential"]), query.pop("x-oss-signature")
            timestamp = query["x-oss-date"]
        else:
            return reject(403, "AccessDenied", "You have no right to access this object because of bucket acl.")
        key_id, day, region, product, _end = credential.split("/")
        signed_at = timegm(time.strptime(timestamp, "%Y%m%dT%H%M%SZ")) + self.clock_offset_seconds
        if key_id != self.key_id:
            return reject(403, "InvalidAccessKeyId", "The OSS Access Key Id you provided does not exist in our records.")
        if region != self.region:
            return reject(400, "InvalidArgument", f"Invalid signing region in Authorization header: {region}")
        if header and abs(time.time() - signed_at) > MAX_SKEW_SECONDS:
            return reject(403, "RequestTimeTooSkewed", "The difference between the request time and the time is too large.")
        if not header and time.time() > signed_at + int(query["x-oss-expires"]):
            return reject(403, "AccessDenied", "Request has expired.")
        signed = canonical(request.method, f"/{bucket}/{key}", query, request.headers)
        text = "\n".join(
            [
                "OSS4-HMAC-SHA256",
                timestamp,
                f"{day}/{region}/{product}/aliyun_v4_request",
                hashlib.sha256(signed.encode()).hexdigest(),
            ]
        )
        step = f"aliyun_v4{self.secret}".encode()
        for part in (day, region, product, "aliyun_v4_request", text):
            step = hmac.new(step, part.encode(), hashlib.sha256).digest()
        if step.hex() != signature:
            return reject(403, "SignatureDoesNotMatch", "The request signature we calculated does not match.")
        return None


def canonical(method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    asked = "&".join(f"{name}={value}" if value else name for name, value in sorted(query.items()))
    signed = sorted(
        (name.lower(), value.strip())
        for name, value in headers.items()
        if name.lower().startswith("x-oss-") or name.lower() in ("content-type", "content-md5")
    )
    named = "".join(f"{name}:{value}\n" for name, value in signed)
    return "\n".join([method, quote(path), asked, named, "", headers.get("x-oss-content-sha256", "UNSIGNED-PAYLOAD")])


def reject(status: int, code: str, message: str) -> Response:
    return xml(status, f"<Error><Code>{code}</Code><Message>{message}</Message></Error>")


def xml(status: int, text: str) -> Response:
    return Response(f'<?xml version="1.0" encoding="UTF-8"?>\n{text}', status=status, content_type="application/xml")
