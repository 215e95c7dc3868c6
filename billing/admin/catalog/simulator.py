"""A page on which staff see how a price comes about, step by step. Nothing is moved."""

import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.core.validators import MaxValueValidator, MinValueValidator
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from billing import services
from billing.catalog import pricing
from billing.catalog.current import Catalog, current_catalog
from billing.catalog.models import CatalogVersion, scope_of
from billing.catalog.usage import UsageRequest
from tenants.models import User
from tenants.principal import Principal
from tenants.selectors import find_tenant_by_id_or_name
from waule.core.admin import admin_page, spaced_number
from waule.core.errors import WauleError

MAX_SECONDS = 86_400


def _text(label: Any, **options: Any) -> forms.CharField:
    return forms.CharField(label=label, max_length=64, required=False, widget=UnfoldAdminTextInputWidget, **options)


def _integer(label: Any, high: int) -> forms.IntegerField:
    return forms.IntegerField(label=label, min_value=1, max_value=high, required=False, widget=UnfoldAdminIntegerFieldWidget)


# Which fields say something under which billing type; the page hides the others.
APPLIES: dict[str, tuple[str, ...]] = {
    "quantity": (),  # to all
    "duration": ("PER_DURATION", "DURATION_RESOLUTION", "DURATION_MODE"),
    "resolution": ("PER_IMAGE", "DURATION_RESOLUTION"),
    "mode": ("DURATION_MODE", "OPERATION_MODE"),
    "operation_type": ("OPERATION_MODE",),
    "character_count": ("PER_CHARACTER",),
}


class UseForm(forms.Form):
    """A use as a caller words it. What is left empty is left out."""

    model = forms.ChoiceField(label=gettext_lazy("Model"), required=False, widget=UnfoldAdminSelectWidget)
    node_type = _text(gettext_lazy("Node type"))
    module_type = _text(gettext_lazy("Module type"))
    quantity = _integer(gettext_lazy("Quantity"), 1000)
    duration = forms.DecimalField(
        label=gettext_lazy("Seconds"),
        required=False,
        validators=[MinValueValidator(Decimal("0.001")), MaxValueValidator(MAX_SECONDS)],
        widget=UnfoldAdminDecimalFieldWidget,
    )
    resolution = _text(gettext_lazy("Resolution"))
    mode = _text(gettext_lazy("Mode"))
    operation_type = _text(gettext_lazy("Operation"))
    character_count = _integer(gettext_lazy("Characters"), 10_000_000)
    tenant = _text(gettext_lazy("Tenant"), help_text=gettext_lazy("Name or id. Empty: only the price."))
    username = _text(gettext_lazy("User name"), help_text=gettext_lazy("Of a platform user, instead of a tenant."))

    def __init__(self, catalog: Catalog, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        models = sorted(catalog.models.values(), key=lambda model: model.name.casefold())
        choices = [(str(model.id), f"{model.name} ({model.provider})") for model in models]
        self.fields["model"].choices = [("", "–"), *choices]  # type: ignore[attr-defined]
        rules = {key: catalog.rules.get(scope_of(model_pk=key)) for key, _name in choices}
        types = {key: rule.billing_type for key, rule in rules.items() if rule is not None}
        self.fields["model"].widget.attrs["data-billing-types"] = json.dumps(types)
        for name, billing_types in APPLIES.items():
            if billing_types:
                self.fields[name].widget.attrs["data-applies-to"] = " ".join(billing_types)

    def use(self) -> UsageRequest:
        names = ("model", "node_type", "module_type", "mode", "operation_type")
        given = self.cleaned_data
        return UsageRequest(
            **{name: given[name] for name in names},
            resolution=pricing.read_size(given["resolution"]),
            quantity=given["quantity"] or 1,
            duration=given["duration"],
            character_count=given["character_count"],
        )

    def target(self) -> Principal | None:
        """For whom; None: only the price. Raises TenantNotFound."""
        if self.cleaned_data["tenant"]:
            return Principal("tenant", str(find_tenant_by_id_or_name(self.cleaned_data["tenant"]).id))
        if self.cleaned_data["username"]:
            user = User.objects.filter(username=self.cleaned_data["username"]).first()
            return Principal("user", str(user.id) if user else "")
        return None


def simulator_view(request: HttpRequest) -> HttpResponse:
    """The price of a use, and whether it would be allowed to somebody."""
    if not request.user.has_perm("billing.view_billingrule"):
        raise PermissionDenied
    catalog = current_catalog()
    form = UseForm(catalog, request.GET or None)
    result, rejection = None, ""
    if request.GET and form.is_valid():
        try:
            result = services.estimate(target=form.target(), use=form.use())
            rejection = str(result.rejection or "")
        except WauleError as error:
            rejection = str(error)
    return admin_page(
        request,
        "admin/billing/simulator.html",
        title=_("Price simulator"),
        form=form,
        steps=list(build_up(result.steps)) if result else [],
        credits=spaced_number(result.credits) if result else "",
        rule=result.rule if result else None,
        is_free=bool(result and result.is_free),
        rejection=rejection,
        version=CatalogVersion.objects.order_by("-number").values_list("number", flat=True).first(),
    )


def build_up(steps: Iterable[pricing.Step]) -> Iterator[tuple[str, str]]:
    """Yield each step in words, with what the price has come to by then ("" where it says nothing of the sum)."""
    running = Decimal(0)
    steps = list(steps)
    for step, words in zip(steps, pricing.explain(steps), strict=True):
        if "factor" in step.params:
            running *= Decimal(str(step.params["factor"]))
        elif "credits" in step.params:
            running = Decimal(str(step.params["credits"]))
        else:
            yield words, ""
            continue
        yield words, f"{running.normalize():,f}"
