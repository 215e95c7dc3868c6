"""One process that leases and reports as fast as it can, for the test of the pool under fire.

    python -m tests.aiservices.pool_caller SEED SECONDS      the dead keys are those whose name begins with `dead`

Prints a JSON line for each lease: [credential, held from, held until, outcome, Retry-After, is it a trial].
"""

import json
import os
import random
import sys
import time

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "waule.settings")
WAIT_SECONDS = 0.2
OUTCOMES = {"ok": 80, "overloaded": 5, "content_refused": 5, "error": 5, "rate_limited": 5}


def main(seed: int, seconds: float) -> None:
    from aiservices.credentials import pool
    from aiservices.credentials.models import GeminiKey
    from aiservices.errors import CredentialsExhausted

    dead = set(GeminiKey.objects.filter(name__startswith="dead").values_list("pk", flat=True))
    dice = random.Random(seed)
    stop = time.monotonic() + seconds
    while time.monotonic() < stop:
        try:
            lease = pool.lease(provider="gemini", ttl_seconds=60)
        except CredentialsExhausted:
            time.sleep(0.01)
            continue
        begun = time.time()
        time.sleep(dice.uniform(0, 0.02))
        is_dead = lease.credential_id in dead
        outcome = "invalid" if is_dead else dice.choices(list(OUTCOMES), list(OUTCOMES.values()))[0]
        ended = time.time()
        pool.report(lease.lease_id, outcome, WAIT_SECONDS)
        print(json.dumps([str(lease.credential_id), begun, ended, outcome, WAIT_SECONDS, lease.is_trial]))


if __name__ == "__main__":
    django.setup()
    main(int(sys.argv[1]), float(sys.argv[2]))
