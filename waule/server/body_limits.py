"""How much of a request's body is received, decided by its head alone."""

import io
import logging
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.core.handlers.wsgi import WSGIRequest
from django.urls import Resolver404, resolve
from django.utils.module_loading import import_string
from rest_framework.exceptions import APIException
from rest_framework.request import Request

from waule.core.errors import WauleError

logger = logging.getLogger(__name__)


def body_limit(environ: dict[str, Any]) -> int:
    """Return how many bytes of the body are worth receiving: none for an address that there is not, MAX_BODY_BYTES for
    most, and what a resource takes beyond that (its `max_body_bytes`) only for a caller that it would let in.
    """
    try:
        match = resolve(environ["PATH_INFO"].encode("latin-1").decode(errors="replace"))
    except Resolver404:
        return 0
    view = getattr(match.func, "cls", None) or getattr(match.func, "view_class", None)
    limit: int = getattr(view, "max_body_bytes", settings.MAX_BODY_BYTES)
    if limit <= settings.MAX_BODY_BYTES or _is_known(environ, view):
        return limit
    return settings.MAX_BODY_BYTES


def _is_known(environ: dict[str, Any], view: Any) -> bool:
    """Return whether the head of the request authenticates its caller. The resource asks again when the body is there."""
    request = WSGIRequest(environ | {"wsgi.input": io.BytesIO(), "CONTENT_LENGTH": "0", "CONTENT_TYPE": ""})
    try:
        if settings.SESSION_COOKIE_NAME in request.COOKIES:
            engine = import_string(f"{settings.SESSION_ENGINE}.SessionStore")
            request.session = engine(request.COOKIES[settings.SESSION_COOKIE_NAME])
            request.user = get_user(request)
        asked = Request(request, authenticators=[each() for each in view.authentication_classes])
        return bool(asked.user and asked.user.is_authenticated)
    except (APIException, WauleError):
        return False
    except Exception:
        logger.exception("a caller could not be authenticated before its body")
        return False
