"""Files of the platform itself in its bucket: archived months of the ledger. Billing knows this module by a setting.

They lie below `platform/`, are no tenant's, and are counted for nobody. A bucket that everybody may read is refused.
"""

from pathlib import Path

from django.conf import settings
from django.utils.translation import gettext as _

from storage.backends import platform_bucket
from storage.drivers import LOCAL, Driver, driver_of
from waule.core.errors import InvalidState

FOLDER = "platform/"


def name() -> str:
    """Return the bucket's name; empty where the platform has none."""
    return "" if settings.OSS_DRIVER == LOCAL else settings.OSS_BUCKET


def put(key: str, source: Path) -> None:
    """Copy a file into the bucket.

    Raises:
        InvalidState: there is no bucket, or everybody may read it. BucketProblem.
    """
    driver = _driver()
    if settings.OSS_PUBLIC:
        raise InvalidState(
            _("Everybody may read the platform's bucket (OSS_PUBLIC): it is no place for the ledger."), state="public"
        )
    driver.put(FOLDER + key, source, content_type="application/gzip")


def get(key: str, target: Path) -> None:
    """Copy it back into the file `target`. Raises what `put` raises."""
    _driver().get(FOLDER + key, target)


def url(key: str, *, seconds: int) -> str:
    """Return a signed address, good for so many seconds. Raises what `put` raises."""
    return _driver().url(FOLDER + key, seconds=seconds)


def _driver() -> Driver:
    if settings.OSS_DRIVER == LOCAL:
        raise InvalidState(_("The platform has no bucket: OSS_DRIVER is local."), state="no_bucket")
    return driver_of(platform_bucket(settings.OSS_DRIVER))
