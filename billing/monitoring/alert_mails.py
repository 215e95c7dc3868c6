"""What a tenant's people read in a mail about an alert, in every language of the platform: nobody has named theirs."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import override

from billing.monitoring.models import Alert

MAILED = (Alert.Kind.LOW_BALANCE, Alert.Kind.BUDGET)


def mail_of(kind: str, details: Mapping[str, Any]) -> tuple[str, str] | None:
    """Subject and text; None for alerts that are the operator's matter."""
    if kind not in MAILED:
        return None
    subjects, texts = [], []
    for language, _name in reversed(settings.LANGUAGES):
        with override(language):
            subject, text = _low_balance(details) if kind == Alert.Kind.LOW_BALANCE else _budget(details)
            subjects.append(subject)
            texts.append(f"{text}\n{settings.PUBLIC_URL}/console/")
    return " / ".join(subjects), "\n\n".join(texts) + "\n"


def _low_balance(details: Mapping[str, Any]) -> tuple[str, str]:
    figures = {"balance": f"{details['balance']:,}", "threshold": f"{details['threshold']:,}", "name": details["name"]}
    return (
        _("Low balance: %(balance)s credits") % figures,
        _("%(name)s has %(balance)s credits left to spend, fewer than %(threshold)s.") % figures,
    )


def _budget(details: Mapping[str, Any]) -> tuple[str, str]:
    figures = {name: details[name] for name in ("percent", "name", "opensAt")}
    figures |= {"used": f"{details['used']:,}", "limit": f"{details['limit']:,}"}
    subject = _("Budget used to %(percent)s %%") % figures
    text = _("Of the budget “%(name)s” %(used)s of %(limit)s credits are used. The next period begins at %(opensAt)s.") % figures
    return subject, text
