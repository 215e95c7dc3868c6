"""The few answers that belong to no app: health, readiness, and errors outside of DRF."""

import logging
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views import defaults
from django.views.csrf import csrf_failure as csrf_page

from aiservices.monitoring import jobs_health
from storage import media as stored_media
from storage.checks import readiness
from waule.core import errors
from waule.core.admin import admin_page
from waule.core.http import error_handler
from waule.core.http import media as media_view
from waule.site import metrics as figures

STORAGE_SECONDS = 2.0  # for the bucket to say how it is, before what was last known is answered
logger = logging.getLogger(__name__)


def home(request: HttpRequest) -> HttpResponse:
    return redirect("admin:index")


def console_home(request: HttpRequest) -> HttpResponse:
    return redirect("console:index")


def healthz(request: HttpRequest) -> HttpResponse:
    """200 while the process lives."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> HttpResponse:
    """200 when the database answers and has every migration, else 503; the body also tells of storage, workers, broker."""
    try:
        executor = MigrationExecutor(connection)
        missing = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
        jobs = {} if missing else jobs_health.state()
    except Exception as error:  # whatever it is, this process is not ready
        logger.warning("not ready: %s", type(error).__name__)
        return JsonResponse({"status": "unavailable", "reason": "The database does not answer."}, status=503)
    if missing:
        reason = f"{missing} migrations are missing. Run: python manage.py migrate"
        return JsonResponse({"status": "unavailable", "reason": reason}, status=503)
    problem = readiness.platform_state(STORAGE_SECONDS)
    stored = {"storage": "ok"} if problem is None else {"storage": "down", "reason": str(problem)}
    return JsonResponse({"status": "ok"} | jobs | stored)


def media(request: HttpRequest, path: str) -> HttpResponseBase:
    """A result: the file, or, where it has moved into a bucket since, the way to it."""
    answer = media_view.media(request, path)
    if answer.status_code == 404 and (address := stored_media.moved_to(path)) is not None:
        answer = redirect(address)
        answer["Cache-Control"] = "no-store"  # its address expires
    return answer


def metrics(request: HttpRequest) -> HttpResponse:
    """The figures for Prometheus: from this machine, or with METRICS_TOKEN; else 403."""
    try:
        return figures.metrics(request)
    except errors.Forbidden as rejection:
        return error_handler.respond(rejection, request)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    host = request.META.get("HTTP_HOST", "")
    unknown = _("This server does not go by the name %(host)s. Whoever runs it adds the name to ALLOWED_HOSTS.") % {"host": host}
    error = errors.InvalidRequest(unknown if isinstance(exception, DisallowedHost) else None)
    if error_handler.speaks_json(request):
        return error_handler.respond(error, request)
    return _page_alone(request, error) or defaults.bad_request(request, exception)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    if error_handler.speaks_json(request):
        return error_handler.respond(errors.Forbidden(), request)
    return _refused(request, errors.Forbidden()) or defaults.permission_denied(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if error_handler.speaks_json(request):
        return error_handler.respond(errors.NotFound(), request)
    return _refused(request, errors.NotFound()) or defaults.page_not_found(request, exception)


def _refused(request: HttpRequest, error: errors.WauleError, **context: Any) -> HttpResponse | None:
    """Return the answer for people at the admin or the console, in their language and with a way out."""
    if not request.path.startswith(("/admin/", "/console/")):
        return None
    return admin_page(request, "admin/refused.html", title=str(error), status=error.http_status, **context).render()


def server_error(request: HttpRequest) -> HttpResponse:
    if error_handler.speaks_json(request):
        return error_handler.respond(errors.WauleError(), request)
    return _page_alone(request, errors.WauleError()) or defaults.server_error(request)


def _page_alone(request: HttpRequest, error: errors.WauleError) -> HttpResponse | None:
    """Return a page without the admin's frame, which asks for the user and the database: those may be what is missing."""
    about = {
        "title": str(error),
        "is_our_fault": error.http_status >= 500,
        "request_id": getattr(request, "request_id", ""),
        "language": get_language(),
        "again": request.path,
    }
    try:
        return HttpResponse(render_to_string("failure.html", about), status=error.http_status)
    except Exception:
        logger.exception("a page for failures could not be drawn")
        return None


def csrf_failure(request: HttpRequest, reason: str = "", **kwargs: Any) -> HttpResponse:
    if error_handler.speaks_json(request):
        return error_handler.respond(errors.Forbidden(f"CSRF check failed: {reason}"), request)
    stale = _("This page was open for too long, or the browser keeps no cookies. Load it again, and send it once more.")
    return _refused(request, errors.Forbidden(stale), again=request.path) or csrf_page(request, reason=reason, **kwargs)


def locked_out(request: HttpRequest, credentials: Any = None, *args: Any, **kwargs: Any) -> HttpResponse:
    """After too many failed logins: 429, as a page or in the one error shape."""
    failure = errors.RateLimited(
        _("Too many failed attempts. Try again later."), retry_after_seconds=int(settings.AXES_COOLOFF_TIME * 3600)
    )
    return too_many_logins(request, failure)


class LimitedLogins:
    """Answers pages whose login was refused for the address's sake."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        return too_many_logins(request, exception) if isinstance(exception, errors.RateLimited) else None


def too_many_logins(request: HttpRequest, failure: errors.RateLimited) -> HttpResponse:
    if error_handler.speaks_json(request):
        return error_handler.respond(failure, request)
    minutes = max(1, round((failure.retry_after_seconds or 60) / 60))
    response = admin_page(request, "admin/locked_out.html", title=_("Locked out"), minutes=minutes, status=failure.http_status)
    for name, value in error_handler.headers(failure).items():
        response[name] = value
    return response.render()
