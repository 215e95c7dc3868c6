"""Forms that do not undo newer changes: each carries the versions of the values it was read with.

The page has one hidden input with a digest for every field of every row that can be changed on it, those of the rows
below the form (and of a list that is edited) included. What is sent back is compared with the rows as they are then: a
field that somebody else has changed meanwhile is an error beside it, which shows both values, and nothing is saved.
"""

import contextlib
import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from waule.core.crypto.encryption import SecretFormField, mask
from waule.core.db.versions import digest

VERSIONS = "_versions"  # the hidden input
CONFLICT = "conflict"  # the code of the errors
MAX_SHOWN = 200  # characters of a value
_NEVER_COMPARED = ("DELETE", "ORDER")

Versions = dict[str, dict[str, str]]  # of a page: row, field, digest


class VersionedForm(forms.ModelForm):
    """A model form that compares the versions that were sent with it."""

    @cached_property
    def row_name(self) -> str:
        """Names the row of this form within its page; "" for one that is not there yet."""
        if self.instance._state.adding or self.instance.pk is None:
            return ""
        return f"{self.instance._meta.label_lower}:{self.instance.pk}"

    @cached_property
    def versions(self) -> dict[str, str]:
        """A digest for each field, of the row as it is in the database."""
        return {
            name: digest(self.get_initial_for_field(field, name))
            for name, field in self.fields.items()
            if not field.disabled
            and name not in _NEVER_COMPARED
            and not isinstance(field, forms.models.InlineForeignKeyField)
            and name != self.instance._meta.pk.name
        }

    def full_clean(self) -> None:
        if self.row_name:
            _read_now = self.versions  # cleaning puts what was sent into the row
        super().full_clean()

    def _post_clean(self) -> None:
        before = {name: self.get_initial_for_field(self.fields[name], name) for name in self.versions} if self.row_name else {}
        super()._post_clean()  # type: ignore[misc]
        try:
            changed = self._changed_meanwhile()
        except ValidationError as error:
            self.add_error(None, error)
            return
        for name in changed:
            given = self.cleaned_data.get(name, self.data.get(self.add_prefix(name), ""))
            self.add_error(name, conflict_error(shown(self.fields[name], before[name]), shown(self.fields[name], given)))

    def _changed_meanwhile(self) -> list[str]:
        if not self.row_name:
            return []
        read = sent_versions(self.data.get(VERSIONS)).get(self.row_name, {})
        return [name for name, version in self.versions.items() if read.get(name, version) != version]


class VersionedFormSet(forms.BaseModelFormSet):
    """The rows of a list that is edited as a whole. Its management form, which every page draws, carries the versions."""

    @cached_property
    def management_form(self) -> Any:
        form = forms.BaseModelFormSet.management_form.func(self)  # type: ignore[attr-defined]
        form.fields[VERSIONS] = forms.CharField(required=False, widget=forms.HiddenInput)
        form.initial[VERSIONS] = ""
        form.add_prefix = lambda name: name if name == VERSIONS else f"{self.prefix}-{name}"
        if not self.is_bound:
            form.initial[VERSIONS] = versions_of(self.initial_forms)
        return form


def conflict_error(current: str, given: str) -> ValidationError:
    message = _(
        "Somebody else has changed this meanwhile. It is “%(current)s” now; you entered “%(given)s”. "
        "Nothing is saved yet: save again to keep what you entered."
    )
    return ValidationError(message, code=CONFLICT, params={"current": current, "given": given})


def sent_versions(text: Any) -> Versions:
    """Return what came back in the hidden input. Raises ValidationError where somebody has tampered with it."""
    if not text:
        return {}
    try:
        found = json.loads(text)
        assert isinstance(found, dict)
        assert all(isinstance(row, dict) for row in found.values())
    except (ValueError, AssertionError, RecursionError):
        raise ValidationError(gettext_lazy("This form is damaged. Open it anew."), code=CONFLICT) from None
    return found


def versions_of(found: Iterable[Any]) -> str:
    """Return the hidden input's value for all these forms."""
    versioned = [form for form in found if isinstance(form, VersionedForm) and form.row_name]
    return json.dumps({form.row_name: form.versions for form in versioned}, separators=(",", ":"))


@lru_cache(maxsize=256)
def versioned(form: type[forms.BaseModelForm]) -> Any:
    """`form`, which compares versions."""
    return (
        form if issubclass(form, VersionedForm) else type(form.__name__, (VersionedForm, form), {"__module__": form.__module__})
    )


def shown(field: Any, value: Any) -> str:
    """Return a value as the reader knows it from the form."""
    if value is None or value == "":
        return "–"
    if isinstance(field, SecretFormField):
        return mask(value)
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)[:MAX_SHOWN]
    if isinstance(value, bool):
        return str(_("Yes") if value else _("No"))
    is_choice = isinstance(field, forms.ChoiceField) and not hasattr(field, "queryset")
    choices: dict[Any, Any] = dict(getattr(field, "choices", ())) if is_choice else {}
    if isinstance(value, list | tuple | set) or hasattr(value, "iterator"):
        return ", ".join(sorted(str(choices.get(str(each), each)) for each in value))[:MAX_SHOWN] or "–"
    if hasattr(field, "queryset") and not hasattr(value, "pk"):
        with contextlib.suppress(ValueError, TypeError, ValidationError):  # what was sent may be no key at all
            value = field.queryset.filter(pk=value).first() or value
    return str(choices.get(value, value))[:MAX_SHOWN]
