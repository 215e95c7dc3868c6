"""How values look in the admin. Everything that came from outside is escaped."""

import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import models
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

_SAID = re.compile(r"(.*?)(?: (\([^()]*\)))?", re.DOTALL)


def in_readers_language(text: str) -> str:
    """Return a sentence of ours that was stored in English, in the reader's language; what stands after it in parentheses stays.

    What others said is left as it is.
    """
    found = _SAID.fullmatch(text)
    if found is None or not found[1]:
        return text
    return f"{_(found[1])} {found[2]}" if found[2] else _(found[1])


def spaced_number(value: int | None) -> str:
    """1234567 as 1,234,567."""
    return "–" if value is None else f"{value:,}"


def signed_number(value: int) -> SafeString:
    """Return a movement of credits, coming in green and going out plain."""
    return format_html('<span class="waule-amount{}">{}</span>', " waule-plus" if value > 0 else "", f"{value:+,}")


def badge(text: Any, colour: str = "") -> SafeString:
    """Return a state in a word: `colour` is success, info, warning, danger, primary or nothing."""
    return SafeString(render_to_string("unfold/helpers/label.html", {"text": text, "type": colour}).strip())


def mode_badge(mode: str) -> SafeString:
    """Real credits, or those of the sandbox."""
    return badge(_("Live") if mode == "live" else _("Test"), "success" if mode == "live" else "info")


def badge_of_bool(value: bool, yes: Any, no: Any) -> SafeString:
    dot = "waule-on" if value else "waule-off"
    return format_html('<span><span class="waule-dot {}"></span>{}</span>', dot, yes if value else no)


def link(row: models.Model | None, text: Any = None) -> Any:
    """Return a link to `row`'s page in the admin."""
    if row is None:
        return "–"
    try:
        address = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    except NoReverseMatch:
        return str(text or row)
    return format_html('<a href="{}" class="waule-link">{}</a>', address, text or row)


def local_url(url: str) -> str:
    """`url` as a page of ours may load it: our own media by path, other results by https, anything else not at all."""
    if url.startswith(f"{settings.PUBLIC_URL}/"):
        url = url.removeprefix(settings.PUBLIC_URL)
    if url.startswith("/") and not url.startswith("//"):
        return url
    return url if urlsplit(url).scheme == "https" else ""


def thumbnail(url: str, *, is_video: bool = False) -> SafeString:
    """Return a small picture, loaded when it is scrolled into view."""
    if not (address := local_url(url)):
        icon = "movie" if is_video else "image"
        return format_html('<span class="waule-thumb material-symbols-outlined">{}</span>', icon)
    if is_video:  # the browser loads the first frame only
        frame = '<video class="waule-thumb" src="{}#t=0.1" preload="metadata" muted playsinline title="{}"></video>'
        return format_html(frame, address, _("Video"))
    return format_html('<img class="waule-thumb" src="{}" alt="" loading="lazy" decoding="async">', address)


def short_json(value: Any) -> Any:
    """JSON, indented, to read."""
    if value in (None, {}, []):
        return "–"
    return format_html('<pre class="waule-json">{}</pre>', json.dumps(value, ensure_ascii=False, indent=2, default=str))


def flat(fields: Iterable[Any]) -> tuple[str, ...]:
    """Return the names in `fields`, where some stand side by side in tuples of their own."""
    return tuple(name for row in fields for name in ((row,) if isinstance(row, str) else row))
