"""Every address. No path ends in a slash but those of the admin."""

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView

from aiservices import urls_credentials
from waule import media_view, views

urlpatterns = [
    path("", views.home),
    path("admin", views.home),
    path("admin/i18n/", include("django.conf.urls.i18n")),
    path("admin/", admin.site.urls),
    path("healthz", views.healthz),
    path("readyz", views.readyz),
    path("metrics", views.metrics),
    path("media/<path:path>", media_view.media),
    path("api/schema", SpectacularJSONAPIView.as_view(), name="schema"),
    path("api/docs", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    path("internal/", include("billing.urls_internal")),
    path("internal/", include("tenants.urls_internal")),
    path("internal/", include("storage.urls_internal")),
    path("api/", include("tenants.urls_api")),
    path("api/", include("billing.urls_api")),
    path("internal/", include("aiservices.urls_internal")),
    path("internal/", include(urls_credentials.internal)),
    path("api/admin/ai-services/", include(urls_credentials.staff)),
    path("api/", include("aiservices.urls_api")),
    path("v1/", include("aiservices.urls_v1")),
]

handler400 = "waule.views.bad_request"
handler403 = "waule.views.forbidden"
handler404 = "waule.views.not_found"
handler500 = "waule.views.server_error"
