"""`/api/auth/…`"""

from django.urls import path

from tenants.api import users

urlpatterns = [
    path("auth/token", users.TokenViewSet.as_view({"post": "create"})),
    path("auth/refresh", users.TokenViewSet.as_view({"post": "refresh"})),
]
