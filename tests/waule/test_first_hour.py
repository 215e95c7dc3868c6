"""What an operator does in the first hour: commands take names, say what comes next, and the recipe passes its check."""

import io
import re
import subprocess
import sys
from typing import Any

import pytest
from django.core.management import CommandError, call_command, get_commands, load_command_class

from billing.catalog.models import AIModel
from billing.ledger.models import Account
from tenants.models import AuditEntry, Tenant, TenantMember, User
from tests.callers import manage_json
from tests.live import process_environment
from tests.settings import PROJECT


def told(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


BY_NAME = {  # every command with an argument that is a tenant or a user, and how it is called with {tenant} and {user}
    "add_member": ["{tenant}", "{user}"],
    "create_api_key": ["{tenant}"],
    "erase_tenant": ["{tenant}", "--reason", "r", "--dry-run"],
    "erase_user": ["{user}", "--reason", "r", "--dry-run"],
    "grant_credits": ["tenant", "{tenant}", "5", "--reason", "r"],
    "grant_credits ": ["user", "{user}", "5", "--reason", "r"],
    "reset_second_factor": ["{user}"],
    "statement": ["tenant", "{tenant}", "--from", "2026-01-01T00:00:00Z", "--to", "2027-01-01T00:00:00Z"],
    "statement ": ["user", "{user}", "--from", "2026-01-01T00:00:00Z", "--to", "2027-01-01T00:00:00Z"],
    "check_storage": ["--tenant", "{tenant}"],
}
OWNER = re.compile(r"^(tenant|user|username|target|id)$")
NEW_NAMES = {"create_user", "axes_reset_username"}  # these take a name that nobody has yet, or are not ours


@pytest.mark.parametrize("command", BY_NAME)
def test_a_tenant_or_user_is_named_by_id_or_name(command: str, acme: Tenant, alice: User) -> None:
    for names in ({"tenant": str(acme.id), "user": str(alice.id)}, {"tenant": "Acme", "user": "alice"}):
        manage_json(command.strip(), *(part.format(**names) for part in BY_NAME[command]))
    with pytest.raises(CommandError, match=r"There is no (tenant|user) Nobody"):
        manage_json(command.strip(), *(part.format(tenant="Nobody", user="Nobody") for part in BY_NAME[command]))


@pytest.mark.django_db
def test_no_such_command_is_forgotten() -> None:
    ours = {"waule", "tenants", "billing", "storage", "aiservices"}
    found = set()
    for name, app in get_commands().items():
        if app in ours and name not in NEW_NAMES:
            parser = load_command_class(app, name).create_parser("manage.py", name)
            if any(OWNER.match(action.dest) for action in parser._actions):
                found.add(name)
    assert found == {*(name.strip() for name in BY_NAME), "changepassword"}
    with pytest.raises(CommandError, match="There is no user Nobody"):
        call_command("changepassword", "Nobody")


def test_a_name_that_several_tenants_have_moves_nothing(acme: Tenant) -> None:
    Tenant.objects.create(name="Acme")
    with pytest.raises(CommandError, match="Several tenants are named Acme"):
        manage_json("grant_credits", "tenant", "Acme", "5", "--reason", "r")
    assert Account.objects.get(tenant=acme, mode="live").balance == 1000


def test_a_member_is_added_once_and_can_change_its_role(acme: Tenant, alice: User) -> None:
    first = manage_json("add_member", "Acme", "alice")
    assert (first["tenant"], first["user"], first["role"]) == (str(acme.id), str(alice.id), "owner")
    second = manage_json("add_member", "Acme", "alice", "--role", "billing")
    assert (second["id"], second["role"]) == (first["id"], "billing")
    assert TenantMember.objects.get().role == "billing"
    assert list(AuditEntry.objects.filter(action__startswith="member").order_by("id").values_list("action", "after__role")) == [
        ("member.add", "owner"),
        ("member.change", "billing"),
    ]
    with pytest.raises(CommandError):
        manage_json("add_member", "Acme", "alice", "--role", "king")


@pytest.mark.django_db
def test_after_create_tenant_a_line_says_what_comes_next() -> None:
    assert "Next: make a catalog: manage.py apply_catalog --example" in told("create_tenant", "A")
    call_command("apply_catalog", str(PROJECT / "billing/catalog/example_catalog.yaml"), stdout=io.StringIO())
    assert "Next: let it use models" in told("create_tenant", "B", "--credits", "5")
    assert re.search(
        r"Next: give it credits: manage.py grant_credits tenant [0-9a-f-]{36} ", told("create_tenant", "C", "--all-models")
    )
    made = told("create_tenant", "D", "--all-models", "--credits", "5")
    assert "Next: curl -s " in made
    (command,) = re.findall(r"then manage\.py (add_member [0-9a-f-]{36} )NAME", made)
    told("create_user", "dora", "--password", "dora-password-0")
    assert "/console/" in told(*command.split(), "dora")
    assert "Next: curl -s " in told("create_tenant", "E", "--all-models", "--test-key")
    assert set(manage_json("create_tenant", "F")) == {"id", "name", "apiKey", "credits"}


@pytest.mark.django_db
def test_the_example_catalog_applies_and_can_be_sold(tmp_path: Any) -> None:
    example = told("apply_catalog", "--example")
    assert not AIModel.objects.exists()
    file = tmp_path / "catalog.yaml"
    file.write_text(example)
    assert manage_json("apply_catalog", str(file))["added"] > 0
    assert manage_json("apply_catalog", str(file))["changes"] == []
    assert AIModel.objects.filter(is_active=True).count() == 2
    with pytest.raises(CommandError, match="apply_catalog --example"):
        call_command("apply_catalog")


@pytest.mark.once
def test_the_documented_recipe_passes_the_deployment_check(tmp_path: Any) -> None:
    """The shell block of docs/operations.md is run as it stands, and waule checked with the file that it writes."""
    recipe = re.search(r"```sh\n(umask 077\n.*?> \.env\n)", (PROJECT / "docs/operations.md").read_text(), re.S)
    assert recipe is not None
    subprocess.run(["bash", "-euc", recipe[1]], cwd=tmp_path, check=True)
    env_file = tmp_path / ".env"
    assert env_file.stat().st_mode & 0o777 == 0o600
    environ = {name: value for name, value in process_environment().items() if f"\n{name}=" not in f"\n{env_file.read_text()}"}
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=PROJECT, env=environ | {"WAULE_ENV_FILE": str(env_file)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
