"""Groups and permissions in the reader's language: Django stores the names of both in English."""

from typing import Any

from django.apps import apps
from django.contrib.admin import RelatedFieldListFilter
from django.contrib.auth import get_permission_codename
from django.contrib.auth.models import Group, Permission
from django.db.models import Model
from django.http import HttpRequest
from django.utils.functional import Promise
from django.utils.translation import gettext, gettext_lazy, pgettext_lazy

from waule.core.admin.related import RelatedKeysField

# The groups that come with the product.
GROUP_NAMES = {
    "auditor": gettext_lazy("Auditor"),
    "finance": gettext_lazy("Finance"),
    "operator": pgettext_lazy("group of staff", "Operator"),
}
ACTIONS = {
    "add": gettext_lazy("Can add %(name)s"),
    "change": gettext_lazy("Can change %(name)s"),
    "delete": gettext_lazy("Can delete %(name)s"),
    "view": gettext_lazy("Can view %(name)s"),
}


def group_in_words(group: Group) -> str:
    """Return the name of a group: of one that comes with the product in the reader's language, else as it was named."""
    return str(GROUP_NAMES.get(group.name, group.name))


def permission_in_words(permission: Permission) -> str:
    """As "Billing | Can add price rule": the app, and what may be done there."""
    model = permission.content_type.model_class()
    if model is None:  # of a model that is gone
        return permission.name
    app = apps.get_app_config(model._meta.app_label).verbose_name
    return f"{_translated(app)} | {_deed(permission, model)}"


def _deed(permission: Permission, model: type[Model]) -> str:
    for action, words in ACTIONS.items():
        if permission.codename == get_permission_codename(action, model._meta):
            return str(words) % {"name": _translated(model._meta.verbose_name)}
    return gettext(permission.name)


def _translated(name: Any) -> str:
    """Translate a name; one that its model or app left in English is looked up by what it says."""
    return str(name) if isinstance(name, Promise) else gettext(name)


class PermissionsField(RelatedKeysField):
    def label_from_instance(self, obj: Permission) -> str:
        return permission_in_words(obj)


class GroupsField(RelatedKeysField):
    def label_from_instance(self, obj: Group) -> str:
        return group_in_words(obj)


class GroupFilter(RelatedFieldListFilter):
    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> Any:
        return [(group.pk, group_in_words(group)) for group in Group.objects.order_by("name")]
