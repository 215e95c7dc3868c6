"""Prints how many seconds `reconcile` takes on the database that DATABASE_URL names. Fails where the ledger differs."""

import os
import sys
import time

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "waule.settings")

import django

django.setup()

from billing.reconciliation.checks import reconcile  # noqa: E402

if __name__ == "__main__":
    started = time.perf_counter()
    report = reconcile()
    print(time.perf_counter() - started)
    if not report.ok:
        sys.exit(f"the books differ: {report.problem_count} problems, such as {report.problems[0]}")
