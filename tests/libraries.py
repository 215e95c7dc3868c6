"""Loads what every process of waule loads and what does not look at settings when it is loaded (see `tests.forked`)."""

import contextlib
import importlib

# Not prometheus_client: it looks at its environment when it is loaded.
NAMES = (
    "cryptography.fernet",
    "cryptography.x509",
    "django.contrib.admin.sites",
    "django.contrib.auth.hashers",
    "django.core.management.base",
    "django.db.migrations.executor",
    "django.forms",
    "django.http",
    "django.test",
    "django.views.generic",
    "environ",
    "granian.server",
    "jinja2",
    "PIL.Image",
    "psycopg2.extras",
    "qrcode",
    "requests",
    "rich.console",
    "rich.traceback",
    "sqlparse",
    "structlog",
    "structlog.stdlib",
    "yaml",
)

for name in NAMES:
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
