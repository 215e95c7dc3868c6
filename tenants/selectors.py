"""Reads of tenants, users and keys."""

from uuid import UUID

from django.db import DEFAULT_DB_ALIAS
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from tenants.api_keys import looks_valid
from tenants.errors import TenantNotFound
from tenants.models import ApiKey, Tenant, User
from waule.core.crypto.encryption import keyed_hash
from waule.core.db.prepared import PreparedQuery
from waule.core.errors import NotFound
from waule.core.ids import parse_uuid

MAX_OWNERS_FOUND = 50


def find_api_key(plaintext: str) -> ApiKey | None:
    """Return the key, its tenant at hand, if it is neither expired nor revoked. A mistyped one costs no query."""
    if not looks_valid(plaintext):
        return None
    row = _KEY_WITH_TENANT.first(keyed_hash(plaintext))
    if row is None:
        return None
    key = ApiKey.from_db(DEFAULT_DB_ALIAS, _KEY_FIELDS, row[: len(_KEY_FIELDS)])
    key.tenant = Tenant.from_db(DEFAULT_DB_ALIAS, _TENANT_FIELDS, row[len(_KEY_FIELDS) :])
    return key if key.is_valid(timezone.now()) else None


_KEY_FIELDS = [field.attname for field in ApiKey._meta.concrete_fields if field.name != "webhook_secret"]
_TENANT_FIELDS = [field.attname for field in Tenant._meta.concrete_fields]
_KEY_WITH_TENANT = PreparedQuery(
    lambda key_hash: ApiKey.objects.filter(key_hash=key_hash).values_list(
        *_KEY_FIELDS, *[f"tenant__{name}" for name in _TENANT_FIELDS]
    ),
    ["key's hash"],
    ["text"],
)


def find_key_of(tenant_id: str, key_id: str) -> ApiKey | None:
    """Return the tenant's key with this id, whether it is still valid or not: what it has used is charged."""
    owner, key = parse_uuid(tenant_id), parse_uuid(key_id)
    if owner is None or key is None:
        return None
    return ApiKey.objects.only("id", "mode").filter(id=key, tenant_id=owner).first()


def find_tenant(tenant_id: str) -> Tenant:
    """Return the tenant with this id.

    Raises:
        TenantNotFound: nobody has it.
    """
    key = parse_uuid(tenant_id)
    tenant = Tenant.objects.filter(id=key).first() if key else None
    if tenant is None:
        raise TenantNotFound
    return tenant


def owners_named(term: str) -> tuple[list[UUID], list[UUID]]:
    """Return ids of the tenants and of the users whose name begins with `term`, in any case: at most MAX_OWNERS_FOUND of each."""
    tenants = Tenant.objects.filter(name__istartswith=term).values_list("id", flat=True)[:MAX_OWNERS_FOUND]
    users = User.objects.filter(username__istartswith=term).values_list("id", flat=True)[:MAX_OWNERS_FOUND]
    return list(tenants), list(users)


def find_tenant_by_id_or_name(text: str) -> Tenant:
    """Return the tenant with this id, or the only one of this name.

    Raises:
        TenantNotFound: nobody has it, or several have the name.
    """
    pk = parse_uuid(text)
    if pk is not None and (tenant := Tenant.objects.filter(id=pk).first()) is not None:
        return tenant
    found = list(Tenant.objects.filter(name=text)[:2])
    if len(found) > 1:
        raise TenantNotFound(_("Several tenants are named %(name)s: give the id.") % {"name": text})
    if not found:
        raise TenantNotFound(_("There is no tenant %(name)s.") % {"name": text})
    return found[0]


def find_user_by_id_or_name(text: str) -> User:
    """Return the user with this id or username.

    Raises:
        NotFound: nobody has it.
    """
    pk = parse_uuid(text)
    by_id = User.objects.filter(id=pk).first() if pk is not None else None
    found = by_id or User.objects.filter(username=text).first()
    if found is None:
        raise NotFound(_("There is no user %(name)s.") % {"name": text})
    return found


def find_owner_id(kind: str, text: str) -> str:
    """Return the id of the tenant or user (`kind`) that has this id or exact name.

    Raises:
        TenantNotFound, NotFound.
    """
    return str(find_tenant_by_id_or_name(text).id if kind == "tenant" else find_user_by_id_or_name(text).id)


def keys_page(
    tenant_id: UUID, *, mode: str | None = None, limit: int, after: UUID | None = None, with_revoked: bool = False
) -> list[ApiKey]:
    """Return up to `limit` keys of the tenant, newest first, from behind the one with the id `after`; of one mode or of both."""
    rows = ApiKey.objects.filter(tenant_id=tenant_id).defer("webhook_secret").order_by("-id")
    if mode is not None:
        rows = rows.filter(mode=mode)
    if not with_revoked:
        rows = rows.filter(Q(revoked_at__isnull=True) | Q(revoked_at__gt=timezone.now()))
    if after is not None:
        rows = rows.filter(id__lt=after)
    return list(rows[:limit])


def own_key(tenant_id: UUID, key_id: str, *, mode: str | None = None) -> ApiKey:
    """Return the tenant's key with this id that was not revoked.

    Raises:
        NotFound: it is nobody's, another's, of another mode, or revoked.
    """
    pk = parse_uuid(key_id)
    found = ApiKey.objects.filter(id=pk, tenant_id=tenant_id).first() if pk else None
    is_wrong_mode = found is not None and mode is not None and found.mode != mode
    if found is None or is_wrong_mode or (found.revoked_at is not None and found.revoked_at <= timezone.now()):
        raise NotFound(_("There is no API key %(id)s.") % {"id": key_id})
    return found
