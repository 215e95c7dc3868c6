"""`/internal/storage/…` and `/internal/tenants/{id}/oss-config`"""

from django.urls import path

from storage.api import views

urlpatterns = [
    path("storage/record", views.StorageViewSet.as_view({"post": "record"})),
    path("storage/release", views.StorageViewSet.as_view({"post": "release"})),
    path("tenants/<str:tenant_id>/oss-config", views.OssConfigViewSet.as_view({"get": "retrieve"})),
    path("tenants/<str:tenant_id>/oss-config/test", views.OssConfigViewSet.as_view({"post": "test"})),
]
