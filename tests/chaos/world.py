"""Everything that a run of chaos consists of: waule's processes, and what they depend on, each on a port of its own."""

import contextlib
import json
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from aiservices.generations.providers.base import Job
from aiservices.generations.providers.sandbox import Sandbox
from billing.catalog.pricing import SoldSize, read_size
from tests.chaos.model import CODE_CREDITS, CODE_USES, GRANTED, LEASES_AT_ONCE, PRICE, SHARED_GRANTED, VIDEO_PRICE, VIDEO_SECONDS
from tests.chaos.provider import LyingProvider
from tests.live import Database, LiveWaule, Process, manage
from tests.upstreams import redis_server
from tests.upstreams.postgres_cluster import Cluster
from tests.upstreams.redis_server import RedisServer
from tests.upstreams.s3_service import S3Service
from tests.upstreams.tcp_proxy import TcpProxy

WORKERS, WORKER_CONCURRENCY = 2, "8"
CODES, KEYS = 40, 3
SETTINGS = {"JOB_LEASE_SECONDS": "3", "UPSTREAM_READ_SECONDS": "3", "UPSTREAM_TOTAL_SECONDS": "6", "OSS_DRIVER": "s3"}
CATALOG = f"""
models:
  - {{modelId: flash, name: Flash, provider: sandbox, type: IMAGE_GENERATION}}
  - {{modelId: filmer, name: Filmer, provider: openai, type: VIDEO_GENERATION}}
rules:
  - {{name: flash, scope: {{modelId: flash}}, billingType: PER_IMAGE, baseCredits: {PRICE}}}
  - {{name: filmer, scope: {{modelId: filmer}}, billingType: PER_DURATION, baseCredits: {VIDEO_PRICE // VIDEO_SECONDS}}}
"""
# Run by `manage.py shell`: one process for what would be dozens of commands. Its last line is JSON.
SCRIPT = f"""
import io, json
from django.core.management import call_command
from aiservices.credentials.models import GeminiKey
from billing.redemption.services import create_codes

def tenant(name, credits):
    said = io.StringIO()
    call_command("create_tenant", name, "--credits", str(credits), "--all-models", "--json", stdout=said)
    return json.loads(said.getvalue())

call_command("apply_catalog", "{{catalog}}", stdout=io.StringIO())
call_command("import_credentials", "gemini", "{{keys}}", stdout=io.StringIO())
GeminiKey.objects.update(max_in_flight={LEASES_AT_ONCE})
print(json.dumps({{{{
    "tenants": [tenant(f"chaos-{{{{number}}}}", {GRANTED}) for number in range({{callers}})],
    "shared_tenant": tenant("shared", {SHARED_GRANTED}),
    "codes": [
        create_codes(count=1, credits={CODE_CREDITS}, uses={CODE_USES}, batch=f"chaos-{{{{number}}}}", actor="chaos").codes[0]
        for number in range({CODES})
    ],
    "credentials": {{{{str(key.pk): key.secret.reveal() for key in GeminiKey.objects.all()}}}},
}}}}))
"""


class World:
    """What of it is not here (`cluster` on SQLite, `broker` without Redis) cannot be broken either."""

    def __init__(self, waule: LiveWaule, provider: LyingProvider, bucket: TcpProxy) -> None:
        self.waule, self.provider, self.bucket = waule, provider, bucket
        self.cluster: Cluster | None = None
        self.broker: RedisServer | None = None
        self.workers: list[Process] = []
        self.image_model, self.video_model = "flash", "filmer"
        self.tenants: list[dict[str, Any]] = []
        self.shared_tenant: dict[str, Any] = {}
        self.codes: list[str] = []
        self.credentials: dict[str, str] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.waule.environ['PORT']}"

    @property
    def missing_faults(self) -> set[str]:
        """What cannot be broken, for it is not here."""
        without_cluster = set() if self.cluster else {"stop_database", "cut_connections"}
        return without_cluster | (set() if self.broker else {"kill_broker"})

    def fill(self, callers: int) -> None:
        """Makes tenants, prices, codes and keys, as an operator does."""
        waule = self.waule
        catalog, keys = waule.directory / "catalog.yaml", waule.directory / "keys"
        catalog.write_text(CATALOG)
        keys.write_text("".join(f"AIzaChaos{number}{'x' * 30}\n" for number in range(KEYS)))
        done = waule.manage("shell", "-c", SCRIPT.format(catalog=catalog, keys=keys, callers=callers))
        assert done.returncode == 0, done.stderr
        vars(self).update(json.loads(done.stdout.splitlines()[-1]))

    def start_worker(self) -> None:
        self.workers.append(self.waule.run("worker", "--concurrency", WORKER_CONCURRENCY))

    def start(self) -> None:
        self.waule.workers = 2
        self.waule.start()
        for _number in range(WORKERS):
            self.start_worker()


def film() -> bytes:
    """A real film of one second."""
    job = Job("x", "", "m", "x", size=SoldSize(read_size("128x128"), "1:1"), duration=Decimal(1))
    made = Sandbox().generate_video(job, progress=lambda _percent: None).outputs[0].path
    assert made is not None
    return made.read_bytes()


@contextlib.contextmanager
def opened(*, on_sqlite: bool, with_broker: bool) -> Iterator[World]:
    """A world that is ended afterwards, whatever has become of it."""
    with contextlib.ExitStack() as parents:
        directory = Path(parents.enter_context(tempfile.TemporaryDirectory(prefix="waule-chaos-")))
        database: Any = Database.clone() if on_sqlite else Cluster()
        parents.callback(database.drop)
        if not on_sqlite:
            done = manage("migrate", "--verbosity=0", DATABASE_URL=database.url)
            assert done.returncode == 0, done.stderr
        provider = LyingProvider(film())
        parents.callback(provider.stop)
        bucket = S3Service()
        parents.callback(bucket.stop)
        bucket.authenticate("0")
        proxy = TcpProxy(bucket.server.get_host_and_port())
        parents.callback(proxy.stop)
        waule = LiveWaule(database, directory, **SETTINGS)
        parents.callback(waule.stop)
        waule.environ |= {"OPENAI_API_URL": provider.url, "OPENAI_API_KEY": "sk-chaos", "OSS_BUCKET": bucket.bucket}
        waule.environ |= {"OSS_ENDPOINT": f"http://127.0.0.1:{proxy.port}", "OSS_REGION": "us-east-1"}
        waule.environ |= {"OSS_ACCESS_KEY_ID": bucket.key_id, "OSS_ACCESS_KEY_SECRET": bucket.secret}
        world = World(waule, provider, proxy)
        world.cluster = None if on_sqlite else database
        if with_broker and redis_server.PROGRAM:
            world.broker = RedisServer()
            parents.callback(world.broker.kill)
            waule.environ |= {"TASK_ENGINE": "celery", "CELERY_BROKER_URL": world.broker.url}
        yield world
