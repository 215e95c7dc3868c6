"""Loads what is documented, in an environment of requirements.txt alone. Run by scripts/smoke."""

import importlib
import os
import pkgutil
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "waule.settings")
PACKAGES = ("waule", "tenants", "billing", "storage", "aiservices", "gateway_client")


def main(arguments: list[str]) -> int:
    import django

    django.setup()
    if "--broker" in arguments:
        loaded = broker()
    elif "--postgresql" in arguments:
        loaded = postgresql()
    else:
        loaded = [*modules(), *drivers(), *database()]
    print(f"{len(loaded)} loaded: {loaded[-1]}")  # noqa: T201
    return 0


def modules() -> list[str]:
    """Return every module of ours: providers, drivers, commands and pages among them."""
    found = []
    for package in PACKAGES:
        root = importlib.import_module(package)
        for module in pkgutil.walk_packages(root.__path__, f"{package}."):
            importlib.import_module(module.name)
            found.append(module.name)
    return found


def drivers() -> list[str]:
    """Return every storage driver, with a bucket that it does not ask yet."""
    from storage.drivers import Backend, driver_of

    backends = [Backend("local")]
    address, secret = "http://127.0.0.1:1", "s"
    for name in ("oss", "s3"):
        bucket = Backend(
            name, region="cn-test", bucket="smoke-test", endpoint=address, access_key_id="k", access_key_secret=secret
        )
        backends.append(bucket)
    for backend in backends:
        driver_of(backend).url("a/b.png", seconds=60)
    return [backend.driver for backend in backends]


def broker() -> list[str]:
    """Return the transport of CELERY_BROKER_URL, as far as it goes without a broker: it is away, and nothing else is wrong."""
    from aiservices.generations.queue.broker import BrokerAway
    from aiservices.generations.queue.celery_app import app, ping

    with app.connection_for_write() as connection:
        name = str(connection.transport.driver_type)
    try:
        ping()
    except BrokerAway as error:
        if "Import" in str(error) or "ModuleNotFound" in str(error):
            raise
    return [name]


def database() -> list[str]:
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    call_command("check")
    return ["migrations"]


def postgresql() -> list[str]:
    from django.db import OperationalError, connection

    try:
        connection.ensure_connection()
    except OperationalError as error:
        return [f"postgresql ({type(error).__name__})"]
    raise AssertionError("nobody listens there")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
