"""What connects a tenant with places of its own: the webhook of its alerts, and the bucket of its results."""

from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.defaultfilters import filesizeformat
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget, UnfoldAdminURLInputWidget, UnfoldBooleanWidget

from storage.admin import OssConfigForm
from storage.backends import backend_of_config, folder_of
from storage.checks.backend import Checked, check
from storage.models import OssConfig, StorageUsage
from tenants import audit
from tenants.models import MAX_WEBHOOK_URL
from tenants.principal import Principal
from tenants.webhooks import delivery, outbox
from tenants.webhooks.models import Webhook
from tenants.webhooks.of_tenant import delete_tenant_webhook, post_tenant_test, set_tenant_webhook
from waule.console.forms import actor_of, form_page
from waule.console.tenant import Right, may, right_required, tenant_of
from waule.core.admin import PageButton, admin_page, badge_of_bool, reauthentication_required
from waule.core.admin.versions import VERSIONS, versions_of
from waule.core.crypto.encryption import EncryptedTextField, mask

CHANGED = "changed"  # what the audit log says of a secret


def urls(site: Any) -> list[URLPattern]:
    """Return the pages, for the site to serve."""
    guarded = site.admin_view
    return [
        path("webhook/", guarded(webhook), name="webhook"),
        path("webhook/edit/", guarded(edit_webhook), name="webhook_edit"),
        path("webhook/delete/", guarded(delete_webhook), name="webhook_delete"),
        path("webhook/test/", guarded(test_webhook), name="webhook_test"),
        path("bucket/", guarded(bucket), name="bucket"),
        path("bucket/edit/", guarded(edit_bucket), name="bucket_edit"),
        path("bucket/test/", guarded(test_bucket), name="bucket_test"),
    ]


# --- the webhook ----------------------------------------------------------------------------------------------------


class TenantWebhookForm(forms.Form):
    url = forms.URLField(
        label=gettext_lazy("Address"),
        max_length=MAX_WEBHOOK_URL,
        assume_scheme="https",
        widget=UnfoldAdminURLInputWidget(attrs={"autofocus": True}),
    )
    is_active = forms.BooleanField(label=gettext_lazy("Active"), required=False, initial=True, widget=UnfoldBooleanWidget)
    new_secret = forms.BooleanField(
        label=gettext_lazy("Make a new secret"),
        required=False,
        widget=UnfoldBooleanWidget,
        help_text=gettext_lazy("The old one signs nothing from then on."),
    )


def webhook(request: HttpRequest) -> HttpResponse:
    """Where the tenant's alerts go."""
    hook = Webhook.objects.filter(tenant=tenant_of(request)).first()
    is_theirs = may(request, Right.MANAGE_WEBHOOK)
    facts: list[tuple[Any, Any]] = [(_("Address"), "–")]
    if hook is not None:  # an address may carry a secret: who does not manage it sees the host alone
        facts = [
            (_("Address"), hook.url if is_theirs else urlsplit(hook.url).hostname),
            (_("State"), badge_of_bool(hook.is_active, _("Active"), _("Off"))),
            (_("Secret"), mask(hook.secret) if is_theirs else "…"),
        ]
    buttons = [PageButton(_("Webhook deliveries"), reverse("console:tenants_outboxmessage_changelist"), "")]
    if is_theirs and hook is not None and hook.is_active:
        buttons.append(PageButton(_("Send a test message"), reverse("console:webhook_test"), ""))
    if is_theirs and hook is not None:
        buttons.append(PageButton(_("Delete"), reverse("console:webhook_delete"), ""))
    if is_theirs:
        buttons.append(PageButton(_("Change") if hook else _("Set a webhook"), reverse("console:webhook_edit"), ""))
    intro = _("Low balances and used budgets are POSTed here, signed. The ends of videos go to the webhook of their API key.")
    return _facts_page(request, _("Webhook"), intro, facts, buttons)


