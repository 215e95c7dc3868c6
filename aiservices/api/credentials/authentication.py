"""Who may: the gateway by its secret, staff by Django's permissions."""

from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from tenants.login import second_factor
from waule.core.auth.internal_auth import HasInternalSecret
from waule.core.auth.user_auth import USER_AUTHENTICATION
from waule.core.errors import Forbidden, Unauthorized
from waule.core.http.api_base import ApiViewSet


class StaffMay(BasePermission):
    """Staff with Django's own permission for what the method does to the view's `model`."""

    verbs = {"GET": "view", "POST": "add", "PUT": "change", "PATCH": "change", "DELETE": "delete"}

    def has_permission(self, request: Request, view: Any) -> bool:
        user: Any = request.user
        if user is None or not user.is_authenticated:
            raise Unauthorized
        verb = view.verbs.get(view.action) or self.verbs.get(request.method or "", "change")
        options = view.model._meta
        if not user.is_staff or not user.has_perm(f"{options.app_label}.{verb}_{options.model_name}"):
            raise Forbidden
        if second_factor.is_missing_for_api(user, request.auth):
            raise Forbidden(
                _("Prove your second factor: log in at /admin, or send your one-time code as otp when you ask for a token.")
            )
        return True


class StaffViewSet(ApiViewSet):
    """A resource of `/api/admin/ai-services`."""

    authentication_classes = USER_AUTHENTICATION
    permission_classes = [StaffMay]
    verbs: dict[str, str] = {}  # by action, where the method alone does not say which permission it takes


def actor_of(view: Any, request: Request) -> str:
    """Return who the audit log says it was."""
    return str(request.user) if HasInternalSecret in view.permission_classes else f"admin:{request.user}"
