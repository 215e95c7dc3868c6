"""Settings: what is weak or missing refuses to start, and what is set takes effect."""

import itertools
import json
import re
import subprocess
import sys

import pytest
from django.db import connection

from tests.live import Database, process_environment
from tests.settings import ENVIRONMENT, PROJECT
from waule import settings

READ = re.compile(r'\b(?:text|texts|flag|number|secret|choice|url|time_zone|database|decimal|origins|email)\(\s*"([A-Z_]+)"')


def check(code: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    """Reads the settings in a process of its own, as every command does first, and runs `code` after it."""
    return subprocess.run(
        [sys.executable, "-c", f"from waule import settings; {code}"],
        cwd=PROJECT,
        env=process_environment(**environ),
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("name", ["SECRET_KEY", "JWT_SECRET", "ALLOWED_HOSTS", "ENCRYPTION_KEYS"])
def test_without_a_required_setting_it_does_not_start_and_names_it(name: str) -> None:
    done = check(**{name: ""})
    assert done.returncode != 0
    assert f"{name} is missing" in done.stderr


@pytest.mark.parametrize("name", ["SECRET_KEY", "JWT_SECRET"])
@pytest.mark.parametrize("weak", ["hunter2-hunter2", "abababababababababababababababababababab"])
def test_a_weak_secret_does_not_start_and_its_value_is_not_told(name: str, weak: str) -> None:
    done = check(**{name: weak})
    assert done.returncode != 0
    assert f"{name} is too weak" in done.stderr
    assert weak not in done.stderr + done.stdout


def test_an_encryption_key_that_is_none_is_named_without_its_value() -> None:
    done = check(ENCRYPTION_KEYS=f"{ENVIRONMENT['ENCRYPTION_KEYS']},not-a-fernet-key")
    assert done.returncode != 0
    assert "ENCRYPTION_KEYS holds something that is not a Fernet key" in done.stderr
    assert "not-a-fernet-key" not in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AI_SERVICE_MODE", "both"),
        ("GATEWAY_BILLING", "remote"),
        ("TASK_ENGINE", "cron"),
        ("OSS_DRIVER", "ftp"),
        ("DEBUG", "perhaps"),
        ("UPSTREAM_CONNECT_SECONDS", "soon"),
        ("UPSTREAM_READ_SECONDS", "nan"),
        ("SANDBOX_FAILURE_RATE", "1.1"),
        ("PORT", "65536"),
        ("TRUSTED_PROXY_COUNT", "0"),
        ("HSTS_SECONDS", "-1"),
        ("PUBLIC_URL", "waule.example.com"),
        ("WAULEAPI_URL", "http://host:port"),
        ("BILLING_TIME_ZONE", "Mars/Base"),
        ("LOG_FORMAT", "xml"),
        ("DATABASE_URL", "mysql://localhost/waule"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_name(name: str, value: str) -> None:
    done = check(**{name: value})
    assert done.returncode != 0
    assert f"{name} must" in done.stderr


PASTED = r"""
import json, os, runpy, sys
from django.core.exceptions import ImproperlyConfigured
values, plain = json.loads(sys.stdin.read()), dict(os.environ)

def read(name, value):
    os.environ.clear(); os.environ.update(plain | {name: value})
    try:
        return runpy.run_path("waule/settings.py").get(name)
    except ImproperlyConfigured as refusal:
        return f"refused: {refusal}"

for name, value in values.items():
    wanted = read(name, value)
    quoted = f'"{value}"'
    for pasted in (quoted, f"'{value}'", f"  {value} \t", f"{value} # comment", f"{quoted} # a {quoted} comment", f"{value}\r"):
        if (found := read(name, pasted)) != wanted:
            print(f"{name}={pasted!r} is read as {found!r}, not {wanted!r}")
    for broken in (f'"{value}', f"{value}'", f'"{value}" more', "a\nb", "#", "\u200b"):
        found = read(name, broken)
        if isinstance(found, str) and found.startswith("refused: ") and name not in found:
            print(f"{name}={broken!r} is refused without its name: {found}")
        if isinstance(found, str) and value and found.startswith("refused: ") and len(value) > 20 and value in found:
            print(f"{name}={broken!r} is told: {found}")
"""


def test_settings_as_people_paste_them_are_read_or_refused_by_name() -> None:
    """Every setting of the example, in quotes, with blanks and comments around it, and broken."""
    example = (PROJECT / ".env.example").read_text()
    values = dict(re.findall(r"(?m)^#? ?([A-Z][A-Z_]+)=(.*)$", example)) | ENVIRONMENT
    values |= {
        "INTERNAL_CALLERS": f"robot:{ENVIRONMENT['INTERNAL_SECRET']}",
        "DATABASE_URL": "postgresql://u:p%23w@127.0.0.1:5432/waule",
    }
    del values["WAULE_ENV_FILE"]
    done = subprocess.run(
        [sys.executable, "-c", PASTED],
        cwd=PROJECT,
        env=process_environment(),
        input=json.dumps(values),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.stdout, done.returncode) == ("", 0), done.stderr[-2000:]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://waule:p#w-not-told@127.0.0.1:5432/waule",
        "postgresql://waule:p/w-not-told@127.0.0.1:5432/waule",
        "postgresql://waule:w-not-told@127.0.0.1:port/waule",
        "postgresql://waule:w-not-told@127.0.0.1:5432/",
        "postgresql://waule:w-not-told@[::1:5432/waule",
    ],
)
def test_a_database_url_that_is_none_is_refused_without_its_password(url: str) -> None:
    done = check(DATABASE_URL=url)
    assert done.returncode != 0
    assert "ImproperlyConfigured: DATABASE_URL is not a database URL" in done.stderr
    assert "w-not-told" not in done.stderr


def test_celery_without_a_broker_is_refused() -> None:
    done = check(TASK_ENGINE="celery")
    assert done.returncode != 0
    assert "CELERY_BROKER_URL is missing" in done.stderr


def test_a_value_that_begins_with_a_dollar_sign_is_taken_as_it_is() -> None:
    secret = "$HOME-is-where-this-secret-does-not-lead-91d7"
    done = check("print(settings.SECRET_KEY)", SECRET_KEY=secret)
    assert done.stdout.strip() == secret


def test_lists_are_taken_without_the_spaces_around_their_entries() -> None:
    done = check("print(settings.ALLOWED_HOSTS)", ALLOWED_HOSTS=" a.example , b.example,, ")
    assert done.stdout.strip() == "['a.example', 'b.example']"


def test_the_example_names_every_setting_and_no_other() -> None:
    source = (PROJECT / "waule" / "settings.py").read_text()
    read = set(READ.findall(source)) - {"WAULE_TEST_FAIL_POINT"}
    example = (PROJECT / ".env.example").read_text()
    assert set(re.findall(r"(?m)^(?:# )?([A-Z][A-Z_]+)=", example)) == read


def test_every_setting_of_the_example_has_a_sentence() -> None:
    lines = (PROJECT / ".env.example").read_text().splitlines()
    for before, line in itertools.pairwise(lines):
        if re.match(r"(# )?[A-Z][A-Z_]+=", line):
            assert re.match(r"# .*(\.|…|:)", before), line


def test_defaults_shown_in_the_example_are_the_defaults() -> None:
    shown = dict(re.findall(r"(?m)^# ([A-Z_]+)=(\S+)$", (PROJECT / ".env.example").read_text()))
    for name in ("DATABASE_URL", "PUBLIC_URL"):
        shown.pop(name)  # examples: the default is told in words
    for name, value in shown.items():  # the tests' environment sets none of these but MEDIA_ROOT
        if name != "MEDIA_ROOT" and hasattr(settings, name):
            assert str(getattr(settings, name)).lower() == value.lower(), name


@pytest.mark.skipif(connection.vendor != "sqlite", reason="about SQLite")
def test_the_pragmas_that_are_in_effect_on_sqlite(cloned_db: Database) -> None:
    with connection.cursor() as cursor:
        effective = {}
        for pragma in ("journal_mode", "synchronous", "foreign_keys", "recursive_triggers", "busy_timeout"):
            effective[pragma] = cursor.execute(f"PRAGMA {pragma}").fetchone()[0]
    assert effective == {
        "journal_mode": "wal",
        "synchronous": 2,  # FULL
        "foreign_keys": 1,
        "recursive_triggers": 1,
        "busy_timeout": 20_000,
    }
    assert connection.settings_dict["OPTIONS"]["transaction_mode"] == "IMMEDIATE"


@pytest.mark.skipif(connection.vendor != "postgresql", reason="about PostgreSQL")
def test_what_is_in_effect_on_postgresql(cloned_db: Database) -> None:
    with connection.cursor() as cursor:
        effective = {}
        for name in ("synchronous_commit", "transaction_isolation", "lock_timeout", "fsync", "full_page_writes"):
            cursor.execute(f"SHOW {name}")
            effective[name] = cursor.fetchone()[0]
    assert effective == {
        "synchronous_commit": "on",
        "transaction_isolation": "read committed",
        "lock_timeout": "10s",
        "fsync": "on",
        "full_page_writes": "on",
    }


def test_urls_of_results_begin_with_the_port_that_is_served() -> None:
    assert settings.PUBLIC_URL == "http://127.0.0.1:3000"
    for port, expected in (("", "http://127.0.0.1:3000"), ("4711", "http://127.0.0.1:4711")):
        done = check("print(settings.PUBLIC_URL)", PORT=port)
        assert done.stdout.strip() == expected


def test_each_entry_of_a_list_may_have_quotes_of_its_own() -> None:
    done = check("print(settings.ALLOWED_HOSTS)", ALLOWED_HOSTS="\"a.example\", 'b.example' # both")
    assert done.stdout.strip() == "['a.example', 'b.example']"
