"""A typed client generated from the OpenAPI document makes a charge and a picture."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.conftest import Shop
from tests.settings import INTERNAL_SECRET

PROGRAM = """
import sys

from waule_client import AuthenticatedClient
from waule_client.api.internal import charge
from waule_client.api.v1 import v1_images_generations
from waule_client.models import ChargeBodyRequest, ChargeMade, ImagesBodyRequest, OpenAIError, OpenAIImages, TargetTypeEnum

url, secret, key, tenant = sys.argv[1:]
gateway = AuthenticatedClient(url, token=secret, prefix="", auth_header_name="X-Internal-Secret")
use = ChargeBodyRequest(target_type=TargetTypeEnum.TENANT, target_id=tenant, model_id="painter", quantity=2)
charged = charge.sync(client=gateway, body=use)
assert isinstance(charged, ChargeMade), charged
credits: int = charged.credits_charged

shop = AuthenticatedClient(url, token=key)
made = v1_images_generations.sync(client=shop, body=ImagesBodyRequest(model="painter", prompt="a fox"))
assert isinstance(made, OpenAIImages), made
picture = made.data[0].url
assert isinstance(picture, str)
refused = v1_images_generations.sync(client=shop, body=ImagesBodyRequest(model="nobody", prompt="a fox"))
assert isinstance(refused, OpenAIError), refused
code: str = refused.error.code
print(credits, made.usage.credits_charged, picture, code)
"""


def run(*command: str | Path, cwd: Path) -> str:
    # What builds the client wants to format it with ruff, which lies beside the interpreter.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(command, cwd=cwd, env=os.environ | {"PATH": path}, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.once
def test_it_charges_and_makes_a_picture(shop: Shop, tmp_path: Path) -> None:
    pytest.importorskip("openapi_python_client")
    document = tmp_path / "schema.json"
    document.write_text(shop.waule.get("/api/schema").text)
    client = tmp_path / "waule_client"
    generate = (sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none")
    run(*generate, "--path", document, "--output-path", client, cwd=tmp_path)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    # What the generator writes is not all strict itself; what it says of its types to others is.
    mypy = (sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--config-file=", "--cache-dir", os.devnull)
    run(*mypy, program, cwd=tmp_path)

    printed = run(sys.executable, program, shop.waule.url, INTERNAL_SECRET, shop.api_key, str(shop.tenant.pk), cwd=tmp_path)
    charged, drawn, picture, code = printed.split()
    assert (charged, drawn, code) == ("30", "15", "model_not_found")
    assert shop.spent == 45
    assert shop.waule.get(picture.removeprefix(shop.waule.url)).headers["Content-Type"] == "image/png"
