"""Fields that point to other rows, chosen by an autocomplete.

Django's own widget asks the database for whatever was sent as a key, and breaks where that can be none: a form with such a
value would be a 500, where it has an error to show.
"""

from typing import Any

from django.contrib.admin.widgets import AutocompleteSelect, AutocompleteSelectMultiple
from django.core.exceptions import ValidationError
from django.db.models import Field, IntegerField
from django.forms import ModelMultipleChoiceField
from django.http import HttpRequest
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.contrib.filters.forms import AutocompleteDropdownForm

MAX_KEY = 2**63 - 1


def is_key(field: Field, text: Any) -> bool:
    """Return whether `text` can be a value of this column."""
    if not text or "\x00" in str(text):
        return False
    try:
        value = field.to_python(text)
    except (ValidationError, ValueError, OverflowError):
        return False
    return not isinstance(field, IntegerField) or -MAX_KEY <= value <= MAX_KEY


class _KeysOnly:
    """Looks up those values that can be keys; others are not among the choices, as unknown keys are not."""

    field: Any

    def optgroups(self, name: str, value: list[str], attr: Any = None) -> Any:
        keys = [each for each in value if is_key(self.field.remote_field.get_related_field(), each)]
        return super().optgroups(name, keys, attr)  # type: ignore[misc]


class RelatedSelect(_KeysOnly, AutocompleteSelect):  # type: ignore[misc]
    """Of one row."""


class RelatedSelectMultiple(_KeysOnly, AutocompleteSelectMultiple):  # type: ignore[misc]
    """Of several rows."""


class RelatedKeysField(ModelMultipleChoiceField):
    """Several rows. A value that can be no key is an invalid choice; Django's own asks the database for it."""

    def _check_values(self, value: Any) -> Any:
        field = self.queryset.model._meta.pk  # type: ignore[union-attr]
        for each in value if isinstance(value, (list, tuple)) else ():
            if not is_key(field, each):
                raise ValidationError(self.error_messages["invalid_pk_value"], code="invalid_pk_value", params={"pk": each})
        return super()._check_values(value)  # type: ignore[misc]


class RelatedFields:
    """For admin classes and inlines: the widgets of `autocomplete_fields`, and values that can be keys."""

    admin_site: Any

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        self._set_widget(RelatedSelect, db_field, request, kwargs)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)  # type: ignore[misc]

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        self._set_widget(RelatedSelectMultiple, db_field, request, kwargs)
        kwargs.setdefault("form_class", RelatedKeysField)
        return super().formfield_for_manytomany(db_field, request, **kwargs)  # type: ignore[misc]

    def _set_widget(self, widget: Any, db_field: Any, request: HttpRequest, kwargs: dict[str, Any]) -> None:
        if db_field.name in self.get_autocomplete_fields(request):  # type: ignore[attr-defined]
            kwargs.setdefault("widget", widget(db_field, self.admin_site, using=kwargs.get("using")))


class _DropdownForm(AutocompleteDropdownForm):
    widget = RelatedSelect


class RelatedFilter(AutocompleteSelectFilter):
    """A list's filter by one row that its rows point to."""

    form_class = _DropdownForm
