"""Credentials of each provider, those that need attention first."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.db.models import Case, Count, F, Q, QuerySet, Sum, Value, When
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from aiservices.credentials import pool
from aiservices.credentials import services as credentials
from aiservices.credentials.models import Credential, CredentialLease, SoraToken
from waule.core.admin import in_readers_language
from waule.core.crypto.encryption import EncryptedTextField

MAX_CREDENTIALS = 10  # rows of a provider
MAX_TROUBLED = 8  # rows of a provider that need attention
SHOWN_ATTEMPTS = 5  # of a credential that needs attention
EXPIRES_SOON = timedelta(days=3)
CREDENTIAL_COLOURS = {"ready": "success", "cooling": "info", "quota_exhausted": "warning", "invalid": "danger"}

_ON = Q(is_active=True)
_REFUSED = Q(state=Credential.State.INVALID)
# What may be wrong with a credential, the worst first: a name, and what a person reads.
TROUBLES: dict[str, Promise | str] = {
    "given_up": _("The upstream refuses it. Replace its secret or delete it."),
    "refused": _("The upstream refused it lately; it is tried again after a rest."),
    "quota": _("Its quota or its balance is used up; it is tried again after a rest."),
    "expired": _("It has expired. Replace it."),
    "missing": _("The Sora service no longer has it. Paste it again to add it anew, or delete it."),
    "conflict": _("It was changed here and at the Sora service. See its page."),
    "not_pushed": _("The Sora service does not take the change."),
    "quota_back": _("Its quota should be back by now. Enable it again."),
    "failing": _("Most of its last calls failed through its own fault."),
    "expires_soon": _("It expires within three days."),
}

WELL = len(TROUBLES)


def with_trouble(queryset: QuerySet[Any], *, is_service_down: bool = False) -> QuerySet[Any]:
    """`queryset`, each row with `trouble`: the place in TROUBLES of the worst that is wrong with it, or WELL."""
    whens = _troubles(is_sora=queryset.model is SoraToken, is_service_down=is_service_down)
    return queryset.annotate(trouble=Case(*whens, default=Value(WELL)))


def _troubles(*, is_sora: bool, is_service_down: bool) -> list[When]:
    now = timezone.now()
    own_faults = f"([{''.join(pool.LETTERS[outcome] for outcome in sorted(pool.OWN_FAULTS))}].*)"
    conditions = {
        "given_up": _ON & _REFUSED & Q(cooling_until=None),
        "refused": _ON & (_REFUSED | Q(recent__contains=pool.LETTERS["invalid"])),
        "quota": _ON & Q(state=Credential.State.QUOTA_EXHAUSTED),
        "failing": _ON & Q(recent__regex=f"{own_faults}{{{pool.WINDOW // 2}}}"),
    }
    if is_sora:
        conditions |= {
            "expired": _ON & Q(expires_at__lte=now),
            "missing": Q(is_missing_there=True),
            "conflict": ~Q(conflict={}),
            "quota_back": Q(is_probably_quota=True, is_active=False, reenable_after_cooldown=False, cooling_until__lte=now),
            "expires_soon": _ON & Q(expires_at__lte=now + EXPIRES_SOON),
        }
        if not is_service_down:  # else it is told as soon as it answers, and nobody has to do anything
            conditions["not_pushed"] = ~Q(push_error="")
    return [When(conditions[name], then=Value(place)) for place, name in enumerate(TROUBLES) if name in conditions]


class SeenCredential:
    """A credential as the page shows it."""

    def __init__(self, row: Any, day: date) -> None:
        self.row = row
        self.name = getattr(row, "email", "") or row.name or row.masked
        self.colour = CREDENTIAL_COLOURS[row.state]
        self.why_off = "" if row.is_active else getattr(row, "shown_reason", row.disabled_reason)
        self.error = shown_error(row)
        is_of_today = row.day == day
        self.uses: int = row.uses_today if is_of_today else 0
        self.errors: int = row.errors_today if is_of_today else 0

    @property
    def trouble(self) -> str:
        """What is wrong with it, and what to do."""
        name = list(TROUBLES)[self.row.trouble]
        more = f" {in_readers_language(self.row.push_error)}" if name == "not_pushed" else ""
        return f"{TROUBLES[name]}{more}"

    @property
    def history(self) -> str:
        """How its last attempts went, the newest last."""
        names = {letter: CredentialLease.Outcome(outcome).label for outcome, letter in reversed(pool.LETTERS.items())}
        return ", ".join(str(names[letter]) for letter in self.row.recent[-SHOWN_ATTEMPTS:] if letter in names)

    @property
    def remaining(self) -> int | None:
        """What the Sora service says is left of a token's quota."""
        left = self.row.remote.get("sora2_remaining_count") if isinstance(self.row, SoraToken) else None
        return left if isinstance(left, int) else None

    @property
    def used_percent(self) -> float | None:
        """How much of the day's limit, or of the quota there, is gone."""
        if self.row.daily_limit > 0:
            return min(100.0, 100 * self.uses / self.row.daily_limit)
        total = self.row.remote.get("sora2_total_count") if isinstance(self.row, SoraToken) else None
        if self.remaining is None or not isinstance(total, int) or total <= 0:
            return None
        return min(100.0, max(0.0, 100 - 100 * self.remaining / total))


