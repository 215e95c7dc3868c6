"""What every REST resource stands on: strict JSON in, one error shape out, and no work that nobody asked for."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, cast

import orjson
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext_lazy as _
from rest_framework import viewsets
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.encoders import JSONEncoder

from waule.core.auth.internal_auth import HasInternalSecret, InternalSecretAuthentication
from waule.core.errors import InvalidRequest
from waule.core.http import strict_json
from waule.core.http.fields import BodySerializer
from waule.core.http.strict_parser import StrictJSONParser, read_limited

MAX_IDEMPOTENCY_KEY_LENGTH = 255


class ApiViewSet(viewsets.ViewSet):
    """A resource. An action reads the body (`read_body`), calls a verb and answers."""

    parser_classes = [StrictJSONParser]
    renderer_classes = [JSONRenderer]
    max_body_bytes: int = settings.MAX_BODY_BYTES

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Do what DRF's does for resources that neither negotiate content, nor have versions, nor throttle.

        Authentication happens where a permission class asks for the user. A failure goes the way of DRF's own dispatch.
        """
        self.args, self.kwargs, self.headers, self.format_kwarg = args, kwargs, {}, None
        self.request = self.initialize_request(request, *args, **kwargs)
        try:
            self.check_permissions(self.request)
            response = self._handler(request)(self.request, *args, **kwargs)
            if isinstance(response, Answer) or not isinstance(response, Response):
                return response
        except Exception as error:  # DRF's handler words what was foreseen and logs the rest
            response = self.handle_exception(error)
        self.headers = self.default_response_headers
        self.request.accepted_renderer, self.request.accepted_media_type = self.perform_content_negotiation(self.request)
        self.response = self.finalize_response(self.request, response, *args, **kwargs)
        return self.response

    def _handler(self, request: HttpRequest) -> Any:
        name = (request.method or "").lower()
        found = getattr(self, name, None) if name in self.http_method_names else None
        return found or self.http_method_not_allowed

    def get_parsers(self) -> list[Any]:
        return _instances(tuple(self.parser_classes))

    def get_authenticators(self) -> list[Any]:
        return _instances(tuple(self.authentication_classes))

    def get_permissions(self) -> list[Any]:
        return _instances(tuple(self.permission_classes))

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        renderer = self.renderer_classes[0]()
        return renderer, renderer.media_type

    def read_body(self, request: Request, serializer: BodySerializer) -> dict[str, Any]:
        """Return the body's fields as the house names them. `serializer` is built once, at import: it keeps no state."""
        data = self._body_of(request)
        if not isinstance(data, Mapping):
            raise InvalidRequest.of_field("body", _("Send a JSON object."))
        return cast(dict[str, Any], serializer.run_validation(data))

    def _body_of(self, request: Request) -> Any:
        """Return the parsed body. The usual content type needs no choice of a parser."""
        sent = request._request
        if sent.META.get("CONTENT_TYPE") != "application/json" or sent.META.get("CONTENT_LENGTH") in (None, "", "0"):
            return request.data
        return strict_json.parse(read_limited(sent, sent.META["CONTENT_LENGTH"], self.max_body_bytes))

    def read_query(self, request: Request, serializer: BodySerializer) -> dict[str, Any]:
        """Return the query's parameters, each at most once."""
        query = request._request.META.get("QUERY_STRING", "")
        if query.isascii() and query.isprintable() and not {"%", "+", ";"} & set(query):  # nothing to decode
            values = dict(pair.split("=", 1) for pair in query.split("&") if "=" in pair)
            if values and len(values) == query.count("&") + 1:
                return cast(dict[str, Any], serializer.run_validation(values))
        values = {}
        for name, given in request._request.GET.lists():
            strict_json.check_text(name)
            if len(given) > 1:
                raise InvalidRequest.of_field(name, _("Give this parameter once."))
            strict_json.check_text(given[0])
            values[name] = given[0]
        return cast(dict[str, Any], serializer.run_validation(values))


@cache
def _instances(classes: tuple[type, ...]) -> list[Any]:
    """Parsers, authenticators and permissions keep no state: one of each serves all requests."""
    return [one() for one in classes]


class InternalViewSet(ApiViewSet):
    """A resource of `/internal`. `scope` is what a caller must have to use it."""

    authentication_classes = [InternalSecretAuthentication]
    permission_classes = [HasInternalSecret]
    scope: str


def idempotency_key(request: Request, *, required: bool = False) -> str | None:
    """Return the `Idempotency-Key` header: 1 to 255 printable ASCII characters without spaces at its ends.

    Raises:
        InvalidRequest: malformed, or missing where it is required.
    """
    sent = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if sent is None:
        if required:
            raise InvalidRequest.of_field("Idempotency-Key", _("This call needs the header Idempotency-Key."))
        return None
    # The server joins a header that came twice with a comma. A key may have a comma; the same key twice is no key.
    half = len(sent) // 2
    if len(sent) % 2 and sent[half] == "," and sent[:half] == sent[half + 1 :]:
        raise InvalidRequest.of_field("Idempotency-Key", _("Send this header once."))
    return check_idempotency_key(sent)


def check_idempotency_key(key: str) -> str:
    """`key`, if it is a legal idempotency key."""
    if not 1 <= len(key) <= MAX_IDEMPOTENCY_KEY_LENGTH or not key.isascii() or not key.isprintable() or key != key.strip():
        raise InvalidRequest.of_field("Idempotency-Key", _("Use 1 to 255 printable ASCII characters without spaces at the ends."))
    return key


class Answer(Response):
    """A response of DRF that is rendered when it is made: there is one renderer, and nothing is added later."""

    def __init__(self, data: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self.data = data
        self._post_render_callbacks: list[Any] = []
        HttpResponse.__init__(self, encode(data), status=status, content_type="application/json", headers=headers)


def encode(data: Any) -> bytes:
    """`data` as JSON. What orjson does not know (a lazy translation, a decimal) is written as DRF writes it."""
    try:
        return orjson.dumps(data)
    except TypeError:
        return json.dumps(data, cls=JSONEncoder, ensure_ascii=False, separators=(",", ":")).encode()


def answer(data: Mapping[str, Any], *, status: int = 200, replayed: bool = False) -> Response:
    """Return a successful answer; a replay says so in `Idempotent-Replayed`."""
    return Answer(data, status=status, headers={"Idempotent-Replayed": "true"} if replayed else None)


MAX_VERSION_LENGTH = 64


def expected_version(request: Request, body: dict[str, Any]) -> str | None:
    """Return the version that the caller has read: the body's `version`, or the header `If-Match`. None: any will do."""
    sent = body.pop("version", None) or request.META.get("HTTP_IF_MATCH", "").strip().removeprefix("W/").strip('"')
    return None if sent in ("", "*") else str(sent)


def versioned_answer(data: Mapping[str, Any]) -> Response:
    """Return an answer about one row, whose `version` is its `ETag` as well."""
    response = answer(data)
    response["ETag"] = f'"{data["version"]}"'
    return response
