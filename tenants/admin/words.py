"""Stored codes in the reader's language: who acted, what was done, which event. The code stays beside the words."""

import re
from datetime import datetime
from functools import cache
from typing import Any

from django.apps import apps
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from tenants.models import Scope

OUR_APPS = frozenset({"aiservices", "billing", "storage", "tenants"})
_CAPITAL = re.compile("[A-Z]")
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")
ACTORS = {
    "admin": gettext_lazy("Staff"),
    "command": gettext_lazy("Command line"),
    "gateway": gettext_lazy("Gateway"),
    "generation": gettext_lazy("Platform"),
    "internal": gettext_lazy("Internal API"),
    "key": gettext_lazy("API key"),
    "provider": gettext_lazy("Provider"),
    "sora-sync": gettext_lazy("Sora service"),
    "tenant": gettext_lazy("Tenant"),
    "user": gettext_lazy("User"),
    "waule": gettext_lazy("Platform"),
    "worker": gettext_lazy("Worker"),
}
OBJECTS = {
    "alert": gettext_lazy("Alert"),
    "alertthreshold": gettext_lazy("Low-balance threshold"),
    "aimodel": gettext_lazy("Model"),
    "apikey": gettext_lazy("API key"),
    "billingrule": gettext_lazy("Price rule"),
    "approval": gettext_lazy("Approval"),
    "budget": gettext_lazy("Budget"),
    "catalog": gettext_lazy("Catalog"),
    "credential": gettext_lazy("Credential"),
    "credits": gettext_lazy("Credits"),
    "generation": gettext_lazy("Generation"),
    "group": gettext_lazy("Group"),
    "hold": gettext_lazy("Hold"),
    "key": gettext_lazy("API key"),
    "ledger": gettext_lazy("Ledger"),
    "level": gettext_lazy("Level"),
    "levelconfig": gettext_lazy("Level"),
    "member": gettext_lazy("Member"),
    "model": gettext_lazy("Model"),
    "oss_config": gettext_lazy("Bucket"),
    "ossconfig": gettext_lazy("Bucket"),
    "outbox": gettext_lazy("Webhook delivery"),
    "redemption": gettext_lazy("Redemption codes"),
    "redemptionbatch": gettext_lazy("Redemption codes"),
    "second_factor": gettext_lazy("Second factor"),
    "rule": gettext_lazy("Price rule"),
    "secret": gettext_lazy("Secret"),
    "storageusage": gettext_lazy("Storage quota"),
    "tenant": gettext_lazy("Tenant"),
    "tenantmember": gettext_lazy("Member"),
    "user": gettext_lazy("User"),
    "webhook": gettext_lazy("Webhook"),
}
ACTS = {
    "acknowledge": pgettext_lazy("audit log", "acknowledged"),
    "add": pgettext_lazy("audit log", "added"),
    "adjust": pgettext_lazy("audit log", "adjusted"),
    "adopt": pgettext_lazy("audit log", "taken over from the service"),
    "apply": pgettext_lazy("audit log", "applied"),
    "approve": pgettext_lazy("audit log", "approved"),
    "ask": pgettext_lazy("audit log", "asked for"),
    "archive": pgettext_lazy("audit log", "archived"),
    "change": pgettext_lazy("audit log", "changed"),
    "check": pgettext_lazy("audit log", "tested"),
    "close": pgettext_lazy("audit log", "closed"),
    "conflict": pgettext_lazy("audit log", "changed on both sides"),
    "copy": pgettext_lazy("audit log", "copied into the bucket"),
    "create": pgettext_lazy("audit log", "created"),
    "delete": pgettext_lazy("audit log", "deleted"),
    "disable": pgettext_lazy("audit log", "switched off"),
    "download": pgettext_lazy("audit log", "downloaded"),
    "edit": pgettext_lazy("audit log", "changed"),
    "enable": pgettext_lazy("audit log", "switched on"),
    "erase": pgettext_lazy("audit log", "erased"),
    "expire": pgettext_lazy("audit log", "expired"),
    "export": pgettext_lazy("audit log", "exported"),
    "fail": pgettext_lazy("audit log", "failed"),
    "grant": pgettext_lazy("audit log", "granted"),
    "import": pgettext_lazy("audit log", "imported"),
    "missing": pgettext_lazy("audit log", "missing at the service"),
    "password": pgettext_lazy("audit log", "password changed"),
    "pull": pgettext_lazy("audit log", "updated from the service"),
    "read": pgettext_lazy("audit log", "read"),
    "refund": pgettext_lazy("audit log", "refunded"),
    "reject": pgettext_lazy("audit log", "rejected"),
    "release": pgettext_lazy("audit log", "released"),
    "remove": pgettext_lazy("audit log", "removed"),
    "resend": pgettext_lazy("audit log", "sent again"),
    "reset": pgettext_lazy("audit log", "reset"),
    "restore": pgettext_lazy("audit log", "restored"),
    "reveal": pgettext_lazy("audit log", "revealed"),
    "revoke": pgettext_lazy("audit log", "revoked"),
    "revoked": pgettext_lazy("audit log", "revoked"),
    "set": pgettext_lazy("audit log", "set"),
    "set_up": pgettext_lazy("audit log", "set up"),
    "settle": pgettext_lazy("audit log", "settled"),
    "test": pgettext_lazy("audit log", "tested"),
    "use_again": pgettext_lazy("audit log", "cooldown ended"),
    "webhook": pgettext_lazy("audit log", "webhook changed"),
}
# Fields of audit entries that are no fields of a model, or need a clearer word.
FIELDS = {
    "added": gettext_lazy("added"),
    "acknowledgedBy": gettext_lazy("acknowledged by"),
    "balance": gettext_lazy("can be spent"),
    "base_credits": gettext_lazy("base price"),
    "changes": gettext_lazy("changes"),
    "codes": gettext_lazy("codes"),
    "credits": gettext_lazy("credits"),
    "creditsHeld": gettext_lazy("held credits"),
    "deleted": gettext_lazy("entries deleted"),
    "devices": gettext_lazy("devices"),
    "enabled_models": gettext_lazy("enabled models"),
    "failed": gettext_lazy("invalid"),
    "field": gettext_lazy("field"),
    "ids": gettext_lazy("ids"),
    "is_active": gettext_lazy("active"),
    "key": gettext_lazy("API key"),
    "kind": gettext_lazy("kind"),
    "level": gettext_lazy("level"),
    "limit": gettext_lazy("limit in credits"),
    "limit_credits": gettext_lazy("limit in credits"),
    "low_balance": gettext_lazy("low from"),
    "membership_expires_at": gettext_lazy("membership expires"),
    "models": gettext_lazy("models"),
    "name": gettext_lazy("name"),
    "note": gettext_lazy("note"),
    "refunded": gettext_lazy("refunded"),
    "replaced": gettext_lazy("secret replaced"),
    "rotated": gettext_lazy("new secret"),
    "scopes": gettext_lazy("scopes"),
    "sha256": "SHA-256",
    "silencedUntil": gettext_lazy("silent until"),
    "skipped": gettext_lazy("skipped"),
    "state": gettext_lazy("state"),
    "tenant": gettext_lazy("tenant"),
    "time_zone": gettext_lazy("time zone"),
    "updated": gettext_lazy("updated"),
    "uses": gettext_lazy("uses of each"),
    "way": gettext_lazy("signed in with"),
}
# The counts of a catalog that was applied: "model added", "rule switched off".
COUNTED = {"added": ACTS["add"], "changed": ACTS["change"], "removed": ACTS["remove"], "switched off": ACTS["disable"]}
# What these fields of audit entries say, where that is a code and no choice of a model's field.
VALUES = {("way", "session"): gettext_lazy("a session"), ("way", "token"): gettext_lazy("a token")}
# Codes that stand in names, reasons and descriptions where no person wrote them; billing adds its own.
CATALOG_FILE = "catalog file"
CODES: dict[str, Any] = {
    CATALOG_FILE: gettext_lazy("Catalog file"),
    "password": gettext_lazy("Wrong password"),  # of a failed login
    "second factor": gettext_lazy("Wrong second factor"),
}
SIGNED_ACTIONS = frozenset({"credits.grant", "credits.adjust", "credits.refund"})
WHOLE_ACTIONS = {"login": gettext_lazy("Login"), "login.failed": gettext_lazy("Login failed")}
EVENTS: dict[str, Any] = {
    "video.completed": gettext_lazy("Video completed"),
    "video.failed": gettext_lazy("Video failed"),
    "video.canceled": gettext_lazy("Video canceled"),
}  # billing adds its alerts
# Why an attempt to deliver failed; a code of an error otherwise (see CODES).
PROBLEMS = {
    "forbidden_address": gettext_lazy("The address is forbidden"),
    "internal": gettext_lazy("An error of ours"),
    "no_address": gettext_lazy("No e-mail address"),
    "no_webhook": gettext_lazy("No webhook is set"),
    "smtp_interrupted": gettext_lazy("The mail server broke off"),
    "smtp_recipient_refused": gettext_lazy("The mail server refused the recipient"),
    "smtp_unreachable": gettext_lazy("The mail server could not be reached"),
    "timeout": gettext_lazy("No answer in time"),
    "url": gettext_lazy("The address is not a usable URL"),
}


