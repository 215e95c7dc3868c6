"""Limits of logging in per client address, before a password is hashed.

A lockout (django-axes) is per name and address. Here an address is limited over all names: in failures, which all
processes count together, and in attempts, which bound the hashing that a stranger can cause in this process.
"""

import logging
from datetime import timedelta
from typing import Any

from axes.models import AccessAttempt
from axes.signals import user_locked_out
from django.conf import settings
from django.db.models import Sum
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from waule.core.auth.client_address import address_group, client_address
from waule.core.auth.rate_limit import AddressLimit
from waule.core.errors import RateLimited

logger = logging.getLogger(__name__)

attempts = AddressLimit(120, 60)


def axes_address(request: HttpRequest) -> str | None:
    """Return the client's address as django-axes stores it."""
    return client_address(request) or None


class LimitedByAddress:
    """The first backend: it lets nobody in, and refuses whose address has failed or tried too often.

    Raises:
        RateLimited: before any password is hashed.
    """

    def authenticate(self, request: HttpRequest | None, username: str | None = None, **credentials: Any) -> None:
        if request is None:
            return
        address = client_address(request)
        if wait_seconds := attempts.hit(address_group(address)):
            logger.warning("too many logins from %s, last as %.150r", address, username)
            raise RateLimited(retry_after_seconds=wait_seconds)
        if failures_of(address) >= settings.LOGIN_ADDRESS_FAILURE_LIMIT:
            logger.warning("too many failed logins from %s, last as %.150r", address, username)
            raise RateLimited(
                _("Too many failed attempts. Try again later."), retry_after_seconds=int(settings.AXES_COOLOFF_TIME * 3600)
            )


def failures_of(address: str) -> int:
    """Return how many logins failed from this address, whatever the name, within the time of a lockout."""
    since = timezone.now() - timedelta(hours=settings.AXES_COOLOFF_TIME)
    rows = AccessAttempt.objects.filter(ip_address=address or None, attempt_time__gte=since)
    return rows.aggregate(failures=Sum("failures_since_start"))["failures"] or 0


@receiver(user_locked_out)
def log_lockout(sender: Any, username: str | None = None, ip_address: str | None = None, **kwargs: Any) -> None:
    logger.warning("locked out %.150r from %s", username, ip_address)
