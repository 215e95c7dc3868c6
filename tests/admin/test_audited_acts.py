"""Every act that writes the audit log has words in both languages, and is found by its filter: the code is walked for them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils import translation
from django.utils.functional import Promise

from tenants import audit
from tenants.admin.audited import AuditedAdmin
from tenants.admin.words import action_in_words, changes_in_words
from tenants.models import AuditEntry
from tests.settings import PROJECT

PACKAGES = ("aiservices", "billing", "storage", "tenants", "waule")
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def of_forms() -> list[str]:
    """What the admin's own forms note, of rows and of the rows below them."""
    pages = [page for page in admin.site._registry.values() if isinstance(page, AuditedAdmin)]
    assert len(pages) >= 8
    names = {page.opts.model_name for page in pages}
    names |= {inline.model._meta.model_name for page in pages for inline in page.get_inlines(HttpRequest(), None)}
    return [f"{name}.{verb}" for name in sorted(names) for verb in ("create", "change", "delete")]


# Acts whose name the code puts together: what it can become. A new one has to be written down here.
COMPUTED: dict[str, Any] = {
    "aiservices/credentials/services.py:_turn": ["credential.enable", "credential.disable"],
    "aiservices/retention/erasure.py:_finish": ["tenant.erase", "user.erase"],
    "billing/admin/catalog/prices.py:note": [
        f"{row}.{verb}" for row in ("billingrule", "levelconfig") for verb in ("add", "change", "delete")
    ],
    "billing/approvals/services.py:_record": [f"approval.{verb}" for verb in ("ask", "approve", "reject", "expire", "fail")],
    "billing/services/grants.py:take": ["credits.grant", "credits.adjust"],
    "tenants/admin/audited.py": of_forms,
    "tenants/admin/members.py:_record": ["member.add", "member.change", "member.remove"],
    "waule/console/integration_pages.py:_save_bucket": ["ossconfig.create", "ossconfig.change"],
}


def noted() -> Iterator[tuple[str, ast.expr, dict[str, ast.expr]]]:
    """Where `audit.record` is called, with the action and the other arguments."""
    for package in PACKAGES:
        for path in sorted((PROJECT / package).rglob("*.py")):
            if "audit.record(" in (text := path.read_text()):
                yield from _in(path, ast.parse(text))


def _in(path: Path, tree: ast.AST) -> Iterator[tuple[str, ast.expr, dict[str, ast.expr]]]:
    inner: dict[int, str] = {}  # the innermost function of each call: walked from outside in
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            inner |= {id(node): function.name for node in ast.walk(function) if isinstance(node, ast.Call)}
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "audit.record":
            given = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
            yield f"{path.relative_to(PROJECT)}:{inner.get(id(call), '')}", given["action"], given


def constants(action: ast.expr) -> list[str] | None:
    """The actions that an expression spells out; None where it computes them."""
    if isinstance(action, ast.Constant):
        return [action.value]
    if isinstance(action, ast.IfExp):
        return [*(constants(action.body) or []), *(constants(action.orelse) or [])]
    return None


def every_action() -> list[str]:
    found: set[str] = set()
    for place, action, _given in noted():
        if (spelled := constants(action)) is not None:
            found |= set(spelled)
            continue
        known = COMPUTED.get(place) or COMPUTED.get(place.partition(":")[0])
        assert known is not None, f"{place} computes its action: say in COMPUTED what it can become"
        found |= set(known() if callable(known) else known)
    return sorted(found)


def test_every_act_has_words_in_both_languages() -> None:
    actions = every_action()
    assert len(actions) > 70
    with translation.override("en"):
        assert not [action for action in actions if action_in_words(action) == action]
    with translation.override("zh-hans"):
        assert not {action: words for action in actions if not CHINESE.search(words := action_in_words(action))}


def test_every_fact_of_an_act_has_words() -> None:
    """The names that are written into `before` and `after`, where the code spells them out."""
    names = set()
    for _place, _action, given in noted():
        for side in ("before", "after"):
            if isinstance(found := given.get(side), ast.Dict):
                names |= {key.value for key in found.keys if isinstance(key, ast.Constant)}
    assert len(names) > 20
    with translation.override("zh-hans"):
        labels = {name: changes_in_words("x.change", None, {name: 1})[0].removesuffix(": 1") for name in sorted(names)}
    assert not {name: label for name, label in labels.items() if not CHINESE.search(label) and label != "SHA-256"}


def test_every_changed_field_has_words() -> None:
    """Fields of the models that are changed by forms are called as their forms call them."""
    pages = [page for page in admin.site._registry.values() if isinstance(page, AuditedAdmin)]
    for page in pages:
        for field in page.opts.concrete_fields:
            if not field.editable or not isinstance(field.verbose_name, Promise):
                continue
            with translation.override("zh-hans"):
                (line,) = changes_in_words("x.change", None, {field.name: 1}, target_type=page.opts.label_lower)
            assert not line.startswith(f"{field.name}:"), (page, field.name)


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_each_act_is_found_by_its_filter(admin_client: Any, language: str) -> None:
    actions = every_action()
    for action in actions:
        audit.record(actor="command", action=action, target_name=f"target of {action}")
    admin_client.cookies["django_language"] = language
    address = reverse("admin:tenants_auditentry_changelist")
    page = admin_client.get(address).text
    for action in actions:
        with translation.override(language):
            assert action_in_words(action) in page
        answer = admin_client.get(address, {"action": action})
        assert {row.action for row in answer.context["cl"].result_list} == {action}, action
    assert AuditEntry.objects.values("action").distinct().count() >= len(actions)


def test_no_package_is_forgotten() -> None:
    ours = {config.name for config in apps.get_app_configs() if Path(config.path).is_relative_to(PROJECT / config.name)}
    assert {name for name in ours if name in PACKAGES} == {"aiservices", "billing", "storage", "tenants", "waule"}