def actor_in_words(actor: str) -> str:
    """`admin:root` as "Staff: root"; what is no code of ours stays as it is."""
    kind, separator, name = actor.partition(":")
    if kind not in ACTORS:
        return actor or "–"
    return f"{ACTORS[kind]}: {name}" if separator else str(ACTORS[kind])


def action_in_words(action: str) -> str:
    """`key.revoke` as "API key: revoked"; an action without words stays as it is."""
    if action in WHOLE_ACTIONS:
        return str(WHOLE_ACTIONS[action])
    thing, _dot, act = action.partition(".")
    if thing not in OBJECTS or act not in ACTS:
        return action
    return _("%(object)s: %(act)s") % {"object": OBJECTS[thing], "act": ACTS[act]}


def changes_in_words(action: str, before: Any, after: Any, target_type: str = "") -> list[str]:
    """Return what an act changed, a line for each field: "limit in credits: 1,000 → 2,000", "credits: +500".

    `target_type` is the label of the object's model, which has names for its fields.
    """
    if not isinstance(before, dict) and not isinstance(after, dict):
        values = [_value_in_words(value) for value in (before, after) if value not in (None, "", [], {})]
        return [" → ".join(values)] if values else []
    old, new = (value if isinstance(value, dict) else {} for value in (before, after))
    lines = []
    for name in dict.fromkeys([*new, *old]):
        label = field_in_words(name, target_type)
        if name in old and name in new:
            if old[name] != new[name]:
                lines.append(f"{label}: {_value_in_words(old[name], name)} → {_value_in_words(new[name], name)}")
        elif name in new:
            is_amount = name == "credits" and action in SIGNED_ACTIONS and isinstance(new[name], int)
            lines.append(f"{label}: {format(new[name], '+,') if is_amount else _value_in_words(new[name], name)}")
        else:
            lines.append(f"{label}: {_value_in_words(old[name], name)} → –")
    return lines


