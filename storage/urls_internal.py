"""`/internal/storage/…` and `/internal/tenants/{id}/oss-config`"""

from django.urls import path

from storage import api

urlpatterns = [
    path("storage/record", api.StorageViewSet.as_view({"post": "record"})),
    path("storage/release", api.StorageViewSet.as_view({"post": "release"})),
    path("tenants/<str:tenant_id>/oss-config", api.OssConfigViewSet.as_view({"get": "retrieve"})),
    path("tenants/<str:tenant_id>/oss-config/test", api.OssConfigViewSet.as_view({"post": "test"})),
]
