"""`sync_sora`, `check_services`, `import_credentials` and `export_credentials`."""

import io
import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from aiservices.credentials.models import GeminiKey, SoraToken
from tenants.models import AuditEntry
from tests.aiservices.credential_rows import access_token, key
from tests.callers import manage_json
from tests.live import process_environment
from tests.settings import PROJECT
from tests.upstreams.sora_service import SoraService

pytestmark = pytest.mark.django_db


def test_keys_a_line_each(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_text("# ours\nAIza-first-key-0001\n\n  AIza-second-key-0002,\nAIza-first-key-0001\nnot a key\n")
    answer = manage_json("import_credentials", "gemini", str(file))
    assert {name: answer[name] for name in ("added", "skipped", "failed")} == {"added": 2, "skipped": 1, "failed": 1}
    assert "AIza-second" not in json.dumps(answer)


def test_from_standard_input(cloned_db: Any) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "import_credentials", "gemini", "-", "--json"],
        input="AIza-first-key-0001\n",
        env=process_environment(DATABASE_URL=cloned_db.url),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, json.loads(done.stdout)["added"]) == (0, 1)
    assert GeminiKey.objects.get().secret == "AIza-first-key-0001"


def test_what_was_exported_can_be_imported(tmp_path: Path, sora: SoraService) -> None:
    secret = access_token("anna@example.com")
    SoraToken.objects.all().delete()
    file = tmp_path / "tokens.json"
    (tmp_path / "in.json").write_text(json.dumps([{"token": secret, "st": "st-of-anna-0001", "remark": "r", "isActive": False}]))
    assert manage_json("import_credentials", "sora", str(tmp_path / "in.json"))["added"] == 1
    assert [item["is_active"] for item in sora.tokens.values()] == [False]
    with pytest.raises(CommandError):
        manage_json("export_credentials", "sora", str(file))
    assert not file.exists()
    assert manage_json("export_credentials", "sora", str(file), "--reveal", "--reason", "move")["count"] == 1
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    exported = json.loads(file.read_text())["tokens"]
    assert exported[0]["token"] == secret and exported[0]["st"] == "st-of-anna-0001"
    SoraToken.objects.all().delete()
    assert manage_json("import_credentials", "sora", str(file))["added"] == 1
    row = SoraToken.objects.get()
    assert (row.secret.reveal(), row.remark, row.is_active) == (secret, "r", False)
    assert AuditEntry.objects.get(action="credential.export").reason == "move"


def test_keys_on_standard_output() -> None:
    one = key("one")
    assert manage_json("export_credentials", "gemini", "--reveal") == {
        "keys": [{"apiKey": one.secret.reveal(), "name": "one", "isActive": True}]
    }


@pytest.mark.parametrize("content", ["", "{}", "[", '{"keys": 5}', "two words"])
def test_files_without_anything_usable(tmp_path: Path, content: str) -> None:
    file = tmp_path / "keys.txt"
    file.write_text(content)
    with pytest.raises(CommandError):
        manage_json("import_credentials", "gemini", str(file))
    with pytest.raises(CommandError):
        manage_json("import_credentials", "gemini", str(tmp_path / "no-such-file"))
    assert not GeminiKey.objects.exists()


def test_sync_sora(sora: SoraService) -> None:
    sora.put(access_token("anna@example.com"))
    answer = manage_json("sync_sora")
    assert (answer["adopted"], answer["failed"], len(answer["results"]["adopted"])) == (1, 0, 1)
    out = io.StringIO()
    call_command("sync_sora", stdout=out)
    assert "adopted: 0" in out.getvalue()
    sora.stop()
    with pytest.raises(CommandError):
        manage_json("sync_sora")


def test_check_services(settings: Any, sora: SoraService) -> None:
    found = {item["name"]: item["status"] for item in manage_json("check_services")["services"]}
    assert found["sora"] == found["database"] == found["storage"] == "ok"
    out = io.StringIO()
    call_command("check_services", stdout=out)
    assert "sandbox" in out.getvalue()
