"""Whether anybody does the jobs: living workers and, with TASK_ENGINE=celery, the broker that wakes them.

Workers look after everything else; that none of them lives can be seen by the servers alone, so these raise that alert, and
send it, as no worker would.
"""

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.utils.translation import gettext_lazy as _

from aiservices.generations.queue import living
from aiservices.monitoring.models import Service, ServiceStatus
from billing.ledger.posting import database_now
from billing.monitoring import alerts
from billing.monitoring.models import Alert
from tenants.webhooks import delivery
from waule.core.db import connection_pool
from waule.core.errors import Unavailable, WauleError

LOOK_SECONDS = 10.0
WORKERS_KEY, BROKER_KEY = "workers", "broker"
NO_WORKER = _("No worker is alive: videos wait, and nothing is looked after. Start `manage.py worker`.")
logger = structlog.get_logger(__name__)


def state() -> dict[str, Any]:
    """For `/readyz`: how many workers live, and how the broker is, as far as this process and the last probe know."""
    told: dict[str, Any] = {"workers": living.living()}
    if settings.TASK_ENGINE == "celery":
        told["broker"] = broker_status()
    return told


def broker_status() -> str:
    """ok, down, or unknown, where nobody has asked it lately."""
    from aiservices.generations.queue.celery_app import broker  # celery is loaded where it is used

    if broker.is_away:
        return str(ServiceStatus.DOWN)
    row = Service.objects.filter(name=BROKER_KEY).first()
    fresh = (
        row is not None
        and row.checked_at
        and row.checked_at > database_now() - timedelta(seconds=3 * settings.HEALTH_PROBE_SECONDS)
    )
    return str(row.status) if row is not None and fresh else str(ServiceStatus.UNKNOWN)


def ask_broker() -> str:
    """Return the probe.

    Raises:
        BrokerAway.
    """
    from aiservices.generations.queue.celery_app import ping

    ping()
    return ""


def ask_workers() -> str:
    """Return the probe.

    Raises:
        Unavailable: no worker lives.
    """
    if not living.living():
        raise Unavailable(NO_WORKER)
    return ""


def broker_crossings() -> Iterator[alerts.Crossing]:
    """Yield what the workers' own round of alerts is to raise."""
    if settings.TASK_ENGINE == "celery" and broker_status() == ServiceStatus.DOWN:
        yield alerts.Crossing(BROKER_KEY, Alert.Kind.BROKER_DOWN, {"broker": settings.CELERY_BROKER_URL.rpartition("@")[2]})


def watch_from_server() -> None:
    """For a server process: looks every LOOK_SECONDS whether a worker lives, as long as the process does."""
    threading.Thread(target=_watch, name="watch-workers", daemon=True).start()


def _watch() -> None:
    wait, silent_before = threading.Event(), False  # nobody sets the event
    while True:
        wait.wait(LOOK_SECONDS)
        connection_pool.begin()
        try:
            # Seen twice: when everything is started together the servers may come first.
            silent = not living.living()
            if silent and silent_before:
                # It is over when a worker's round of alerts does not find it.
                alerts.raise_alert(alerts.Crossing(WORKERS_KEY, Alert.Kind.NO_WORKER, {"message": str(NO_WORKER)}))
                delivery.deliver_due()
            silent_before = silent
        except (DatabaseError, InterfaceError, WauleError) as error:
            logger.warning("workers_not_seen", error=type(error).__name__)
        except Exception:
            logger.exception("watching_broke")
        finally:
            connection_pool.end()
