"""The verbs around tenants, users and their keys. Each is noted in the audit log."""

from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _

from tenants import audit
from tenants.api_keys import mask_key, new_key
from tenants.models import ApiKey, Level, Mode, Tenant, User
from waule.encryption import keyed_hash
from waule.errors import Duplicate, InvalidRequest, NotFound
from waule.ids import parse_uuid
from waule.transactions import durable

MAX_GRACE_SECONDS = 30 * 86_400
TOUCH_SECONDS = 60  # how exact `last_used_at` is


@durable
def create_tenant(*, name: str, enabled_models: list[str], actor: str) -> Tenant:
    """A new tenant, without a key and without credits.

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
    """A new user of the platform; without a password nobody can log in as this user.

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
    successor_of: ApiKey | None = None,
    actor: str,
) -> tuple[ApiKey, str]:
    """A new key and its text, which is told this once and kept nowhere. It takes over the webhook of the key it succeeds.

    Raises:
        InvalidRequest: it would have expired already.
    """
    if expires_at is not None and expires_at <= timezone.now():
        raise InvalidRequest.of_field("expires", _("This moment has passed: the key would never work."))
    plaintext = new_key(mode)
    key = ApiKey(
        tenant=tenant, name=name, mode=mode, expires_at=expires_at, masked=mask_key(plaintext), key_hash=keyed_hash(plaintext)
    )
    if successor_of is not None:
        key.webhook_url, key.webhook_secret = successor_of.webhook_url, successor_of.webhook_secret
    _check(key)
    key.save()
    audit.record(actor=actor, action="key.create", target=key, after={"tenant": str(tenant), "mode": str(mode), "name": name})
    return key, plaintext


@durable
def revoke_api_key(*, key_id: str, grace_seconds: int = 0, reason: str = "", actor: str) -> ApiKey:
    """Ends a key, at once or after a grace period in which its successor can be put in place. An earlier end stays.

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


def touch(key: ApiKey) -> None:
    """Notes that the key was used, at most once a minute."""
    now = timezone.now()
    if key.last_used_at is None or (now - key.last_used_at).total_seconds() >= TOUCH_SECONDS:
        ApiKey.objects.filter(id=key.id).update(last_used_at=now)


def _check(row: Any) -> None:
    try:
        row.full_clean(exclude=["password", "key_hash"])
    except ValidationError as error:
        raise InvalidRequest.of_fields(error.message_dict) from None
