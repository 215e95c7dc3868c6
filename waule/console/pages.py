"""Pages of the console that read, redeem a code, or change to another tenant."""

import uuid
from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST
from unfold.widgets import UnfoldAdminTextInputWidget

from aiservices.generations.listing import models_on_show
from billing.admin.statement import download, statement_context
from billing.redemption.services import redeem
from tenants.principal import Principal
from waule.console.forms import actor_of, form_page
from waule.console.home import usage_by_day, usage_by_model
from waule.console.tenant import CHOSEN, Right, membership_of, right_required, tenant_of
from waule.console.try_page import try_model
from waule.core.admin import admin_page


def urls(site: Any) -> list[URLPattern]:
    """Return the pages, for the site to serve."""
    guarded = site.admin_view
    return [
        path("try/", guarded(try_model), name="try"),
        path("usage/", guarded(usage), name="usage"),
        path("prices/", guarded(prices), name="prices"),
        path("statement/", guarded(statement), name="statement"),
        path("redeem/", guarded(redeem_code), name="redeem"),
        path("tenant/<uuid:tenant_id>/", guarded(choose_tenant), name="choose_tenant"),
    ]


def usage(request: HttpRequest) -> HttpResponse:
    """What the last days cost, by day and by model."""
    found = membership_of(request)
    assert found is not None
    return admin_page(
        request,
        "console/usage.html",
        title=_("Usage"),
        chart=usage_by_day(found, days=31),
        models=usage_by_model(found, days=31),
    )


def prices(request: HttpRequest) -> HttpResponse:
    """Every model that the tenant may use, with its price in words."""
    rows = [
        {
            "name": each.model.name,
            "model_id": each.model.model_id,
            "type": each.model.get_type_display(),
            "lines": each.as_price()["explanation"],
        }
        for each in models_on_show(tenant_of(request))
    ]
    return admin_page(request, "console/prices.html", title=_("Prices"), rows=rows)


def statement(request: HttpRequest) -> HttpResponseBase:
    """The live account between two timestamps; `csv` or `pdf` among the parameters downloads it."""
    found = membership_of(request)
    assert found is not None
    account = found.account()
    made, context = statement_context(request, account)
    page: dict[str, Any] = {"title": _("Statement"), "back": reverse("console:index"), **context}
    return download(request, made, account) or admin_page(request, "admin/billing/statement.html", **page)


@require_POST
def choose_tenant(request: HttpRequest, tenant_id: uuid.UUID) -> HttpResponse:
    """Change to another of the reader's tenants."""
    found = membership_of(request)
    if found is None or tenant_id not in {tenant.id for tenant in (found.tenant, *found.others)}:
        raise Http404
    request.session[CHOSEN] = str(tenant_id)
    return redirect("console:index")


class CodeForm(forms.Form):
    code = forms.CharField(
        label=gettext_lazy("Redemption code"), max_length=100, widget=UnfoldAdminTextInputWidget(attrs={"autofocus": True})
    )
    idempotency_key = forms.UUIDField(widget=forms.HiddenInput, initial=uuid.uuid4)


@right_required(Right.REDEEM)
def redeem_code(request: HttpRequest) -> HttpResponse:
    """Turn a redemption code into live credits."""
    target = Principal("tenant", str(tenant_of(request).id))

    def act(fields: dict[str, Any]) -> HttpResponse:
        key = f"console-{fields['idempotency_key']}"
        done = redeem(target=target, code=fields["code"], actor=actor_of(request), idempotency_key=key)
        said = _("%(credits)s credits were added. %(balance)s can be spent now.")
        messages.success(request, said % {"credits": f"{done.credits:,}", "balance": f"{done.balance:,}"})
        return redirect("console:index")

    form = CodeForm(request.POST or None)
    return form_page(request, form, act, title=_("Redeem a code"), verb=_("Redeem"), back=reverse("console:index"))
