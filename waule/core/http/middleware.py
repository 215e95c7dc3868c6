"""What happens around every request."""

import re
import zoneinfo
from collections.abc import Callable
from contextvars import ContextVar

from django.http import HttpRequest, HttpResponse
from django.template.response import SimpleTemplateResponse
from django.utils import timezone, translation
from django.utils.cache import patch_vary_headers

from waule.core import logs
from waule.core.ids import uuid7

_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:\-]{1,128}")
Handler = Callable[[HttpRequest], HttpResponse]
# What is being answered now, for the audit log: verbs know no requests, yet it tells from where they were asked for.
current_request: ContextVar[HttpRequest | None] = ContextVar("current_request", default=None)


class RequestContext:
    """Gives each request an id (the caller's, if it is sane), says it in the answer and in every log line."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        sent = request.META.get("HTTP_X_REQUEST_ID", "")
        request_id = sent if sent and _SANE_REQUEST_ID.fullmatch(sent) else uuid7().hex
        request.request_id = request_id  # type: ignore[attr-defined]
        token, named = current_request.set(request), logs.request_id.set(request_id)
        try:
            response = self.get_response(request)
        finally:
            current_request.reset(token)
            logs.request_id.reset(named)
        response["X-Request-Id"] = request_id
        return response


def _rendered(response: HttpResponse) -> HttpResponse:
    """A template response is made into text later than a middleware thinks: now, while its language or zone holds."""
    if isinstance(response, SimpleTemplateResponse) and not response.is_rendered:
        response.render()
    return response


class AcceptedLanguage:
    """The reader's language for callers that have no session: from Accept-Language, where they send one."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if "HTTP_ACCEPT_LANGUAGE" not in request.META:
            return self.get_response(request)
        with translation.override(translation.get_language_from_request(request)):
            response = _rendered(self.get_response(request))
        patch_vary_headers(response, ("Accept-Language",))
        return response


class ReaderTimeZone:
    """Times are shown in the zone that the reader's browser named (cookie `time_zone`), else in TIME_ZONE."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        name = request.COOKIES.get("time_zone", "")
        if name and name in zoneinfo.available_timezones():
            with timezone.override(zoneinfo.ZoneInfo(name)):
                return _rendered(self.get_response(request))
        return self.get_response(request)


class ContentSecurityPolicy:
    """Strict everywhere; the admin's theme evaluates expressions and sets styles, so there it may."""

    strict = "default-src 'none'; frame-ancestors 'none'"
    pages = (
        "default-src 'self'; img-src 'self' data: https:; media-src 'self' https:; object-src 'none'; "
        "base-uri 'self'; form-action 'self'; frame-ancestors 'none'; style-src 'self' 'unsafe-inline'"
    )

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if request.path.startswith(("/admin/", "/console/")):
            policy = f"{self.pages}; script-src 'self' 'unsafe-eval'"
        elif request.path.startswith("/api/docs"):
            policy = f"{self.pages}; script-src 'self'"
        else:
            policy = self.strict
        response.setdefault("Content-Security-Policy", policy)
        return response
