"""What can be wrong with a tenant, a user or a key."""

from django.utils.functional import Promise

from waule.errors import NotFound


class TenantNotFound(NotFound):
    code = "tenant_not_found"
    message: str | Promise = "Tenant not found"
