"""`/internal/tenants/…`"""

from django.urls import path

from tenants import api

urlpatterns = [path("tenants/by-apikey", api.TenantByKeyViewSet.as_view({"get": "list"}))]
