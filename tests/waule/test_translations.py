"""Chinese and English throughout: nothing untranslated, and the compiled files are those of the sources."""

import re
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
    known = {entry.msgid for entry in catalog("zh_Hans")}
    literal = re.compile(r"""(?<![\w.])(?:_|gettext|gettext_lazy)\(\s*"((?:[^"\\]|\\.)+)"\s*[,)]""")
    for folder in ("waule", "tenants", "billing", "storage", "aiservices", "gateway_client"):
        for path in (Path(settings.BASE_DIR) / folder).rglob("*.py"):
            if "migrations" in path.parts:
                continue
            for text in literal.findall(path.read_text()):
                plain = text.replace('\\"', '"').replace("\\\\", "\\")
                assert plain in known or text in known, f"{path.name}: {text}"
