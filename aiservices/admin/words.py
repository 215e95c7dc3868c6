"""What a generation is flagged with, in the reader's language."""

from collections.abc import Iterable

from django.utils.translation import gettext_lazy as _

FLAGS = {
    "canceled_while_made": _("Canceled while it was being made"),
    "fewer_than_asked": _("Fewer results than asked for"),
    "more_than_asked": _("More results than asked for"),
    "not_fetched": _("A result could not be fetched yet"),
    "odd_credits": _("The gateway named an odd number of credits"),
    "odd_result": _("A result of an unknown form"),
    "part_refused": _("A part was refused"),
    "part_unknown": _("Nobody knows what became of a part"),
    "results_purged": _("Results deleted by the retention period"),
    "settled_by_operator": _("Settled by staff"),
    "unknown_released": _("Released, its outcome unknown"),
    "unusable_url": _("A result without a usable address"),
    "upstream_5xx": _("The provider failed (5xx)"),
    "waits_for_storage": _("Results wait for their storage"),
}


def flags_in_words(flags: Iterable[str]) -> str:
    """Flags without words stay as they are."""
    return ", ".join(str(FLAGS.get(flag, flag)) for flag in flags) or "–"
