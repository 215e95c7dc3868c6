"""Secrets in forms: typed once, shown never, kept where the field is left blank."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminPasswordWidget

from waule.encryption import EncryptedTextField, Unreadable, mask


class SecretsForm(forms.ModelForm):
    """A model form in which every encrypted field is an empty password box; blank keeps the old secret."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in self.secret_names():
            stored = getattr(self.instance, name) if self.instance.pk and not self.instance._state.adding else ""
            field = self.fields[name]
            field.widget = UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}, render_value=False)
            field.strip = True  # type: ignore[attr-defined]
            self.initial[name] = ""
            if stored:
                field.required = False
                field.help_text = _("Stored: %(mask)s. Blank keeps it.") % {"mask": mask(stored)}

    def secret_names(self) -> list[str]:
        return [
            field.name
            for field in self._meta.model._meta.concrete_fields
            if isinstance(field, EncryptedTextField) and field.name in self.fields
        ]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        for name in self.secret_names():
            if not cleaned.get(name):
                stored = getattr(self.instance, name)
                cleaned[name] = stored if isinstance(stored, Unreadable) or stored else ""
        return cleaned