@right_required(Right.MANAGE_WEBHOOK)
def edit_webhook(request: HttpRequest) -> HttpResponse:
    """Set the webhook; a secret that is new is shown this once."""
    tenant = tenant_of(request)
    hook = Webhook.objects.filter(tenant=tenant).first()
    back = reverse("console:webhook")

    def act(fields: dict[str, Any]) -> HttpResponse:
        is_active, is_new = fields["is_active"], fields.get("new_secret", False)
        changed, secret = set_tenant_webhook(
            tenant=tenant, url=fields["url"], is_active=is_active, new_secret=is_new, actor=actor_of(request)
        )
        if not secret:
            return redirect(back)
        facts = [(_("Webhook"), changed.url)]
        title = _("Your webhook's secret")
        return admin_page(request, "console/secret_once.html", title=title, secret=secret, facts=facts, back=back)

    form = TenantWebhookForm(request.POST or None, initial={"url": hook.url, "is_active": hook.is_active} if hook else None)
    if hook is None:
        del form.fields["new_secret"]
    return form_page(request, form, act, title=_("Webhook"), verb=_("Save"), back=back)


@right_required(Right.MANAGE_WEBHOOK)
def delete_webhook(request: HttpRequest) -> HttpResponse:
    """Ask first; a POST deletes the webhook and its secret."""
    tenant = tenant_of(request)
    hook = Webhook.objects.filter(tenant=tenant).first()
    if hook is None:
        raise Http404
    back = reverse("console:webhook")

    def act(_fields: dict[str, Any]) -> HttpResponse:
        delete_tenant_webhook(tenant=tenant, actor=actor_of(request))
        messages.success(request, _("The webhook is deleted."))
        return redirect(back)

    intro = _("Nothing is sent there any more, and its secret is gone. What was delivered stays in the list.")
    return form_page(
        request,
        _no_fields(request),
        act,
        title=_("Delete the webhook"),
        verb=_("Delete"),
        back=back,
        intro=intro,
        facts=[(_("Address"), hook.url)],
        is_danger=True,
    )


@right_required(Right.MANAGE_WEBHOOK)
def test_webhook(request: HttpRequest) -> HttpResponse:
    """Ask first; a POST sends a message of the type `webhook.test` now, once, and says what came of it."""
    tenant = tenant_of(request)
    back = reverse("console:webhook")

    def act(_fields: dict[str, Any]) -> HttpResponse:
        message = post_tenant_test(tenant)
        delivery.deliver_once(message)
        attempt = outbox.message_of(message.id).attempts.get()
        if not attempt.problem:
            messages.success(request, _("The receiver answered with %(status)s.") % {"status": attempt.status})
        else:
            what = attempt.status or attempt.problem
            messages.error(request, _("The message did not arrive: %(why)s") % {"why": what})
        return redirect(back)

    intro = _("A message of the type webhook.test is sent now, once.")
    return form_page(request, _no_fields(request), act, title=_("Send a test message"), verb=_("Send"), back=back, intro=intro)


# --- the bucket -----------------------------------------------------------------------------------------------------


class BucketForm(OssConfigForm):
    class Meta:
        model = OssConfig
        fields = (
            *("mode", "driver", "region", "bucket", "endpoint", "custom_domain", "is_public"),
            *("access_key_id", "access_key_secret"),
        )
        widgets = {
            "mode": UnfoldAdminSelectWidget,
            "driver": UnfoldAdminSelectWidget,
            **dict.fromkeys(("region", "bucket", "endpoint", "custom_domain", "access_key_id"), UnfoldAdminTextInputWidget),
            "is_public": UnfoldBooleanWidget,
        }


def bucket(request: HttpRequest) -> HttpResponse:
    """Where the tenant's results go, and how much room they take."""
    tenant = tenant_of(request)
    config = OssConfig.objects.filter(tenant=tenant).first()
    usage = StorageUsage.objects.filter(tenant=tenant).first()
    facts = [(_("Storage"), (config or OssConfig()).get_mode_display())]
    if config is not None and config.mode == OssConfig.Mode.CUSTOM:
        facts += [
            (_("Driver"), config.get_driver_display()),
            (_("Region"), config.region or "–"),
            (_("Bucket"), config.bucket or "–"),
            (_("Endpoint"), config.endpoint or "–"),
            (_("Custom domain"), config.custom_domain or "–"),
            (_("Public"), _("Yes") if config.is_public else _("No")),
            (_("Access key id"), config.access_key_id or "–"),
            (_("Access key secret"), mask(config.access_key_secret) or "–"),
        ]
    facts.append((_("Used"), filesizeformat(usage.used_bytes if usage else 0)))
    if usage is not None and usage.quota_bytes is not None:
        facts.append((_("Quota"), filesizeformat(usage.quota_bytes)))
    buttons = []
    if may(request, Right.MANAGE_BUCKET):
        if config is not None and config.mode == OssConfig.Mode.CUSTOM:
            buttons.append(PageButton(_("Test the bucket"), reverse("console:bucket_test"), ""))
        buttons.append(PageButton(_("Change"), reverse("console:bucket_edit"), ""))
    intro = _("Images and videos go into the platform's storage, or into a bucket of your own.")
    return _facts_page(request, _("Bucket"), intro, facts, buttons)


