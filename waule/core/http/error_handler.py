"""Turns failures into answers: the one error shape for every path but `/v1`, OpenAI's shape for `/v1`."""

import logging
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError
from django.db.utils import load_backend
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from rest_framework import exceptions, status
from rest_framework.response import Response

from waule.core import errors

logger = logging.getLogger(__name__)
_driver: Any = load_backend(settings.DATABASES[DEFAULT_DB_ALIAS]["ENGINE"]).DatabaseWrapper.Database
# The driver's own besides: closing a server-side cursor is the one call whose errors Django does not wrap.
DATABASE_AWAY = (OperationalError, InterfaceError, _driver.OperationalError, _driver.InterfaceError)


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler. What nobody foresaw is logged with its traceback and answered without any detail."""
    request = context["request"]._request
    failure = as_waule_error(error)
    if failure is None:
        logger.error("unhandled exception", exc_info=error, extra={"path": request.path})
        failure = errors.WauleError()
    view = context.get("view")
    extra = getattr(view, "error_extra", None) or {}
    return Response(
        body(failure, request) | ({} if is_openai(request) else extra), status=failure.http_status, headers=headers(failure)
    )


def as_waule_error(error: Exception) -> errors.WauleError | None:
    """`error` as one of ours, or None for what nobody foresaw."""
    if isinstance(error, errors.WauleError):
        return error
    if isinstance(error, exceptions.ValidationError):
        return errors.InvalidRequest.of_fields(flatten(error.detail))
    if isinstance(error, exceptions.NotAuthenticated | exceptions.AuthenticationFailed):
        return errors.Unauthorized()
    if isinstance(error, PermissionDenied | exceptions.PermissionDenied):
        return errors.Forbidden()
    if isinstance(error, Http404 | exceptions.NotFound):
        return errors.NotFound()
    if isinstance(error, exceptions.MethodNotAllowed):
        return errors.MethodNotAllowed()
    if isinstance(error, exceptions.UnsupportedMediaType):
        return errors.UnsupportedMediaType()
    if isinstance(error, exceptions.ParseError):
        return errors.InvalidRequest(str(error.detail))
    if isinstance(error, DATABASE_AWAY):
        logger.error("database unavailable", exc_info=error)
        return errors.Unavailable()
    return None


def flatten(detail: Any, prefix: str = "") -> dict[str, list[str]]:
    """DRF's nested error detail as `{"a.b": ["why", …]}`."""
    if isinstance(detail, dict):
        result: dict[str, list[str]] = {}
        for name, inner in detail.items():
            path = f"{prefix}.{name}" if prefix else str(name)
            result |= flatten(inner, prefix if name == "non_field_errors" and prefix else path)
        return result
    if isinstance(detail, list) and any(isinstance(item, dict | list) for item in detail):
        result = {}
        for index, item in enumerate(detail):
            if item:
                result |= flatten(item, f"{prefix}.{index}" if prefix else str(index))
        return result
    return {prefix or "body": [str(item) for item in (detail if isinstance(detail, list) else [detail])]}


def is_openai(request: HttpRequest) -> bool:
    return request.path.startswith("/v1/")


def body(failure: errors.WauleError, request: HttpRequest) -> dict[str, Any]:
    """Return the answer's JSON, in the shape that this path speaks."""
    request.failure_code = failure.code  # type: ignore[attr-defined]  # for who counts rejections
    if is_openai(request):
        return openai_body(failure)
    return shape(failure) | {"requestId": getattr(request, "request_id", "")}


def openai_body(failure: errors.WauleError) -> dict[str, Any]:
    """Return the error in OpenAI's shape."""
    return {
        "error": {
            "message": str(failure),
            "type": _openai_type(failure.http_status),
            "param": next(iter(failure.details.get("fields", {})), None),
            "code": failure.code,
        }
    }


def shape(failure: errors.WauleError) -> dict[str, Any]:
    """Return the error shape without the request's id, as one item of a batch shows it."""
    return {"success": False, "error": str(failure), "code": failure.code, "details": failure.details}


def headers(failure: errors.WauleError) -> dict[str, str]:
    if failure.retry_after_seconds is not None:
        return {"Retry-After": str(max(1, failure.retry_after_seconds))}
    if failure.http_status == status.HTTP_401_UNAUTHORIZED:
        return {"WWW-Authenticate": "Bearer"}
    return {}


def _openai_type(http_status: int) -> str:
    known = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
    return known.get(http_status) or ("invalid_request_error" if http_status < 500 else "server_error")


def respond(failure: errors.WauleError, request: HttpRequest) -> HttpResponse:
    """The same answer outside of DRF."""
    return JsonResponse(
        body(failure, request),
        status=failure.http_status,
        headers=headers(failure),
        json_dumps_params={"ensure_ascii": False, "separators": (",", ":")},
    )


def speaks_json(request: HttpRequest) -> bool:
    """Return whether programs, not people, call this path."""
    return request.path.startswith(("/internal", "/api", "/v1", "/healthz", "/readyz", "/metrics")) or settings.DEBUG
