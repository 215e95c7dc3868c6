"""`/api/auth`: platform users log in."""

from typing import Any

from axes.handlers.proxy import AxesProxyHandler
from django.conf import settings
from django.contrib.auth import authenticate
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from tenants.api import schema
from tenants.login import second_factor
from tenants.login.logins import note_failure, note_login
from tenants.models import User
from waule.core.auth import jwt_tokens
from waule.core.auth.user_auth import stamp_of, user_of_token
from waule.core.errors import RateLimited, Unauthorized
from waule.core.http.api_base import ApiViewSet, answer
from waule.core.http.fields import BodySerializer, Text


class CredentialsBody(BodySerializer):
    username = Text(max_length=150, min_length=1)
    password = Text(max_length=1024, min_length=1)
    otp = Text(max_length=16, required=False)


class RefreshBody(BodySerializer):
    refresh = Text(max_length=4096, min_length=1)


CREDENTIALS, REFRESH = CredentialsBody(), RefreshBody()


def tokens_of(user: User, *, has_second_factor: bool) -> Response:
    about: dict[str, Any] = {"stamp": stamp_of(user), "has_second_factor": has_second_factor}
    response = answer({kind: jwt_tokens.issue(str(user.pk), kind, **about) for kind in jwt_tokens.LIFETIMES})
    response["Cache-Control"] = "no-store"
    return response


class TokenViewSet(ApiViewSet):
    authentication_classes: list[Any] = []
    permission_classes = [AllowAny]

    @extend_schema(request=CredentialsBody, responses={200: schema.Tokens}, operation_id="token")
    def create(self, request: Request) -> Response:
        fields = self.read_body(request, CREDENTIALS)
        user = authenticate(request._request, username=fields["username"], password=fields["password"])
        if AxesProxyHandler.is_locked(request._request, {"username": fields["username"]}):
            raise RateLimited(
                _("Too many failed attempts. Try again later."), retry_after_seconds=int(settings.AXES_COOLOFF_TIME * 3600)
            )
        if not isinstance(user, User):
            raise Unauthorized(_("The username or the password is wrong."))
        has_second_factor = "otp" in fields and second_factor.is_code(user, fields["otp"])
        if "otp" in fields and not has_second_factor:
            note_failure(fields["username"], what="second factor", request=request._request)
            raise Unauthorized(_("The one-time code is wrong or was used before."))
        note_login(user, request=request._request, way="token")
        return tokens_of(user, has_second_factor=has_second_factor)

    @extend_schema(request=RefreshBody, responses={200: schema.Tokens}, operation_id="token_refresh")
    def refresh(self, request: Request) -> Response:
        found = user_of_token(self.read_body(request, REFRESH)["refresh"], "refresh")
        if found is None:
            raise Unauthorized(_("This refresh token is not valid. Log in again."))
        user, token = found
        return tokens_of(user, has_second_factor=token.has_second_factor)
