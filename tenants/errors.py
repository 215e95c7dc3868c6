"""What can be wrong with a tenant, a user or a key."""

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from waule.core.errors import Forbidden, NotFound


class TenantNotFound(NotFound):
    code = "tenant_not_found"
    message: str | Promise = "Tenant not found"


class ScopeMissing(Forbidden):
    """403: the API key lacks a scope (`details.scopes`: one of these would do), or would give more than it has."""

    code = "scope_missing"
    message = _("This API key may not do this.")
