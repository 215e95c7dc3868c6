"""The steps of a price in words, in the reader's language."""

from collections.abc import Callable, Iterable
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from billing.catalog.pricing.values import Step

_WORDS: dict[str, str | Promise] = {
    "per_request": _("%(credits)s per request."),
    "per_image": _("%(credits)s per image."),
    "per_image_at": _("%(credits)s per image at %(value)s."),
    "per_second": _("%(credits)s per second."),
    "per_second_at": _("%(credits)s per second at %(value)s."),
    "per_second_in_mode": _("%(credits)s per second in mode %(value)s."),
    "per_request_in_mode": _("%(credits)s per request in mode %(value)s."),
    "flat_at": _("%(credits)s for up to %(seconds)s seconds at %(value)s."),
    "per_characters": _("%(credits)s per %(unit_size)s characters, each begun unit in full."),
    "per_operation": _("%(credits)s for the operation %(value)s."),
    "counts_as": _("%(given)s is not listed or another name: it is priced as %(value)s."),
    "factor_quantity": _("Times the quantity of %(factor)s."),
    "factor_seconds": _("Times %(factor)s seconds."),
    "factor_seconds_raised": _("Times %(factor)s seconds (%(duration)s raised to whole seconds)."),
    "factor_units": _("Times %(factor)s units for %(characters)s characters."),
    "factor_mode": _("Times %(factor)s for the mode %(value)s."),
    "rounded": _("%(exact)s is rounded to %(credits)s."),
    "minimum": _("A use costs at least %(credits)s."),
    "total": _("Total: %(credits)s."),
    "free_rule": _("The price rule makes this free."),
    "default_per_second": _("No price rule: the default of %(credits)s per second."),
    "default_per_image": _("No price rule: the default of %(credits)s per image."),
    "level_is_free": _("Free for the level %(level)s."),
    "free_for_member": _("Free for the members of level %(level)s (free uses a day: %(limit)s)."),
}
_SHOWN: dict[str, Callable[[Any], str]] = {
    "credits": lambda value: ngettext("%(count)s credit", "%(count)s credits", value) % {"count": value},
    "limit": lambda value: str(_("without limit")) if value == -1 else str(value),
}


def explain(steps: Iterable[Step]) -> list[str]:
    """Return one sentence for each step, in the active language. A step of a later version shows its code."""
    return [_sentence(step) for step in steps]


def _sentence(step: Step) -> str:
    words = _WORDS.get(step.code)
    if words is None:
        return step.code
    return str(words) % {name: _SHOWN.get(name, str)(value) for name, value in step.params.items()}
