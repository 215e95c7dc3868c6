"""Every address. No path ends in a slash but those of the admin."""

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularSwaggerSplitView

import waule.console.lists  # noqa: F401  (registers the pages)
from aiservices.api import urls_credentials, urls_v1
from waule.console.site import console_site
from waule.site import views
from waule.site.openapi.view import SchemaView

urlpatterns = [
    path("", views.home),
    path("admin", views.home),
    path("admin/i18n/", include("django.conf.urls.i18n")),
    path("admin/", admin.site.urls),
    path("console", views.console_home),
    path("console/", console_site.urls),
    path("healthz", views.healthz),
    path("readyz", views.readyz),
    path("metrics", views.metrics),
    path("media/<path:path>", views.media),
    path("api/schema", SchemaView.as_view(), name="schema"),
    path("api/docs", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    path("internal/", include("billing.api.urls_internal")),
    path("internal/", include("storage.api.urls_internal")),
    *urls_v1.bare,
    path("api/", include("tenants.api.urls")),
    path("api/", include("billing.api.urls_platform")),
    path("internal/", include("aiservices.api.urls_internal")),
    path("internal/", include(urls_credentials.internal)),
    path("api/admin/ai-services/", include(urls_credentials.staff)),
    path("api/", include("aiservices.api.urls_platform")),
    path("v1/", include("aiservices.api.urls_v1")),
]

handler400 = "waule.site.views.bad_request"
handler403 = "waule.site.views.forbidden"
handler404 = "waule.site.views.not_found"
handler500 = "waule.site.views.server_error"
