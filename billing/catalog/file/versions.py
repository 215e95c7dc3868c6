"""The history of the catalog: one version for each change, kept whole, so that any two can be compared."""

from billing.catalog.changes import Change, compare
from billing.catalog.file.export import export
from billing.catalog.models import CatalogVersion


def record(*, author: str, note: str) -> CatalogVersion | None:
    """Keep the catalog as it now is, in the transaction of its change; None where nothing differs from the newest version.

    Call it after the catalog's number was raised: until the transaction ends, that row keeps others from numbering.
    """
    document = export().as_json()
    newest = CatalogVersion.objects.order_by("-number").first()
    if newest is not None and newest.document == document:
        return None
    created: CatalogVersion = CatalogVersion.objects.create(
        number=newest.number + 1 if newest else 1, author=author[:200], note=note[:500], document=document
    )
    return created


def changes_of(version: CatalogVersion) -> list[Change]:
    """Return what `version` made of the one before it; the first has everything added."""
    before = CatalogVersion.objects.filter(number__lt=version.number).order_by("-number").first()
    return compare(before.document if before else {}, version.document)
