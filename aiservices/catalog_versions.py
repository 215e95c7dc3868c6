"""Every change of the catalog is kept as a version: the whole of it, as an export writes it."""

from typing import Any

from django.dispatch import receiver

from aiservices import catalog_file
from billing.versions import catalog_edited, record


@receiver(catalog_edited)
def keep_version(*, author: str, note: str, **kwargs: Any) -> None:
    """Writes the catalog down as it now is, in the transaction of the change."""
    record(catalog_file.export().as_json(), author=author, note=note)
