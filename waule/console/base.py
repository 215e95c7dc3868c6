"""The lists of the console. All of them go through `ConsoleAdmin`: the tenant's own rows and nothing else."""

from typing import Any, ClassVar

from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse

from tenants.models import Tenant
from waule.console.tenant import Right, may, tenant_of
from waule.core.admin import HistoryAdmin, PageButton


class ConsoleAdmin(HistoryAdmin):
    """Rows of the reader's tenant, to be read; `rows_of` says which those are.

    Another tenant's id is 404, in pages, filters, searches, exports and actions alike, since all of them start from
    `get_queryset`. Acts are pages of their own (`waule.console.*_pages`).
    """

    right: ClassVar[Right] = Right.VIEW
    lists_whole_table = False

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).filter(self.rows_of(tenant_of(request)))

    def rows_of(self, tenant: Tenant) -> Q:
        """Return the condition by which a row is the tenant's."""
        return Q(tenant=tenant)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return may(request, self.right)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request, self.right)

    def list_button(self, request: HttpRequest) -> PageButton | None:
        """Return a button above the list, to the page that makes another row."""
        return None

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        return super().changelist_view(request, {"list_button": self.list_button(request), **(extra_context or {})})

    def _get_obj_does_not_exist_redirect(self, request: HttpRequest, opts: Any, object_id: str) -> HttpResponse:
        raise Http404

    def reveal_buttons(self, request: HttpRequest, row: Any) -> list[Any]:
        return []

    @property
    def export_address(self) -> str:
        return reverse(f"console:{self.opts.app_label}_{self.opts.model_name}_export")
