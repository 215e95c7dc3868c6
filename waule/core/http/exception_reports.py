"""Exception reports without secrets: where they are made, nobody knows which of a frame's values are some."""

from typing import Any

from django.http import HttpRequest
from django.views.debug import ExceptionReporter, SafeExceptionReporterFilter

from waule.core.logs import HIDDEN, redact_text


class Report(ExceptionReporter):
    """Without the query string, which may carry a secret as well as a body does."""

    def get_traceback_data(self) -> dict[str, Any]:
        data: dict[str, Any] = super().get_traceback_data()
        if self.request is not None:
            data["request_GET_items"] = [(name, HIDDEN) for name in self.request.GET]
            data["request_insecure_uri"] = self.request.path
        return data


class ReportFilter(SafeExceptionReporterFilter):
    """Names of variables and their types, but no values; names of what was posted, but no values."""

    def is_active(self, request: HttpRequest | None) -> bool:
        return True

    def get_traceback_frame_variables(self, request: HttpRequest | None, tb_frame: Any) -> Any:
        return [(name, f"<{type(value).__name__}>") for name, value in tb_frame.f_locals.items()]

    def get_post_parameters(self, request: HttpRequest | None) -> dict[str, str]:
        return dict.fromkeys(getattr(request, "POST", {}), HIDDEN) if request is not None else {}

    def get_cleansed_multivaluedict(self, request: HttpRequest, multivaluedict: Any) -> Any:
        return dict.fromkeys(multivaluedict, HIDDEN)

    def get_safe_cookies(self, request: HttpRequest) -> dict[str, Any]:
        return dict.fromkeys(request.COOKIES, HIDDEN)

    def get_safe_request_meta(self, request: HttpRequest) -> dict[str, Any]:
        """Headers are hidden by how they look as well as by their names."""
        meta = super().get_safe_request_meta(request)
        return {name: self._header(name, value) for name, value in meta.items()}

    def _header(self, name: str, value: Any) -> Any:
        if name.startswith("HTTP_X_") or name in ("HTTP_AUTHORIZATION", "HTTP_COOKIE", "QUERY_STRING"):
            return HIDDEN
        return redact_text(value) if isinstance(value, str) else value
