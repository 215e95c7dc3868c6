"""The settings of the test run: waule's own, under an environment that no machine's `.env` or shell can change.

Only `DATABASE_URL` and `DATABASE_POOLER` are taken over (which database to test on). The same environment is given to
every process that a test starts (`ENVIRONMENT`).
"""

import os
import re
import secrets
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent

# One directory per run, made by whichever process comes first and inherited by the workers of xdist.
OWNS_RUN = "WAULE_TEST_RUN" not in os.environ
if OWNS_RUN:
    os.environ["WAULE_TEST_RUN"] = tempfile.mkdtemp(prefix=f"waule-test-{secrets.token_hex(4)}-")
RUN_DIR = Path(os.environ["WAULE_TEST_RUN"])
RUN = "_".join(RUN_DIR.name.split("-")[1:3])  # `test_1a2b3c4d`: the names of this run's databases begin so

INTERNAL_SECRET = "test-internal-secret-4f1c9a7be2d05836"
ENVIRONMENT = {
    "WAULE_ENV_FILE": str(RUN_DIR / "no-such-env-file"),
    "DATABASE_URL": os.environ.get("DATABASE_URL") or f"sqlite:///{RUN_DIR / 'unused.sqlite3'}",
    "DATABASE_POOLER": os.environ.get("DATABASE_POOLER", ""),
    "DEBUG": "false",
    "SECRET_KEY": "test-secret-key-0b6f6c39c2a74e8d9f1e5a7d3c2b1a09",
    "JWT_SECRET": "test-jwt-secret-91d7c04be8a3f652",
    "LOOKUP_KEY": "test-lookup-key-5e2a8c17f4906bd3",
    "INTERNAL_SECRET": INTERNAL_SECRET,
    "ENCRYPTION_KEYS": "dGVzdC1lbmNyeXB0aW9uLWtleS1vZi0zMi1ieXRlcyE=",
    "ALLOWED_HOSTS": "127.0.0.1,localhost,testserver",
    "MEDIA_ROOT": str(RUN_DIR / "media"),
}

for _name in re.findall(r"(?m)^#?\s?([A-Z][A-Z0-9_]+)=", (PROJECT / ".env.example").read_text()):
    os.environ.pop(_name, None)
os.environ.update(ENVIRONMENT)

from waule.settings import *  # noqa: E402, F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # a slow hash protects nobody here
WHITENOISE_USE_FINDERS = False  # each test's client would look for all static files; servers have settings of their own
# A heartbeat has a connection of its own, which does not see the row of a test that never commits: it must not come by.
JOB_LEASE_SECONDS = 3600
