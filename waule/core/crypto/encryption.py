"""Secrets at rest: sealed with authenticated encryption under rotatable keys, found again by a keyed hash.

`EncryptedTextField` seals with the Fernet keys of `ENCRYPTION_KEYS` (newest first: the newest writes, all of them read).
The sealed text names the table, the column and the row that it belongs to, so that one copied elsewhere does not open.
In Python a secret is a `Secret`: whatever prints, formats or renders it shows the mask; `reveal` gives the text.
"""

import hashlib
import hmac
import json
from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django import forms
from django.conf import settings
from django.core import checks
from django.db import models
from django.db.models.query_utils import DeferredAttribute
from django.utils.html import escape
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from waule.core.errors import NotConfigured

MASK = "…"


class SecretUnreadable(NotConfigured):
    """503: a stored secret was sealed with a key that `ENCRYPTION_KEYS` no longer has, or for another row."""

    message = _(
        "A stored secret cannot be decrypted: its key is missing from ENCRYPTION_KEYS. "
        "Put the key back or enter the secret again."
    )


@lru_cache(maxsize=4)
def _keyring(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key.encode()) for key in keys])


def seal(value: str, place: str) -> bytes:
    """`value` sealed under the newest key, for `place` alone (`place_of`)."""
    return _keyring(tuple(settings.ENCRYPTION_KEYS)).encrypt(json.dumps({"place": place, "value": value}).encode())


def open_sealed(sealed: bytes, place: str) -> str:
    """Return the text that was sealed for `place`. What was sealed before places were named (a bare JSON string) opens anywhere.

    Raises:
        SecretUnreadable: no key opens it, or it was sealed for another place.
    """
    if not sealed:
        return ""  # what a column gets that is added to rows
    try:
        found = json.loads(_keyring(tuple(settings.ENCRYPTION_KEYS)).decrypt(sealed))
    except InvalidToken:
        raise SecretUnreadable from None
    if isinstance(found, dict):
        if found["place"] != place:
            raise SecretUnreadable(
                _("A stored secret cannot be decrypted: it was sealed for another row. Enter it again."), reason="moved"
            )
        return str(found["value"])
    return str(found)


def key_number(sealed: bytes) -> int | None:
    """Return which of ENCRYPTION_KEYS sealed this, counted from 0 (the newest); None if none of them did."""
    for number, key in enumerate(settings.ENCRYPTION_KEYS):
        try:
            Fernet(key.encode()).decrypt(sealed)
        except InvalidToken:
            continue
        return number
    return None


def is_bound(sealed: bytes) -> bool:
    """Return whether this names the place that it was sealed for."""
    return isinstance(json.loads(_keyring(tuple(settings.ENCRYPTION_KEYS)).decrypt(sealed)), dict)


def place_of(model: type[models.Model], column: str, row: Any) -> str:
    """Return the name of one cell: table, column, and what identifies the row (`EncryptedTextField.bound_to`)."""
    return f"{model._meta.db_table}.{column}:{row}"


class Secret:
    """A secret text. Shown as its mask wherever it is turned into text; JSON, concatenation and the like refuse it."""

    __slots__ = ("_value", "place", "sealed")

    def __init__(self, value: str | None = None, *, sealed: bytes | None = None, place: str | None = None) -> None:
        self._value, self.sealed, self.place = value, sealed, place

    def reveal(self) -> str:
        """Return the text.

        Raises:
            SecretUnreadable.
        """
        if self._value is None:
            if self.place is None or self.sealed is None:
                raise TypeError("A secret can be read from its row only, not from values() or raw rows.")
            self._value = open_sealed(self.sealed, self.place)
        return self._value

    @property
    def is_readable(self) -> bool:
        if self._value is None and self.place is None:
            return False
        try:
            self.reveal()
        except SecretUnreadable:
            return False
        return True

    def sealed_for(self, place: str) -> bytes:
        """As it is stored in `place`; one that cannot be read stays as it is."""
        if self.sealed is not None and (self.place == place or not self.is_readable):
            return self.sealed
        return seal(self.reveal(), place)

    def __str__(self) -> str:
        return mask(self)

    def __repr__(self) -> str:
        return f"<Secret {MASK}>"

    def __format__(self, format_spec: str) -> str:
        return format(str(self), format_spec)

    def __html__(self) -> SafeString:
        return escape(str(self))

    def __bool__(self) -> bool:
        return not self.is_readable or bool(self.reveal())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Secret) and not (self.is_readable and other.is_readable):
            return self.sealed == other.sealed
        if isinstance(other, Secret):
            other = other.reveal()
        if not isinstance(other, str):
            return NotImplemented
        return self.is_readable and hmac.compare_digest(self.reveal().encode(), other.encode())

    def __hash__(self) -> int:
        return hash(self.reveal() if self.is_readable else self.sealed)

    def __copy__(self) -> "Secret":
        return self

    def __deepcopy__(self, memo: Any) -> "Secret":
        return self

    def __reduce__(self) -> Any:
        raise TypeError("A secret cannot be pickled.")


class SecretAttribute(DeferredAttribute):
    """Makes texts that are assigned secrets, and tells a secret that was read which row it stands in."""

    def __get__(self, instance: Any, cls: Any = None) -> Any:
        value = super().__get__(instance, cls)
        if isinstance(value, Secret) and value.place is None and value.sealed is not None:
            value.place = instance._meta.get_field(self.field.name).place(instance)
        return value

    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__[self.field.attname] = Secret(value) if isinstance(value, str) else value


