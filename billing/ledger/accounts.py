"""Every tenant and every user has its accounts from the moment it exists."""

from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.signals import post_save
from django.dispatch import receiver

from billing.ledger.models import Account, Kind
from billing.ledger.posting import Posting
from tenants.models import Mode, Tenant, User


@receiver(post_save, sender=Tenant)
def open_tenant_accounts(sender: Any, instance: Tenant, created: bool, raw: bool = False, **kwargs: Any) -> None:
    """A live account, empty, and a test account with the sandbox's starting credits."""
    if not created or raw:
        return
    with transaction.atomic():
        Account.objects.create(tenant=instance, mode=Mode.LIVE)
        test = Account.objects.create(tenant=instance, mode=Mode.TEST)
        posting = Posting([test.id])
        posting.post(
            posting.accounts[test.id],
            kind=Kind.GIFT,
            amount=settings.SANDBOX_TEST_CREDITS,
            description="starting credits of the test account",
            actor="waule",
        )
        posting.write()


@receiver(post_save, sender=User)
def open_user_account(sender: Any, instance: User, created: bool, raw: bool = False, **kwargs: Any) -> None:
    if created and not raw:
        Account.objects.create(user=instance)
