"""Secrets in forms: typed once, shown never, kept where the field is left blank."""

from typing import Any

from unfold.widgets import UnfoldAdminPasswordWidget

from waule.core.admin.versions import VersionedForm
from waule.core.crypto.encryption import SecretFormField


class SecretsForm(VersionedForm):
    """A model form whose boxes for secrets look like the admin's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            if isinstance(field, SecretFormField):
                field.widget = UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}, render_value=False)
                field.widget.is_required = field.required

    def clean(self) -> dict[str, Any]:
        """Return what was left blank counts as what is stored."""
        cleaned = super().clean() or self.cleaned_data
        for name, field in self.fields.items():
            if isinstance(field, SecretFormField) and not cleaned.get(name) and name not in self.errors:
                cleaned[name] = getattr(self.instance, name, None) or ""
        return cleaned
