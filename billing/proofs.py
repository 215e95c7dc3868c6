"""Proofs of the books that are kept: the last one is a figure of `/metrics` and a card of the admin."""

from datetime import datetime

from billing import alerts
from billing.ledger import database_now
from billing.models import ReconcileRun
from billing.models_watch import MAX_KEPT_PROBLEMS
from billing.reconcile import Report
from waule.transactions import durable

MAX_KEPT_RUNS = 1000


def keep(report: Report, *, started_at: datetime) -> ReconcileRun:
    """Keeps the result, and raises the alert where the books differ, in one transaction."""
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
        problem_count=report.problem_count,
        problems=[problem.as_json() for problem in report.problems[:MAX_KEPT_PROBLEMS]],
    )
    ReconcileRun.objects.filter(id__lte=run.id - MAX_KEPT_RUNS).delete()
    if not run.ok:
        alerts.raise_alert(alerts.failed_proof(run))
    return run


def last_run() -> ReconcileRun | None:
    return ReconcileRun.objects.order_by("-id").defer("problems").first()