@dataclass
class Section:
    """The credentials of one provider: how many are in which state, those that need attention, and the first few."""

    provider: str
    counts: dict[str, int]
    troubled: list[SeenCredential]
    rows: list[SeenCredential]

    @property
    def model(self) -> type[Credential]:
        return pool.MODELS[self.provider]

    @property
    def hidden(self) -> int:
        return self.counts["all"] - len(self.rows)

    @property
    def hidden_troubled(self) -> int:
        return self.counts["troubled"] - len(self.troubled)


def shown_error(credential: Credential) -> str:
    """Return the last error in the reader's language; where a caller said no more, what kind of error it was."""
    kinds = dict(CredentialLease.Outcome.choices)
    return str(kinds.get(credential.last_error) or in_readers_language(credential.last_error))


def section(provider: str, *, is_service_down: bool = False) -> Section:
    """Return how the credentials of `provider` are; two queries more or less, whatever their number."""
    day = pool.today(timezone.now())
    found = with_trouble(credentials.rows(provider), is_service_down=is_service_down)
    used = Q(day=day)
    figures = {
        "all": Count("id"),
        "on": Count("id", filter=_ON),
        "ready": Count("id", filter=_ON & Q(state=Credential.State.READY)),
        "resting": Count("id", filter=_ON & Q(state__in=(Credential.State.COOLING, Credential.State.QUOTA_EXHAUSTED))),
        "troubled": Count("id", filter=Q(trouble__lt=WELL)),
        "uses": Sum("uses_today", filter=used),
        "errors": Sum("errors_today", filter=used),
    }
    if provider == "sora":
        figures["waiting"] = Count("id", filter=~Q(to_push=[]))
    counts = {name: count or 0 for name, count in found.aggregate(**figures).items()}
    sealed = [each.name for each in pool.MODELS[provider]._meta.concrete_fields if isinstance(each, EncryptedTextField)]
    rows = found.defer(*sealed)
    lately = F("last_used_at").desc(nulls_last=True)
    troubled = list(rows.filter(trouble__lt=WELL).order_by("trouble", lately, "-id")[:MAX_TROUBLED])
    shown = list(rows.order_by("-is_active", lately, "-id")[:MAX_CREDENTIALS])
    return Section(provider, counts, [SeenCredential(row, day) for row in troubled], [SeenCredential(row, day) for row in shown])


def total(sections: Iterable[Section], name: str) -> int:
    """Return the sum of one figure over the providers."""
    return sum(each.counts[name] for each in sections)