def field_in_words(name: str, target_type: str = "") -> str:
    """Return a field of an audit entry as forms call it: by FIELDS, by its own model, else by any model of ours that has it."""
    if name in FIELDS:
        return str(FIELDS[name])
    thing, _space, act = name.partition(" ")
    if thing in OBJECTS and act in COUNTED:
        return f"{OBJECTS[thing]} {COUNTED[act]}"
    column = _CAPITAL.sub(lambda found: f"_{found[0].lower()}", name)
    own = _names_of_fields().get(f"{target_type}.{column}")
    return str(own or _names_of_fields().get(column) or name)


@cache
def _names_of_fields() -> dict[str, Any]:
    """Return their names in forms, where somebody gave them one: by `app.model.field`, and by the field alone."""
    names: dict[str, Any] = {}
    ambiguous: set[str] = set()
    for model in apps.get_models():
        for field in model._meta.concrete_fields:
            if model._meta.app_label in OUR_APPS and isinstance(field.verbose_name, Promise):
                names[f"{model._meta.label_lower}.{field.name}"] = field.verbose_name
                if names.setdefault(field.name, field.verbose_name) != field.verbose_name:
                    ambiguous.add(field.name)  # what one model means by it is not what another does
    return {name: shown for name, shown in names.items() if name not in ambiguous}


@cache
def _names_of_choices() -> dict[tuple[str, str], Any]:
    """Return what forms call a value that a field is chosen from, by the field's name and the value."""
    fields = (field for model in apps.get_models() if model._meta.app_label in OUR_APPS for field in model._meta.concrete_fields)
    named = {(field.name, str(value)): name for field in fields for value, name in field.flatchoices if isinstance(name, Promise)}
    return VALUES | named | {("scopes", scope.value): scope.label for scope in Scope}


def _value_in_words(value: Any, name: str = "") -> str:
    if isinstance(value, str) and (name, value) in _names_of_choices():
        return str(_names_of_choices()[name, value])
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return str(_("Yes") if value else _("No"))
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(_value_in_words(each, name) for each in value) or "–"
    if isinstance(value, dict):
        return ", ".join(f"{field_in_words(name)} {_value_in_words(each)}" for name, each in value.items()) or "–"
    return time_in_words(str(value))


def time_in_words(text: str) -> str:
    """Return a timestamp that was stored as text, as all others are shown; whatever else was stored stays as it is."""
    try:
        timestamp = datetime.fromisoformat(text) if _TIMESTAMP.match(text) else None
    except ValueError:
        return text
    return text if timestamp is None else date_format(timezone.localtime(timestamp), "DATETIME_FORMAT")


def code_in_words(text: str) -> str:
    """Return a reason or description where it is a code of ours; what a person wrote stays as it is."""
    return str(CODES.get(text, text))


def name_in_words(name: str) -> str:
    """Return a stored name that is made of a code of ours: `image_generation 15`, `catalog file models.yaml`."""
    if name.startswith(f"{CATALOG_FILE} "):
        return f"{CODES[CATALOG_FILE]}{name.removeprefix(CATALOG_FILE)}"
    code, _space, number = name.rpartition(" ")
    return f"{CODES[code]} {number}" if code in CODES and number.isdigit() else code_in_words(name)


def event_in_words(kind: str) -> str:
    """Return the kind of a webhook's event, such as `video.failed`; one without words stays as it is."""
    return str(EVENTS.get(kind, kind))


def problem_in_words(problem: str) -> str:
    """Return why an attempt to deliver failed; a problem without words stays as it is."""
    if problem.startswith("status_"):
        return _("Answered with status %(status)s") % {"status": problem.removeprefix("status_")}
    return str(PROBLEMS.get(problem) or code_in_words(problem))


def with_code(words: Any, code: str) -> Any:
    """Return the words, with the code that they stand for beside them."""
    if not code:
        return "–"
    if str(words) == code:
        return code
    return format_html('{} <span class="waule-mask">{}</span>', words, code)