@right_required(Right.MANAGE_BUCKET)
@reauthentication_required
def edit_bucket(request: HttpRequest) -> HttpResponse:
    """Set the bucket. The secret is typed, never shown; blank keeps the stored one."""
    tenant = tenant_of(request)
    config = OssConfig.objects.filter(tenant=tenant).first() or OssConfig(tenant=tenant)
    back = reverse("console:bucket")
    form = BucketForm(request.POST or None, instance=config)

    def act(_fields: dict[str, Any]) -> HttpResponse:
        _save_bucket(form, actor_of(request))
        messages.success(request, _("The bucket is saved."))
        return redirect(back)

    hidden = [(VERSIONS, versions_of([form]))]
    return form_page(request, form, act, title=_("Bucket"), verb=_("Save"), back=back, hidden=hidden)


def _save_bucket(form: BucketForm, actor: str) -> None:
    """Keep what the form says and note which fields changed, secrets by their name alone."""
    is_new = form.instance._state.adding
    secret = {field.name for field in OssConfig._meta.concrete_fields if isinstance(field, EncryptedTextField)}
    names = form.changed_data
    before = {name: CHANGED if name in secret else form.initial.get(name) for name in names}
    after = {name: CHANGED if name in secret else form.cleaned_data[name] for name in names}
    with transaction.atomic():
        config = form.save()
        action = "ossconfig.create" if is_new else "ossconfig.change"
        audit.record(actor=actor, action=action, target=config, before=None if is_new else before, after=after)


@right_required(Right.MANAGE_BUCKET)
def test_bucket(request: HttpRequest) -> HttpResponse:
    """Ask first; a POST writes, reads and deletes a small file in the tenant's own bucket."""
    config = OssConfig.objects.select_related("tenant").filter(tenant=tenant_of(request), mode=OssConfig.Mode.CUSTOM).first()
    if config is None:
        raise Http404
    back = reverse("console:bucket")

    def act(_fields: dict[str, Any]) -> HttpResponse:
        checked = check(backend_of_config(config), folder_of(Principal("tenant", str(config.tenant_id))))
        after = {"ok": checked.ok, "reason": checked.reason}
        audit.record(actor=actor_of(request), action="ossconfig.check", target=config, after=after, request=request)
        _say(request, checked)
        return redirect(back)

    intro = _("A small file is written, read and deleted. The settings that are saved are used.")
    facts = [(_("Bucket"), config.bucket or "–"), (_("Endpoint"), config.endpoint or "–")]
    title, verb = _("Test the bucket"), _("Test now")
    return form_page(request, _no_fields(request), act, title=title, verb=verb, back=back, intro=intro, facts=facts)


def _say(request: HttpRequest, checked: Checked) -> None:
    if checked.ok:
        text = _("The bucket works: a file was written, read and deleted in %(ms)s ms.") % {"ms": checked.elapsed_ms}
        messages.success(request, text)
    else:
        messages.error(request, _("The bucket does not work: %(why)s") % {"why": checked.message})


# --- both -----------------------------------------------------------------------------------------------------------


def _no_fields(request: HttpRequest) -> forms.Form:
    return forms.Form(request.POST if request.method == "POST" else None)


def _facts_page(request: HttpRequest, title: str, intro: str, facts: list[Any], buttons: list[PageButton]) -> HttpResponse:
    return admin_page(request, "console/integration.html", title=title, intro=intro, facts=facts, buttons=buttons)
