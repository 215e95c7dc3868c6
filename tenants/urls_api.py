"""`/api/auth/…`"""

from django.urls import path

from tenants import api_users

urlpatterns = [
    path("auth/token", api_users.TokenViewSet.as_view({"post": "create"})),
    path("auth/refresh", api_users.TokenViewSet.as_view({"post": "refresh"})),
]
