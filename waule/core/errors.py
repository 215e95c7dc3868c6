"""Every failure that waule reports to a caller: one class each, with its code and HTTP status.

Raise the class where the fact is known. `waule.core.http.error_handler` renders it for the APIs, a command turns it into a
`CommandError`, the admin into a form error. The codes are those of the contract.
"""

from collections.abc import Mapping
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class WauleError(Exception):
    """A rejection or failure with a code for machines and a sentence for people."""

    code = "internal_error"
    http_status = 500
    message: str | Promise = _("Something went wrong on our side.")

    def __init__(
        self,
        message: str | Promise | None = None,
        *,
        retry_after_seconds: int | None = None,
        **details: Any,
    ) -> None:
        if message is not None:
            self.message = message
        self.details: dict[str, Any] = details
        self.retry_after_seconds = retry_after_seconds
        super().__init__(self.message)

    def __str__(self) -> str:
        return str(self.message)


class InvalidRequest(WauleError):
    """400: a field is missing, malformed or out of bounds. `details.fields` names each."""

    code = "invalid_request"
    http_status = 400
    message = _("The request is not valid.")

    @classmethod
    def of_fields(cls, fields: Mapping[str, list[str]]) -> "InvalidRequest":
        """Return the error for these fields; its sentence names the first one."""
        name, problems = next(iter(fields.items()))
        return cls(f"{name}: {problems[0]}", fields=dict(fields))

    @classmethod
    def of_field(cls, name: str, problem: str | Promise) -> "InvalidRequest":
        return cls.of_fields({name: [str(problem)]})


class UnsupportedParameter(InvalidRequest):
    """400: who makes this model's images or videos cannot honour a parameter (`details.param`). Nothing was charged."""

    code = "unsupported_parameter"

    def __init__(self, param: str, value: Any = None, *, message: str | Promise | None = None) -> None:
        said = _("This model does not support %(param)s.") % {"param": param}
        if value is not None:
            said = _("This model does not support %(param)s: %(value)s.") % {"param": param, "value": str(value)[:100]}
        said = str(message) if message is not None else said
        super().__init__(said, param=param, fields={param: [said]})


class InvalidJSON(WauleError):
    code = "invalid_json"
    http_status = 400
    message = _("The body is not valid JSON.")


class Unauthorized(WauleError):
    code = "unauthorized"
    http_status = 401
    message = "Unauthorized"


class Forbidden(WauleError):
    code = "forbidden"
    http_status = 403
    message = _("You are not allowed to do this.")


class NotFound(WauleError):
    code = "not_found"
    http_status = 404
    message: str | Promise = _("There is nothing here.")


class MethodNotAllowed(WauleError):
    code = "method_not_allowed"
    http_status = 405
    message = _("This address does not answer to that method.")


class RequestTimeout(WauleError):
    """408: the body did not arrive in time."""

    code = "request_timeout"
    http_status = 408
    message = _("The request body did not arrive within 30 seconds.")


class HttpsRequired(WauleError):
    """403: a secret was sent in the clear; a redirect would only hide it."""

    code = "https_required"
    http_status = 403
    message = _("Use https. What was sent over plain http may have been read: replace the key.")


class InvalidState(WauleError):
    """409: the object is in a state (`details.state`) that does not allow this."""

    code = "invalid_state"
    http_status = 409


class Duplicate(WauleError):
    code = "duplicate"
    http_status = 409
    message = _("This is already there.")


class Conflict(WauleError):
    """409: the object was changed since the caller read it (`details.version` is that of now). Nothing was changed."""

    code = "conflict"
    http_status = 409
    message = _("Somebody else has changed this meanwhile. Read it again; nothing was changed.")


class TooLarge(WauleError):
    code = "too_large"
    http_status = 413
    message = _("The request body is too large.")


class UnsupportedMediaType(WauleError):
    code = "unsupported_media_type"
    http_status = 415
    message = _("Send JSON: Content-Type: application/json.")


class IdempotencyKeyReused(WauleError):
    code = "idempotency_key_reused"
    http_status = 422
    message = _("This Idempotency-Key was used before with another body. Use a new key for a new request.")


class RateLimited(WauleError):
    code = "rate_limited"
    http_status = 429
    message = _("Too many requests.")


class NotConfigured(WauleError):
    """503: a setting that this call needs is missing."""

    code = "not_configured"
    http_status = 503
    message = _("This is not configured on the server.")


class StorageUnavailable(WauleError):
    """503: what would be made, or was, cannot be stored now: a full disk, or a bucket that is away (`details.reason`)."""

    code = "storage_unavailable"
    http_status = 503
    message = _("Results cannot be stored at the moment. Try again later.")

    def __init__(self, message: str | Promise | None = None, **details: Any) -> None:
        details.setdefault("retry_after_seconds", 30)
        super().__init__(message, **details)


class Unavailable(WauleError):
    """503: try again later; nothing was changed."""

    code = "unavailable"
    http_status = 503
    message = _("The service is busy. Try again.")

    def __init__(self, message: str | Promise | None = None, **details: Any) -> None:
        details.setdefault("retry_after_seconds", 1)
        super().__init__(message, **details)
