"""What can go wrong around stored files."""

from typing import Any, ClassVar

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from waule.core.errors import WauleError


class OverQuota(WauleError):
    """413: the tenant's quota (`details.quotaBytes`) is used up, or reserved for what is being made."""

    code = "too_large"
    http_status = 413
    message = _("The tenant's storage quota is used up.")


class BucketProblem(WauleError):
    """502: the place where files go refused, or could not be reached. `details.reason` is one of `REASONS`."""

    code = "upstream_error"
    http_status = 502
    REASONS: ClassVar[dict[str, str | Promise]] = {
        "setting": _("A setting of the bucket is missing."),
        "access_key_id": _("The storage does not know the access key id."),
        "access_key_secret": _("The access key secret is not the one that belongs to the access key id."),
        "bucket": _("There is no such bucket, or its name is not a possible one."),
        "region": _("The bucket lies in another region, or the endpoint belongs to another region."),
        "clock": _("This server's clock and the storage's differ by too much."),
        "denied": _("The access key may not do this: it needs to read, write, delete and list in this bucket."),
        "key": _("There is no such object."),
        "full": _("The bucket is full."),
        "disk_full": _("The disk under MEDIA_ROOT is full."),
        "disk": _("The folder MEDIA_ROOT cannot be written."),
        "busy": _("The storage is busy or broken."),
        "refused": _("The storage refused."),
        "not_reached": _("The storage cannot be reached: check the endpoint and the network."),
        "not_kept": _("The storage accepted a file and then did not have it."),
    }

    def __init__(self, reason: str, **details: Any) -> None:
        super().__init__(self.REASONS[reason], reason=reason, **details)
        self.reason = reason
