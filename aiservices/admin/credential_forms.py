"""The forms of credentials: secrets are typed, never shown."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminTextInputWidget

from aiservices.credentials import services as credentials
from aiservices.credentials.models import SoraToken
from aiservices.credentials.secrets import check_proxy_url, check_secret
from waule.core.admin import SecretsForm
from waule.core.crypto.encryption import keyed_hash
from waule.core.errors import InvalidRequest, WauleError


class ReasonForm(forms.Form):
    reason = forms.CharField(
        label=_("Reason"),
        max_length=credentials.MAX_REASON_LENGTH,
        widget=UnfoldAdminTextInputWidget(attrs={"autofocus": True}),
        help_text=_("Stays beside the credential and in the audit log."),
    )


class UseAgainForm(ReasonForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].help_text = _("Stays in the audit log.")


class CredentialForm(SecretsForm):
    """What is wrong with a secret is said beside it, before the verb is asked."""

    def clean_secret(self) -> Any:
        secret = self.cleaned_data["secret"]
        if not isinstance(secret, str) or not secret:
            return secret
        try:
            secret = check_secret(secret)
        except WauleError as error:
            raise forms.ValidationError(str(error)) from None
        others = credentials.rows(self._meta.model.provider).filter(fingerprint=keyed_hash(secret)).exclude(pk=self.instance.pk)
        if self.instance._state.adding and self._meta.model is SoraToken:
            others = others.filter(is_missing_there=False)  # a token that the service lost is added anew
        if others.exists():
            raise forms.ValidationError(_("This one is there already."))
        return secret


class SoraTokenForm(CredentialForm):
    def clean_proxy_url(self) -> Any:
        url = self.cleaned_data["proxy_url"]
        if not isinstance(url, str):  # blank keeps the stored one
            return url
        try:
            return check_proxy_url(url)
        except InvalidRequest as error:
            raise forms.ValidationError(error.details["fields"]["proxy_url"]) from None
