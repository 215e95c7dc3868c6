"""A server with models, a tenant's key, and the clients of others."""

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from billing.ledger.models import Account
from tenants.models import Tenant
from tenants.services import create_api_key
from tests import tools
from tests.catalog import image_model
from tests.live import LiveWaule

NODE_DIR = Path(__file__).parent / "node"
NODE_SECONDS = 120


class Shop:
    """A live server, a tenant with 1,000 credits, its key."""

    def __init__(self, waule: LiveWaule, tenant: Tenant) -> None:
        self.waule, self.tenant = waule, tenant
        self.key, self.api_key = create_api_key(tenant=tenant, name="clients", actor="test")
        image_model("painter", base=15)
        image_model("gemini-image", provider="gemini", base=15)

    @property
    def base_url(self) -> str:
        return f"{self.waule.url}/v1"

    @property
    def spent(self) -> int:
        account = Account.objects.get(tenant=self.tenant, mode="live")
        assert account.held == 0
        return 1000 - account.balance

    def node(self, script: str, *arguments: str) -> Any:
        """What a script of `tests/clients/node` prints."""
        node = tools.program("node", package="nodejs")
        if not (NODE_DIR / "node_modules" / "openai").exists():
            tools.missing("the official Node client is not installed: npm ci --prefix tests/clients/node")
        command = [node, str(NODE_DIR / script), self.base_url, self.api_key, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=NODE_SECONDS)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def shop(live_waule: LiveWaule, acme: Tenant) -> Shop:
    live_waule.environ["JOB_LEASE_SECONDS"] = "3"
    return Shop(live_waule, acme)


def png(size: tuple[int, int] = (64, 64), *, clear: bool = False) -> bytes:
    file = io.BytesIO()
    Image.new("RGBA", size, (200, 80, 20, 0 if clear else 255)).save(file, "PNG")
    return file.getvalue()
