"""The proof of everything that is counted, credits and bytes, with its result kept."""

from billing import proofs
from billing.ledger import database_now
from billing.reconcile import Problem, Progress, Report, reconcile
from storage.reconcile import differences


def prove(*, progress: Progress = lambda done, total: None) -> Report:
    """Recomputes the books and the bytes; keeps what came of it."""
    started_at = database_now()
    report = reconcile(progress=progress)
    report.add(Problem(f"tenant:{tenant_id}", what) for tenant_id, what in differences())
    proofs.keep(report, started_at=started_at)
    return report
