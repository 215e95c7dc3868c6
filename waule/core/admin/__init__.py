"""What every admin page stands on: quick lists, read-only history, CSV, secrets that are typed but never shown, pages of our own.

A seam: it knows no app. Apps build their `admin.py` from these names.
"""

from waule.core.admin.base import HistoryAdmin, PageButton, WauleAdmin
from waule.core.admin.changelist import DayRangeFilter, KeysetChangeList, KeysetPaginator, SeenValuesFilter, SinceFilter
from waule.core.admin.csv_export import export_csv
from waule.core.admin.display import (
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
from waule.core.admin.pages import (
    REAUTHENTICATED_AT,
    actor_of,
    admin_page,
    is_reauthenticated,
    next_page,
    reauthentication_required,
    site_address,
    site_of,
    tell_form,
    unconfirmed_error,
)
from waule.core.admin.related import RelatedFields, RelatedFilter
from waule.core.admin.secrets import SecretsForm

__all__ = [
    "REAUTHENTICATED_AT",
    "DayRangeFilter",
    "HistoryAdmin",
    "KeysetChangeList",
    "KeysetPaginator",
    "PageButton",
    "RelatedFields",
    "RelatedFilter",
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
    "site_address",
    "site_of",
    "spaced_number",
    "tell_form",
    "thumbnail",
    "unconfirmed_error",
]
