"""Reconcile everything that is counted, credits and bytes, and keep the result."""

from collections.abc import Sequence
from pathlib import Path

from billing.ledger.posting import database_now
from billing.reconciliation import runs as reconcile_runs
from billing.reconciliation.checks import Progress, reconcile
from billing.reconciliation.incremental import reconcile_new
from billing.reconciliation.report import Problem, Report
from storage.checks.reconcile import differences


def reconcile_all(*, progress: Progress = lambda done, total: None, archived: Sequence[Path] = ()) -> Report:
    """Recompute the ledger, the given files of archived months, and the bytes; keeps what came of it."""
    started_at = database_now()
    report = reconcile(progress=progress, archived=archived)
    report.add(Problem(f"tenant:{tenant_id}", what) for tenant_id, what in differences())
    reconcile_runs.keep(report, started_at=started_at)
    return report


def reconcile_what_is_new() -> Report:
    """Go on from the last proven entry of each account. Kept, and alerted to, where something differs."""
    started_at = database_now()
    report = reconcile_new()
    if not report.ok:
        reconcile_runs.keep(report, started_at=started_at)
    return report
