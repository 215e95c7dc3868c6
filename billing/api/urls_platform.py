"""`/api/me`, `/api/redeem`"""

from django.urls import path

from billing.api import me as api_me
from billing.api import redeem

urlpatterns = [
    path("me", api_me.MeViewSet.as_view({"get": "list"})),
    path("redeem", redeem.RedeemViewSet.as_view({"post": "create"})),
]
