"""What every admin page stands on: quick lists, read-only history, CSV, secrets that are typed but never shown, pages of our own.

A seam: it knows no app. Apps build their `admin.py` from these names.
"""

from waule.admin_kit.base import HistoryAdmin, PageButton, WauleAdmin
from waule.admin_kit.changelist import KeysetChangeList, KeysetPaginator, SeenValuesFilter, SinceFilter
from waule.admin_kit.csv_export import export_csv
from waule.admin_kit.display import (
    badge,
    badge_of_bool,
    flat,
    in_readers_language,
    link,
    local_url,
    mode_badge,
    short_json,
    signed_number,
    spaced_number,
    thumbnail,
)
from waule.admin_kit.pages import (
    REAUTHENTICATED_AT,
    actor_of,
    admin_page,
    is_reauthenticated,
    next_page,
    reauthentication_required,
    tell_form,
)
from waule.admin_kit.secrets import SecretsForm

__all__ = [
    "REAUTHENTICATED_AT",
    "HistoryAdmin",
    "KeysetChangeList",
    "KeysetPaginator",
    "PageButton",
    "SecretsForm",
    "SeenValuesFilter",
    "SinceFilter",
    "WauleAdmin",
    "actor_of",
    "admin_page",
    "badge",
    "badge_of_bool",
    "export_csv",
    "flat",
    "in_readers_language",
    "is_reauthenticated",
    "link",
    "local_url",
    "mode_badge",
    "next_page",
    "reauthentication_required",
    "short_json",
    "signed_number",
    "spaced_number",
    "tell_form",
    "thumbnail",
]
