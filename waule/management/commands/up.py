"""`manage.py up`: from a fresh clone to a running waule in one command."""

import io
import os
import secrets
import shlex
import signal
import subprocess
import sys
import time
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError, CommandParser
from django.db import connections

from billing.catalog.models import AIModel
from billing.ledger.models import Kind
from billing.services import grant
from tenants.models import Mode, Tenant, User
from tenants.principal import Principal
from tenants.services import add_member, create_api_key, create_tenant, create_user
from waule.bootstrap import env_file
from waule.core.commands import PlainCommand
from waule.core.environment import BASE_DIR
from waule.core.processes import DRAIN_SECONDS, PARENT_VARIABLE
from waule.management.commands.serve import wait_for_port

DEMO_CATALOG = BASE_DIR / "billing" / "catalog" / "demo_catalog.yaml"
DEMO_CREDITS = 10_000
ACTOR = "command"
LOOK_SECONDS = 0.2
STOP_SECONDS = 4.5  # what ending takes where nothing waits for a provider
AGAIN_SECONDS = 1.0  # two signals closer together count as one
WORKER_RESTART_SECONDS = 2.0


class Command(PlainCommand):
    help = "Sets up what is missing (database, first administrator, demonstration data), then serves with a worker."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=settings.PORT)
        parser.add_argument("--no-demo", action="store_true", help="no demonstration data")

    def handle(self, *, host: str, port: int, no_demo: bool, **options: Any) -> None:
        wait_for_port(host, port)
        call_command("migrate", verbosity=0, interactive=False)
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        # Looked at once: what an operator deletes later does not come back.
        is_new = not (Tenant.objects.exists() or User.objects.exists() or AIModel.objects.exists())
        if is_new and not no_demo:
            self.load_demonstration(url)
        if is_new:
            self.make_first_administrator(url)
        connections.close_all()
        self.stdout.write(f"waule answers on {url} until Ctrl-C.")
        self.stdout.flush()
        Family(host=host, port=port, log=self.stderr.write).run()

    def load_demonstration(self, url: str) -> None:
        call_command("apply_catalog", str(DEMO_CATALOG), stdout=io.StringIO())
        tenant = create_tenant(name="Demo", enabled_models=["*"], actor=ACTOR)
        _key, plaintext = create_api_key(tenant=tenant, mode=Mode.LIVE, name="Demo", actor=ACTOR)
        password = secrets.token_urlsafe(12)
        user = create_user(username="demo", password=password, actor=ACTOR)
        add_member(tenant=tenant, user=user, actor=ACTOR)
        for target in (Principal("tenant", str(tenant.pk)), Principal("user", str(user.pk))):
            grant(target=target, credits=DEMO_CREDITS, kind=Kind.GIFT, reason="Demonstration", actor=ACTOR)
        is_direct = settings.AI_SERVICE_MODE == "direct"
        models = AIModel.objects.filter(type="IMAGE_GENERATION", is_active=True).order_by("model_id")
        model = models.filter(provider="sandbox" if is_direct else "gemini")[0]
        made_by = "the sandbox draws it, no provider is called"
        if not is_direct:
            made_by = f"the gateway at {settings.WAULEAPI_URL} makes it"
        self.stdout.write(
            f"""
A tenant for trying out, with {DEMO_CREDITS} credits. Its key is shown this once:

    {plaintext}

Its console is {url}/console/: its user is demo with the password {password}

Make an image ({made_by}):

    curl -s {url}/v1/images/generations -H 'Authorization: Bearer {plaintext}' \\
      -H 'Content-Type: application/json' -d '{{"model": "{model.model_id}", "prompt": "a red bicycle"}}'

Ask what is left, as the gateway would:

    curl -s '{url}/internal/billing/balance?targetType=tenant&targetId={tenant.pk}' \\
      -H "X-Internal-Secret: {internal_secret_for_shells()}"
"""
        )

    def make_first_administrator(self, url: str) -> None:
        password = secrets.token_urlsafe(12)
        User.objects.create_superuser("admin", password=password)
        self.stdout.write(f"\nThe administrator of {url}/admin/ is admin with the password {password}\nIt is shown this once.\n")


def internal_secret_for_shells() -> str:
    """Return what a shell, in whichever folder, puts the secret in place of; the secret itself is not printed."""
    path = env_file()
    if path.exists() and "\nINTERNAL_SECRET=" in path.read_text():
        return f"$(grep ^INTERNAL_SECRET= {shlex.quote(str(path.resolve()))} | cut -d= -f2-)"
    return "$INTERNAL_SECRET"


class Family:
    """A server and a worker that run together and end together."""

    def __init__(self, *, host: str, port: int, log: Any) -> None:
        self.commands = {"server": ["serve", "--host", host, "--port", str(port)], "worker": ["worker"]}
        self.environ = os.environ | {"PORT": str(port), PARENT_VARIABLE: str(os.getpid())}
        self.log = log
        self.told_at: float | None = None  # to stop
        self.is_told_again = False

    def run(self) -> None:
        """Return after SIGTERM, SIGINT or SIGHUP, when both have ended.

        Raises:
            CommandError: the server ended by itself.
        """
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.stop)
        server, worker = self.start("server"), self.start("worker")
        try:
            while not self.is_told_to_stop:
                if (status := server.poll()) is not None:
                    raise CommandError(f"The server ended with status {status}.")
                if (status := worker.poll()) is not None:
                    self.log(f"The worker ended with status {status}; starting another.")
                    self.wait(WORKER_RESTART_SECONDS)
                    if not self.is_told_to_stop:
                        worker = self.start("worker")
                self.wait(LOOK_SECONDS)
        finally:
            self.end([server, worker])

    @property
    def is_told_to_stop(self) -> bool:
        return self.told_at is not None

    def start(self, name: str) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C reaches this process alone, which then tells the others.
        command = [sys.executable, str(BASE_DIR / "manage.py"), *self.commands[name]]
        return subprocess.Popen(command, env=self.environ, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603

    def stop(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        self.told_at = self.told_at or now
        self.is_told_again = now - self.told_at > AGAIN_SECONDS

    def wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self.is_told_to_stop and time.monotonic() < deadline:
            time.sleep(0.05)

    def end(self, processes: list[subprocess.Popen[bytes]]) -> None:
        """Ask them to end. What then waits longer than it may, or still runs when we are told again, is killed."""
        for process in processes:
            if process.poll() is None:
                process.terminate()
        started, has_said = time.monotonic(), False
        while running := [process for process in processes if process.poll() is None]:
            passed = time.monotonic() - started
            for process in running:
                if passed > DRAIN_SECONDS + STOP_SECONDS or self.is_told_again:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            if passed > STOP_SECONDS and not has_said and not self.is_told_again:
                self.log("A provider is still at work; its answer is waited for. Ctrl-C again ends it at once.")
                has_said = True
            time.sleep(0.05)
