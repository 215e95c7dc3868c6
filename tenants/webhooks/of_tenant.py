"""The webhook of a tenant itself, to which its alerts go. The webhooks of its keys' jobs are another matter."""

from datetime import timedelta
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _

from tenants import audit
from tenants.models import Tenant
from tenants.webhooks.models import OutboxMessage, Webhook, new_webhook_secret
from tenants.webhooks.outbox import CLAIM_SECONDS, MAX_TRIES, TEST_KIND
from waule.core.crypto.encryption import reveal
from waule.core.db import connection_pool
from waule.core.db.transactions import durable
from waule.core.errors import InvalidRequest, InvalidState, NotFound


def set_tenant_webhook(*, tenant: Tenant, url: str, is_active: bool, new_secret: bool = False, actor: str) -> tuple[Webhook, str]:
    """Make `url` the tenant's webhook; the secret stays unless there is none or `new_secret`.

    Return the webhook and its secret where that is new: it is shown this once.

    Raises:
        InvalidRequest: the address may not be called.
    """
    connection_pool.release_connection()  # asking for the name may take a while
    try:
        named = Webhook.objects.filter(tenant=tenant, url=url).first() or Webhook(tenant=tenant, url=url)
        named.clean_fields(exclude=["secret"])
        named.clean()
    except ValidationError as error:
        raise InvalidRequest.of_fields(error.message_dict) from None
    return _write(tenant, url, is_active, new_secret, actor)


@durable
def _write(tenant: Tenant, url: str, is_active: bool, new_secret: bool, actor: str) -> tuple[Webhook, str]:
    hook = Webhook.objects.select_for_update(no_key=True).filter(tenant=tenant).first()
    before = _about(hook) if hook is not None else None
    is_new = hook is None or new_secret or not hook.secret
    hook = hook or Webhook(tenant=tenant)
    hook.url, hook.is_active = url, is_active
    if is_new:
        hook.secret = new_webhook_secret()
    hook.save()
    audit.record(actor=actor, action="webhook.set", target=hook, before=before, after=_about(hook) | {"rotated": is_new})
    return hook, reveal(hook.secret) if is_new else ""


@durable
def delete_tenant_webhook(*, tenant: Tenant, actor: str) -> None:
    """Delete the tenant's webhook with its secret; what was delivered to it stays in the history.

    Raises:
        NotFound: there is none.
    """
    hook = Webhook.objects.select_for_update(no_key=True).filter(tenant=tenant).first()
    if hook is None:
        raise NotFound(_("There is no webhook."))
    audit.record(actor=actor, action="webhook.delete", target=hook, before=_about(hook))
    hook.delete()


def _about(hook: Webhook) -> dict[str, object]:
    return {"webhookHost": urlsplit(hook.url).hostname or "", "isActive": hook.is_active}  # the rest of it may be secret


def post_tenant_test(tenant: Tenant) -> OutboxMessage:
    """Write a test message for the tenant's webhook, which nobody else sends.

    Raises:
        InvalidState: there is no webhook, or it is switched off.
    """
    if not Webhook.objects.filter(tenant=tenant, is_active=True).exists():
        raise InvalidState(_("There is no webhook that is switched on."), state="no_webhook")
    message = OutboxMessage(tenant=tenant, kind=TEST_KIND, tries=MAX_TRIES)
    message.payload = {"object": TEST_KIND, "tenantId": str(tenant.id)}
    message.next_at = timezone.now() + timedelta(seconds=CLAIM_SECONDS)
    message.save(force_insert=True)
    return message