class SecretFormField(forms.CharField):
    """Typed, never shown. Left blank it keeps what is stored (`EncryptedTextField.save_form_data`)."""

    widget = forms.PasswordInput

    def __init__(self, **kwargs: Any) -> None:
        kwargs["widget"] = forms.PasswordInput(render_value=False, attrs={"autocomplete": "new-password"})
        super().__init__(**kwargs)

    def prepare_value(self, value: Any) -> str:
        return ""

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(data) and initial != data

    def get_bound_field(self, form: Any, field_name: str) -> forms.BoundField:
        """The form shows the mask of what is stored, and does not ask for it again."""
        row = getattr(form, "instance", None)
        if row is not None and not row._state.adding and (stored := getattr(row, field_name, None)):
            self.required = self.widget.is_required = False
            self.help_text = _("Stored: %(mask)s. Blank keeps it.") % {"mask": mask(stored)}
        return super().get_bound_field(form, field_name)


class EncryptedTextField(models.TextField):
    """A text sealed in the row. Cannot be searched or sorted by: keep a `keyed_hash` beside it where that is needed.

    `bound_to` names the unique field of the row that the sealed text is bound to. It has to be known before the row is
    written: an automatic number as primary key will not do.
    """

    descriptor_class = SecretAttribute
    supported_lookups = ("isnull",)
    non_db_attrs = (*models.TextField.non_db_attrs, "bound_to")

    def __init__(self, *args: Any, bound_to: str = "pk", **kwargs: Any) -> None:
        self.bound_to = bound_to
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> tuple[str, str, Any, Any]:
        name, _path, args, kwargs = super().deconstruct()
        if self.bound_to != "pk":
            kwargs["bound_to"] = self.bound_to
        return name, "waule.core.crypto.encryption.EncryptedTextField", args, kwargs

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        options = self.model._meta
        field: Any = options.pk if self.bound_to == "pk" else options.get_field(self.bound_to)
        problem = None
        if isinstance(field, models.AutoField):
            problem = "is bound to a number that is not known before the row is written"
        elif not field.unique:
            problem = "is bound to a field that is not unique"
        found = [checks.Error(f"This encrypted field {problem}: name another with bound_to.", obj=self, id="waule.E010")]
        return [*super().check(**kwargs), *(found if problem else [])]

    def place(self, instance: models.Model) -> str:
        """Return the name of this field's cell in the row of `instance`."""
        options = instance._meta
        bound: Any = options.pk if self.bound_to == "pk" else options.get_field(self.bound_to)
        return place_of(type(instance), str(self.column), getattr(instance, bound.attname))

    def get_internal_type(self) -> str:
        return "BinaryField"

    def get_lookup(self, lookup_name: str) -> Any:
        return super().get_lookup(lookup_name) if lookup_name in self.supported_lookups else None

    def get_transform(self, lookup_name: str) -> Any:
        return None

    def to_python(self, value: Any) -> Any:
        return value if isinstance(value, Secret) else super().to_python(value)

    def get_prep_value(self, value: Any) -> Any:
        return value

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        value = getattr(model_instance, self.attname)
        return value.sealed_for(self.place(model_instance)) if isinstance(value, Secret) else value

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        if value is None:
            return None
        if not isinstance(value, bytes):
            if value:
                raise TypeError(f"{self} is sealed for its row: assign it there and save the row.")
            value = b""
        return connection.Database.Binary(value)

    def from_db_value(self, value: Any, *args: Any) -> Any:
        return None if value is None else Secret(sealed=bytes(value))

    def value_to_string(self, obj: models.Model) -> str:
        """Dump and fixtures never carry a secret, sealed or not."""
        return ""

    def clean(self, value: Any, model_instance: models.Model | None) -> Any:
        plain = value.reveal() if isinstance(value, Secret) and value.is_readable else value
        if not isinstance(plain, Secret):
            super().clean(plain, model_instance)
        return value

    def formfield(self, **kwargs: Any) -> Any:
        kwargs.pop("widget", None)
        return models.Field.formfield(self, form_class=SecretFormField, **kwargs)

    def save_form_data(self, instance: models.Model, data: Any) -> None:
        if data or not getattr(instance, self.attname):
            super().save_form_data(instance, data)


def reveal(value: Secret | None) -> str:
    """Return the secret, for the one place that uses it; "" where there is none.

    Raises:
        SecretUnreadable.
    """
    return value.reveal() if value is not None else ""


def mask(value: str | Secret | None) -> str:
    """Return how a secret is shown: its last four characters (none of a short one)."""
    if isinstance(value, Secret):
        if value.place is None and value.sealed is not None:
            return MASK
        if not value.is_readable:
            return str(_("cannot be decrypted"))
        value = value.reveal()
    if not value:
        return ""
    return f"{MASK}{value[-4:]}" if len(value) >= 12 else MASK


def keyed_hash(value: str) -> str:
    """64 hex digits by which a secret is found without opening it (HMAC-SHA256 with `LOOKUP_KEY`)."""
    return hmac.new(settings.LOOKUP_KEY.encode(), value.encode(), hashlib.sha256).hexdigest()
