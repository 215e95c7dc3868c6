"""The pool over HTTP: lease a credential, report how it did."""

import math
from typing import Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from aiservices.api.credentials import schema
from aiservices.credentials import pool
from waule.core.http.api_base import InternalViewSet, answer
from waule.core.http.fields import BodySerializer, Flag, Integer, Text, iso

MAX_MESSAGE_LENGTH = 2000
MAX_RETRY_AFTER_SECONDS = 30 * 86400  # that may be reported; it is believed up to `pool.MAX_RETRY_AFTER_SECONDS`


class LeaseBody(BodySerializer):
    provider = Text(min_length=1, max_length=32)
    model = Text(max_length=64, allow_blank=True, required=False)
    ttl = Integer(source="ttl_seconds", min_value=pool.MIN_TTL_SECONDS, max_value=pool.MAX_TTL_SECONDS, required=False)
    use = Text(min_length=1, max_length=16, required=False)


@extend_schema_field({"type": "number", "minimum": 0})
class RetryAfter(serializers.Field[float, Any, Any, Any]):
    """A JSON number of seconds, 0 and more."""

    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool) or not isinstance(data, int | float) or not math.isfinite(data):
            raise serializers.ValidationError(_("Send a number of seconds."))
        if not 0 <= data <= MAX_RETRY_AFTER_SECONDS:
            raise serializers.ValidationError(_("Send 0 to 2592000 seconds."))
        return float(data)

    def to_representation(self, value: float) -> float:
        return value


class ReportBody(BodySerializer):
    outcome = Text(min_length=1, max_length=32)
    retryAfter = RetryAfter(source="retry_after_seconds", required=False)
    message = Text(max_length=MAX_MESSAGE_LENGTH, allow_blank=True, required=False)
    perModel = Flag(source="is_of_model", required=False)  # the limit is that of the lease's model alone


LEASE_BODY, REPORT_BODY = LeaseBody(), ReportBody()


class Leases(InternalViewSet):
    scope = "credentials"

    @extend_schema(request=LeaseBody, responses={200: schema.CredentialLeased}, operation_id="lease_credential")
    def create(self, request: Request) -> Response:
        lease = pool.lease(**self.read_body(request, LEASE_BODY))
        response = answer(
            {
                "leaseId": str(lease.lease_id),
                "credentialId": str(lease.credential_id),
                "secret": lease.secret,
                "expiresAt": iso(lease.expires_at),
            }
        )
        response["Cache-Control"] = "no-store"
        return response

    @extend_schema(request=ReportBody, responses={200: schema.LeaseReported}, operation_id="report_lease")
    def report(self, request: Request, lease_id: str) -> Response:
        pool.report(lease_id, **self.read_body(request, REPORT_BODY))
        return answer({"success": True, "leaseId": lease_id})
