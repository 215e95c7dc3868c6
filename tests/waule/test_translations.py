"""Chinese and English throughout: nothing untranslated, and the compiled files are those of the sources."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import polib
import pytest
from django.conf import settings

LOCALE = Path(settings.BASE_DIR) / "locale"
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|\{\w*\}|%s")


def catalog(language: str) -> polib.POFile:
    return polib.pofile(str(LOCALE / language / "LC_MESSAGES" / "django.po"))


def test_every_text_has_its_chinese() -> None:
    missing = [entry.msgid for entry in catalog("zh_Hans") if not entry.obsolete and (not entry.translated() or entry.fuzzy)]
    assert missing == []


def test_the_chinese_keeps_what_is_filled_in() -> None:
    for entry in catalog("zh_Hans"):
        for text in [entry.msgstr] if entry.msgstr else entry.msgstr_plural.values():
            wanted = set(PLACEHOLDER.findall(entry.msgid_plural or entry.msgid))
            assert set(PLACEHOLDER.findall(text)) == wanted, entry.msgid


@pytest.mark.parametrize("language", ["zh_Hans", "en"])
def test_compiled_files_are_those_of_the_sources(language: str) -> None:
    compiled = polib.mofile(str(LOCALE / language / "LC_MESSAGES" / "django.mo"))
    told = {(e.msgctxt, e.msgid): e.msgstr or e.msgstr_plural for e in compiled}
    written = {(e.msgctxt, e.msgid): e.msgstr or e.msgstr_plural for e in catalog(language) if e.translated() and not e.obsolete}
    assert told == written


def test_every_text_of_the_code_is_in_the_catalog() -> None:
    """Asks the syntax tree: xgettext finds no text inside an f-string, and no test of lines does."""
    known = {(entry.msgctxt, entry.msgid) for entry in catalog("zh_Hans") if not entry.obsolete}
    missing = []
    for folder in ("waule", "tenants", "billing", "storage", "aiservices", "gateway_client"):
        for path in (Path(settings.BASE_DIR) / folder).rglob("*.py"):
            texts = texts_of(ast.parse(path.read_text())) if "migrations" not in path.parts else ()
            missing += [f"{path.name}: {text}" for text in texts if text not in known]
    assert missing == []


def texts_of(code: ast.Module) -> Iterator[tuple[str | None, str]]:
    """Contexts and texts that `code` asks translations for."""
    for call in ast.walk(code):
        if not isinstance(call, ast.Call):
            continue
        name = getattr(call.func, "id", getattr(call.func, "attr", "")).removesuffix("_lazy").removesuffix("_noop")
        given = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
        if name in ("_", "gettext", "ngettext") and given and isinstance(given[0], str):
            yield None, given[0]
        elif name in ("pgettext", "npgettext") and len(given) > 1:
            yield given[0], given[1]
