"""The few answers that belong to no app: health, readiness, and errors outside of DRF."""

from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views import defaults
from django.views.csrf import csrf_failure as csrf_page

from waule import error_handler, errors
from waule import metrics as figures
from waule.admin_kit import admin_page


def home(request: HttpRequest) -> HttpResponse:
    return redirect("admin:index")


def healthz(request: HttpRequest) -> HttpResponse:
    """200 while the process lives."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> HttpResponse:
    """200 when the database answers and has every migration, else 503."""
    try:
        executor = MigrationExecutor(connection)
        missing = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    except DatabaseError:
        return JsonResponse({"status": "unavailable", "reason": "The database does not answer."}, status=503)
    if missing:
        reason = f"{missing} migrations are missing. Run: python manage.py migrate"
        return JsonResponse({"status": "unavailable", "reason": reason}, status=503)
    return JsonResponse({"status": "ok"})


def metrics(request: HttpRequest) -> HttpResponse:
    """The figures for Prometheus: from this machine, or with METRICS_TOKEN; else 403."""
    try:
        return figures.metrics(request)
    except errors.Forbidden as refusal:
        return error_handler.respond(refusal, request)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if error_handler.speaks_json(request):
        return error_handler.respond(errors.InvalidRequest(), request)
    return defaults.bad_request(request, exception)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    if error_handler.speaks_json(request):
        return error_handler.respond(errors.Forbidden(), request)
    return defaults.permission_denied(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if error_handler.speaks_json(request):
        return error_handler.respond(errors.NotFound(), request)
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    if error_handler.speaks_json(request):
        return error_handler.respond(errors.WauleError(), request)
    return defaults.server_error(request)


def csrf_failure(request: HttpRequest, reason: str = "", **kwargs: Any) -> HttpResponse:
    if error_handler.speaks_json(request):
        return error_handler.respond(errors.Forbidden(f"CSRF check failed: {reason}"), request)
    return csrf_page(request, reason=reason, **kwargs)


def locked_out(request: HttpRequest, credentials: Any = None, *args: Any, **kwargs: Any) -> HttpResponse:
    """After too many failed logins: 429, as a page or in the one error shape."""
    failure = errors.RateLimited(
        _("Too many failed attempts. Try again later."), retry_after_seconds=int(settings.AXES_COOLOFF_TIME * 3600)
    )
    if error_handler.speaks_json(request):
        return error_handler.respond(failure, request)
    minutes = max(1, round(settings.AXES_COOLOFF_TIME * 60))
    response = admin_page(request, "admin/locked_out.html", title=_("Locked out"), minutes=minutes, status=failure.http_status)
    for name, value in error_handler.headers(failure).items():
        response[name] = value
    return response.render()
