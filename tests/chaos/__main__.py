"""`scripts/chaos`: chaos by hand, for as long as one likes."""

import argparse
import logging
import os
import random
import shutil
import sys

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__.partition(": ")[2])
    parser.add_argument("seconds", nargs="?", type=float, default=60, help="how long things break (60)")
    parser.add_argument("seed", nargs="?", type=int, help="the same seed makes the same steps and faults in the same order")
    parser.add_argument("--callers", type=int, default=4, help="tenants that call at the same time (4)")
    parser.add_argument("--sqlite", action="store_true", help="on SQLite, not on a throw-away PostgreSQL cluster")
    given = parser.parse_args()
    seed = random.randrange(100_000) if given.seed is None else given.seed
    print(f"seed {seed}", file=sys.stderr)
    django.setup()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # the bucket's server tells every request
    from tests.chaos.model import Disagreement
    from tests.chaos.run import run
    from tests.settings import OWNS_RUN, RUN_DIR

    try:
        done = run(seed=seed, seconds=given.seconds, callers=given.callers, on_sqlite=given.sqlite)
    except Disagreement as found:
        print(f"DISAGREEMENT. {found}", file=sys.stderr)
        return 1
    finally:
        if OWNS_RUN:
            shutil.rmtree(RUN_DIR, ignore_errors=True)
    print(", ".join(f"{name} {value}" for name, value in done.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
