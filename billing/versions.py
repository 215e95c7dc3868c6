"""The history of the catalog: one version for each change, kept whole, so that any two can be compared.

Models belong to an app above this one, which alone can write the whole catalog down: it listens to `catalog_edited`
and hands the document to `record`.
"""

from typing import Any

from django.dispatch import Signal

from billing.catalog_changes import Change, compare
from billing.models import CatalogVersion

catalog_edited = Signal()  # arguments: author, note; sent inside the transaction of the change


def record(document: dict[str, Any], *, author: str, note: str) -> CatalogVersion | None:
    """Keeps `document` as the newest version; None where it is what the newest already says.

    Call it after the catalog's number was raised: until the transaction ends, that row keeps others from numbering.
    """
    newest = CatalogVersion.objects.order_by("-number").first()
    if newest is not None and newest.document == document:
        return None
    created: CatalogVersion = CatalogVersion.objects.create(
        number=newest.number + 1 if newest else 1, author=author[:200], note=note[:500], document=document
    )
    return created


def changes_of(version: CatalogVersion) -> list[Change]:
    """What `version` made of the one before it; the first has everything added."""
    before = CatalogVersion.objects.filter(number__lt=version.number).order_by("-number").first()
    return compare(before.document if before else {}, version.document)
