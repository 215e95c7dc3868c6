"""Reconciliation runs that are kept: the last one is a figure of `/metrics` and a card of the admin."""

from datetime import datetime

from django.db.models import Q

from billing.ledger.posting import database_now
from billing.monitoring import alerts
from billing.monitoring.models import MAX_KEPT_PROBLEMS, ReconcileRun
from billing.reconciliation.report import Report
from waule.core.db.transactions import durable

MAX_KEPT_RUNS = 1000


def keep(report: Report, *, started_at: datetime) -> ReconcileRun:
    """Keep the result, and raise the alert where the ledger differs, in one transaction."""
    return _keep(report, started_at=started_at)


@durable
def _keep(report: Report, *, started_at: datetime) -> ReconcileRun:
    run = ReconcileRun.objects.create(
        started_at=started_at,
        finished_at=database_now(),
        ok=report.ok,
        accounts=report.accounts,
        entries=report.entries,
        holds=report.holds,
        charges=report.charges,
        is_full=report.is_full,
        problem_count=report.problem_count,
        problems=[problem.as_json() for problem in report.problems[:MAX_KEPT_PROBLEMS]],
    )
    ReconcileRun.objects.filter(id__lte=run.id - MAX_KEPT_RUNS).delete()
    if not run.ok:
        alerts.raise_alert(alerts.failed_proof(run))
    return run


def last_run() -> ReconcileRun | None:
    """Return the last full one; or one of what was new since, where that found a difference."""
    return ReconcileRun.objects.filter(Q(is_full=True) | Q(ok=False)).order_by("-id").defer("problems").first()
