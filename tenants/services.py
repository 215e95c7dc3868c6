"""The verbs around tenants, users and their keys. Each is noted in the audit log."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _

from tenants import audit
from tenants.api_keys import mask_key, new_key
from tenants.models import ApiKey, Level, Mode, Scope, Tenant, TenantMember, User
from waule.core.crypto.encryption import keyed_hash
from waule.core.db.transactions import durable
from waule.core.errors import Duplicate, InvalidRequest, InvalidState, NotFound
from waule.core.ids import parse_uuid

MAX_GRACE_SECONDS = 30 * 86_400
TOUCH_SECONDS = 60  # how exact `last_used_at` is


@durable
def create_tenant(*, name: str, enabled_models: list[str], actor: str) -> Tenant:
    """Return a new tenant, without a key and without credits.

    Raises:
        InvalidRequest: no name, or one that is too long.
    """
    tenant = Tenant(name=name.strip(), enabled_models=enabled_models)
    _check(tenant)
    tenant.save()
    audit.record(actor=actor, action="tenant.create", target=tenant, after={"name": name, "enabledModels": enabled_models})
    return tenant


@durable
def create_user(
    *,
    username: str,
    password: str | None = None,
    level: str = Level.USER,
    membership_expires_at: datetime | None = None,
    actor: str,
) -> User:
    """Return a new user of the platform; without a password nobody can log in as this user.

    Raises:
        InvalidRequest: a name or level that cannot be. Duplicate: the name is taken.
    """
    if User.objects.filter(username=username).exists():
        raise Duplicate(_("The username %(name)s is taken.") % {"name": username})
    user = User(username=username, level=level, membership_expires_at=membership_expires_at)
    user.set_password(password)
    _check(user)
    user.save()
    audit.record(actor=actor, action="user.create", target=user, after={"username": username, "level": level})
    return user


@durable
def create_api_key(
    *,
    tenant: Tenant,
    mode: str = Mode.LIVE,
    name: str = "",
    expires_at: datetime | None = None,
    scopes: Sequence[str] | None = None,
    allowed_models: Sequence[str] = (),
    successor_of: ApiKey | None = None,
    actor: str,
) -> tuple[ApiKey, str]:
    """Return a new key and its text, which is shown this once and kept nowhere.

    Without `scopes` it may read and generate. It takes over webhook, scopes and models of the key it succeeds.

    Raises:
        InvalidRequest: it would have expired already, or a scope is unknown.
    """
    if expires_at is not None and expires_at <= timezone.now():
        raise InvalidRequest.of_field("expires", _("This time has passed: the key would never work."))
    if scopes is not None:
        check_scopes(scopes)
    plaintext = new_key(mode)
    key = ApiKey(
        tenant=tenant, name=name, mode=mode, expires_at=expires_at, masked=mask_key(plaintext), key_hash=keyed_hash(plaintext)
    )
    if successor_of is not None:
        key.webhook_url, key.webhook_secret = successor_of.webhook_url, successor_of.webhook_secret
        key.scopes, key.allowed_models = successor_of.scopes, successor_of.allowed_models
    if scopes is not None:
        key.scopes = [scope for scope in Scope.values if scope in scopes]
    if allowed_models:
        key.allowed_models = list(dict.fromkeys(allowed_models))
    _check(key)
    key.save()
    about = {"tenant": str(tenant), "mode": str(mode), "name": name, "scopes": key.scopes, "models": key.allowed_models}
    audit.record(actor=actor, action="key.create", target=key, after=about)
    return key, plaintext


def check_scopes(scopes: Sequence[str]) -> None:
    """Refuse what is no set of scopes.

    Raises:
        InvalidRequest.
    """
    if not scopes or not set(scopes) <= set(Scope.values):
        raise InvalidRequest.of_field("scopes", _("Give one or more of: %(scopes)s.") % {"scopes": ", ".join(Scope.values)})


@durable
def revoke_api_key(*, key_id: str, grace_seconds: int = 0, reason: str = "", actor: str) -> ApiKey:
    """End a key, at once or after a grace period in which its successor can be put in place. An earlier end stays.

    Raises:
        NotFound: no such key. InvalidRequest: a grace period that is negative or longer than 30 days.
    """
    if not 0 <= grace_seconds <= MAX_GRACE_SECONDS:
        raise InvalidRequest.of_field("grace", _("Give 0 to %(limit)s seconds.") % {"limit": MAX_GRACE_SECONDS})
    pk = parse_uuid(key_id)
    key = ApiKey.objects.select_for_update(no_key=True).filter(id=pk).first() if pk else None
    if key is None:
        raise NotFound(_("There is no API key %(id)s.") % {"id": key_id})
    ends_at = timezone.now() + timedelta(seconds=grace_seconds)
    if key.revoked_at is None or key.revoked_at > ends_at:
        key.revoked_at = ends_at
        key.save(update_fields=["revoked_at"])
        audit.record(actor=actor, action="key.revoke", target=key, reason=reason, after={"revokedAt": ends_at.isoformat()})
    return key


@durable
def add_member(*, tenant: Tenant, user: User, role: str = TenantMember.Role.OWNER, actor: str) -> TenantMember:
    """Make the user a member of the tenant; one who is a member already gets the role.

    Raises:
        InvalidRequest: no such role.
    """
    member = TenantMember.objects.select_for_update(no_key=True).filter(tenant=tenant, user=user).first()
    before = {"role": member.role} if member is not None else None
    member = member or TenantMember(tenant=tenant, user=user)
    member.role = role
    _check(member)
    member.save()
    after = {"tenant": str(tenant.id), "role": str(role)}
    audit.record(
        actor=actor, action="member.add" if before is None else "member.change", target=member, before=before, after=after
    )
    return member


@durable
def change_role(*, member: TenantMember, role: str, actor: str) -> TenantMember:
    """Give a member another role. A tenant keeps at least one owner.

    Raises:
        NotFound: the membership is gone. InvalidRequest: no such role. InvalidState: nobody else is an owner.
    """
    row = _locked_member(member, loses_owner=role != TenantMember.Role.OWNER)
    before = {"role": row.role}
    row.role = role
    _check(row)
    row.save()
    audit.record(actor=actor, action="member.change", target=row, before=before, after={"role": str(role)})
    return row


@durable
def remove_member(*, member: TenantMember, actor: str) -> None:
    """End a membership; the user stays. A tenant keeps at least one owner.

    Raises:
        NotFound: the membership is gone. InvalidState: nobody else is an owner.
    """
    row = _locked_member(member, loses_owner=True)
    audit.record(actor=actor, action="member.remove", target=row, before={"role": row.role})
    row.delete()


def _locked_member(member: TenantMember, *, loses_owner: bool) -> TenantMember:
    # All memberships of the tenant are locked, so that two owners do not remove each other at the same time.
    rows = list(TenantMember.objects.select_for_update(no_key=True).filter(tenant_id=member.tenant_id).order_by("pk"))
    row = next((each for each in rows if each.pk == member.pk), None)
    if row is None:
        raise NotFound
    owners = [each for each in rows if each.role == TenantMember.Role.OWNER]
    if loses_owner and owners == [row]:
        raise InvalidState(_("A tenant needs an owner: make somebody else one first."), state="last_owner")
    return row


def touch(key_id: UUID, last_used_at: datetime | None) -> None:
    """Note that a key was used, at most once a minute."""
    now = timezone.now()
    if last_used_at is None or (now - last_used_at).total_seconds() >= TOUCH_SECONDS:
        ApiKey.objects.filter(id=key_id).update(last_used_at=now)


def _check(row: Any) -> None:
    try:
        row.full_clean(exclude=["password", "key_hash"])
    except ValidationError as error:
        raise InvalidRequest.of_fields(error.message_dict) from None
