"""`/api/me`"""

from django.urls import path

from billing import api_me

urlpatterns = [path("me", api_me.MeViewSet.as_view({"get": "list"}))]
