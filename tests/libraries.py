"""Loads what every process of waule loads and what does not look at settings when it is loaded (see `tests.forked`)."""

import contextlib
import gc
import importlib

# Not prometheus_client: it looks at its environment when it is loaded.
NAMES = (
    "corsheaders.middleware",
    "cryptography.fernet",
    "cryptography.x509",
    "django.contrib.admin.sites",
    "django.contrib.admin.views.main",
    "django.contrib.admindocs.views",
    "django.contrib.auth.hashers",
    "django.contrib.auth.password_validation",
    "django.contrib.messages.middleware",
    "django.contrib.messages.storage.fallback",
    "django.contrib.postgres.fields",
    "django.contrib.sessions.backends.base",
    "django.contrib.staticfiles.apps",
    "django.contrib.staticfiles.storage",
    "django.core.management.base",
    "django.db.backends.postgresql.base",
    "django.db.backends.sqlite3.base",
    "django.db.migrations.executor",
    "django.forms",
    "django.http",
    "django.middleware.clickjacking",
    "django.middleware.common",
    "django.middleware.http",
    "django.middleware.locale",
    "django.middleware.security",
    "django.template.loaders.app_directories",
    "django.templatetags.cache",
    "django.templatetags.l10n",
    "django.templatetags.tz",
    "django.test",
    "django.views.csrf",
    "django.views.decorators.http",
    "django.views.defaults",
    "django.views.generic",
    "drf_spectacular.utils",
    "environ",
    "granian.server",
    "inflection",
    "jinja2",
    "jwt",
    "orjson",
    "PIL.Image",
    "psycopg2.extras",
    "pygments.formatters.html",
    "pygments.lexers.special",
    "qrcode",
    "qrcode.image.svg",
    "requests",
    "rest_framework.serializers",
    "rich.console",
    "rich.traceback",
    "smtplib",
    "sqlite3",
    "sqlparse",
    "structlog",
    "structlog.stdlib",
    "typing_extensions",
    "uritemplate",
    "whitenoise.middleware",
    "xml.etree.ElementTree",
    "yaml",
)

for name in NAMES:
    with contextlib.suppress(ImportError):
        importlib.import_module(name)

gc.collect()
gc.freeze()  # no fork looks through them for garbage
