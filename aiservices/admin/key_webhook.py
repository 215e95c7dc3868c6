"""The page on which staff set the webhook that a key's jobs notify. A new secret is shown on the page that answers, once."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminTextInputWidget

from aiservices.generations import webhooks
from tenants.models import MAX_WEBHOOK_URL, ApiKey
from waule.core.admin import actor_of, admin_page, tell_form
from waule.core.errors import InvalidRequest


class WebhookForm(forms.Form):
    url = forms.CharField(
        label=gettext_lazy("Address"),
        max_length=MAX_WEBHOOK_URL,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text=gettext_lazy("Notified when a video has ended. Empty: nobody is notified."),
    )
    secret = forms.CharField(
        label=gettext_lazy("Secret"),
        max_length=webhooks.MAX_SECRET_LENGTH,
        required=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}, render_value=False),
        help_text=gettext_lazy(
            "Signs what is sent. Blank keeps the stored one; where there is none, one is made and shown once."
        ),
    )


def webhook_view(request: HttpRequest, key_id: UUID) -> HttpResponse:
    """Show the form; a POST sets the webhook."""
    if not request.user.has_perm("tenants.change_apikey"):
        raise PermissionDenied
    key = get_object_or_404(ApiKey.objects.select_related("tenant"), pk=key_id)
    back = reverse("admin:tenants_apikey_change", args=[key.pk])
    form = WebhookForm(request.POST or None, initial={"url": key.webhook_url})
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            key, secret = webhooks.set_webhook(
                key_id=str(key.pk), url=given["url"], secret=given["secret"], actor=actor_of(request)
            )
        except InvalidRequest as error:
            tell_form(form, error)
        else:
            if secret and not given["secret"]:
                shown: dict[str, Any] = {"key": key, "plaintext": secret, "is_webhook": True, "back": back}
                return admin_page(request, "admin/key_once.html", title=_("The webhook's secret"), **shown)
            messages.success(request, _("The webhook is set.") if key.webhook_url else _("There is no webhook any more."))
            return redirect(back)
    title = _("Webhook of %(key)s") % {"key": key}
    return admin_page(request, "admin/page_form.html", title=title, form=form, verb=_("Save"), back=back)
