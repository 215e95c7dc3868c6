"""Archived months of the ledger in the admin: what each holds, whether its signature holds, and where its file lies."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet, Sum
from django.http import FileResponse, HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.template.defaultfilters import filesizeformat
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from billing.archive import places
from billing.ledger.closings import LedgerArchive, signature_problem
from tenants import audit
from waule.core.admin import HistoryAdmin, PageButton, actor_of, badge, flat, reauthentication_required, spaced_number
from waule.core.errors import WauleError

PERMISSION = "billing.download_ledgerarchive"


@admin.register(LedgerArchive)
class LedgerArchiveAdmin(HistoryAdmin):
    is_large = False
    ordering = ("-month",)
    list_display = ("month", "shown_entries", "shown_credits", "closing_balance", "signature_badge", "place", "created_at")
    list_display_links = ("month",)
    exact_search = ("month",)
    fields = (
        ("month", "until", "created_at"),
        ("accounts", "shown_entries", "shown_credits", "closing_balance"),
        ("signature_badge", "key_id"),
        ("place", "file", "shown_size"),
        "sha256",
    )
    readonly_fields = flat(fields)

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        rows = super().get_queryset(request).prefetch_related("copies")
        return rows.annotate(closed=Sum("closings__balance"))

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(download_view)
        return [path("<int:archive_id>/download/", view, name="billing_archive_download"), *super().get_urls()]

    def page_buttons(self, request: HttpRequest, row: LedgerArchive) -> list[PageButton]:
        if not request.user.has_perm(PERMISSION) or (places.here(row) is None and places.copy_of(row) is None):
            return []
        return [PageButton(_("Download"), reverse("admin:billing_archive_download", args=[row.pk]), "download")]

    @display(description=_("entries"))
    def shown_entries(self, archive: LedgerArchive) -> str:
        return spaced_number(archive.entries)

    @display(description=_("credits"))
    def shown_credits(self, archive: LedgerArchive) -> str:
        return spaced_number(archive.credits)

    @display(description=_("Closing balance"))
    def closing_balance(self, archive: LedgerArchive) -> str:
        """Of all accounts together, those for tests included."""
        closed = getattr(archive, "closed", None)
        return "–" if closed is None else spaced_number(int(closed))

    @display(description=_("Signature"))
    def signature_badge(self, archive: LedgerArchive) -> Any:
        problem = signature_problem(archive)
        if problem is None:
            return badge(_("Signature valid"), "success")
        return badge(_("Signature invalid: %(why)s") % {"why": problem}, "danger")

    @display(description=_("Where it lies"))
    def place(self, archive: LedgerArchive) -> Any:
        copy, is_here = places.copy_of(archive), places.here(archive) is not None
        if is_here:
            return badge(_("Here and in the bucket") if copy else _("Here"), "success")
        return badge(_("In the bucket %(name)s") % {"name": copy.bucket}, "info") if copy else badge(_("Not here"), "warning")

    @display(description=_("Size"))
    def shown_size(self, archive: LedgerArchive) -> str:
        return filesizeformat(archive.size_bytes)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("billing.view_ledgerarchive")


@reauthentication_required(PERMISSION)
def download_view(request: HttpRequest, archive_id: int) -> HttpResponseBase:
    """The file, from here or from the bucket. It holds entries of every tenant: that it was taken is in the audit log."""
    archive = get_object_or_404(LedgerArchive.objects.prefetch_related("copies"), id=archive_id)
    back = reverse("admin:billing_ledgerarchive_change", args=[archive.pk])
    found, copy = places.here(archive), places.copy_of(archive)
    if found is None and copy is None:
        messages.error(request, _("%(file)s lies neither here nor in the bucket.") % {"file": archive.file})
        return redirect(back)
    try:
        address = "" if found or copy is None else places.bucket().url(copy.object_key, seconds=places.URL_SECONDS)
    except WauleError as error:
        messages.error(request, str(error))
        return redirect(back)
    audit.record(actor=actor_of(request), action="ledger.download", target=archive, after={"file": archive.file}, request=request)
    if found is None:
        return redirect(address)
    response = FileResponse(found.open("rb"), as_attachment=True, filename=archive.file, content_type="application/gzip")
    response["Cache-Control"] = "no-store"
    return response
