"""https where SECURE_SSL_REDIRECT is set."""

from collections.abc import Callable

from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest, HttpResponse, HttpResponsePermanentRedirect

from waule.core.errors import HttpsRequired
from waule.core.http import error_handler

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})  # asked by machines beside the server
SECRET_PATHS = ("/internal/", "/v1/")


class HttpsOnly:
    """Plain http is answered with a redirect, and with 403 where the request has shown a secret already.

    Left out of the chain where neither SECURE_SSL_REDIRECT nor HSTS_SECONDS is set.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        if not (settings.SECURE_SSL_REDIRECT or settings.HSTS_SECONDS):
            raise MiddlewareNotUsed
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.is_secure():
            response = self.get_response(request)
            if settings.HSTS_SECONDS:
                response.setdefault("Strict-Transport-Security", f"max-age={settings.HSTS_SECONDS}")
            return response
        if not settings.SECURE_SSL_REDIRECT or request.path in OPEN_PATHS:
            return self.get_response(request)
        if f"{request.path}/".startswith(SECRET_PATHS):
            return error_handler.respond(HttpsRequired(), request)
        return HttpResponsePermanentRedirect(f"https://{request.get_host()}{request.get_full_path()}")
