"""SECRET_KEY and JWT_SECRET rotate without a failed request, in any order of restarts; what is at rest is its owner's alone."""

import itertools
import os
import stat
import sys
from pathlib import Path
from typing import Any

import jwt
import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.views.debug import get_exception_reporter_class

from storage.drivers.local import LocalDriver, incoming, path_of
from tenants.models import AuthenticatorDevice, Tenant, User
from tenants.webhooks.models import Webhook
from tests.live import Database, LiveWaule
from waule.core.crypto.encryption import keyed_hash

OLD, NEW = "old-secret-0b6f6c39c2a74e8d9f1e5a7d3c2b1a09", "new-secret-91d7c04be8a3f65252a74e8d9f1e5a7d"


def restarted(settings: Any, kind: str, secret: str, other: str = "") -> None:
    """As a process is that was started with these two."""
    if kind == "JWT_SECRET":
        settings.JWT_SECRET, settings.JWT_SECRET_PREVIOUS = secret, other
    else:
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = secret, [other] if other else []


# The order of docs/operations.md: both are known everywhere before either is used for something new.
STEPS = [(OLD, ""), (OLD, NEW), (NEW, OLD), (NEW, "")]


def test_tokens_outlive_a_rotation_whoever_was_restarted_first(settings: Any, alice: User, client: Client) -> None:
    body = {"username": "alice", "password": "alice-password"}
    for older, newer in itertools.pairwise(STEPS):
        for made, read in ((older, newer), (newer, older)):  # two processes, one of them restarted
            restarted(settings, "JWT_SECRET", *made)
            tokens = client.post("/api/auth/token", body, "application/json").json()
            restarted(settings, "JWT_SECRET", *read)
            assert client.get("/api/me", headers={"Authorization": f"Bearer {tokens['access']}"}).status_code == 200, (made, read)
            assert client.post("/api/auth/refresh", {"refresh": tokens["refresh"]}, "application/json").status_code == 200
    # only that of now signs new ones, and none outlives the end of the rotation
    restarted(settings, "JWT_SECRET", NEW, OLD)
    tokens = client.post("/api/auth/token", body, "application/json").json()
    jwt.decode(tokens["access"], NEW, algorithms=["HS256"])
    restarted(settings, "JWT_SECRET", NEW)
    stale = jwt.encode({"userId": str(alice.pk), "exp": 2**33}, OLD, algorithm="HS256")
    assert client.get("/api/me", headers={"Authorization": f"Bearer {stale}"}).status_code == 401


def test_sessions_outlive_a_rotation_whoever_was_restarted_first(settings: Any, root: User) -> None:
    for older, newer in itertools.pairwise(STEPS):
        for made, read in ((older, newer), (newer, older)):
            restarted(settings, "SECRET_KEY", *made)
            browser = Client()
            browser.post(reverse("admin:login"), {"username": "root", "password": "root-password"})
            restarted(settings, "SECRET_KEY", *read)
            assert browser.get(reverse("admin:index")).status_code == 200, (made, read)


def test_keys_are_found_after_secret_key_has_changed(cloned_db: Database, tmp_path: Path) -> None:
    """LOOKUP_KEY follows SECRET_KEY where it is not set: while that rotates, the older one counts."""
    tenant = Tenant.objects.create(name="Acme", enabled_models=["*"])
    waule = LiveWaule(cloned_db, tmp_path)
    try:
        environment = {"LOOKUP_KEY": "", "SECRET_KEY": NEW, "SECRET_KEY_PREVIOUS": OLD}
        printed = waule.manage("shell", "-c", "from django.conf import settings; print(settings.LOOKUP_KEY)", **environment)
        assert OLD in printed.stdout, printed.stderr
    finally:
        waule.stop()
    assert keyed_hash(str(tenant.pk))


# --- at rest -------------------------------------------------------------------------------------------------------


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_waule_stores_is_readable_by_its_owner_alone(settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path / "new" / "media"
    before = os.umask(0o000)  # whatever the process allows
    try:
        LocalDriver().put("tenants/t/ab/c.png", b"picture", content_type="image/png")
        incoming()
    finally:
        os.umask(before)
    made = [*list((tmp_path / "new").rglob("*")), tmp_path / "new"]
    assert len(made) == 7
    for path in made:
        assert mode_of(path) == (0o700 if path.is_dir() else 0o600), path
    assert path_of("tenants/t/ab/c.png").read_bytes() == b"picture"


def test_the_database_is_readable_by_its_owner_alone(cloned_db: Database) -> None:
    from django.db import connection

    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL looks after its files")
    Tenant.objects.create(name="Acme")
    name = str(connection.settings_dict["NAME"])
    Path(name).chmod(0o644)
    connection.close()
    Tenant.objects.create(name="Birch")
    for end in ("", "-wal", "-shm"):
        assert mode_of(Path(name + end)) == 0o600, end


def test_no_dump_has_sessions_or_second_factors(root: User, client: Client, capsys: Any) -> None:
    device = AuthenticatorDevice.objects.create(user=root)
    client.force_login(root)
    for named in ((), ("sessions", "tenants"), ("tenants.AuthenticatorDevice",)):
        call_command("dumpdata", *named)
        written = capsys.readouterr().out
        assert device.key.reveal() not in written
        assert client.session.session_key not in written
        assert '"tenants.authenticatordevice"' not in written
        assert '"sessions.session"' not in written


def test_the_key_of_a_second_factor_is_sealed(root: User) -> None:
    from django.db import connection

    device = AuthenticatorDevice.objects.create(user=root)
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM tenants_authenticatordevice")
        row = "".join(str(bytes(cell) if isinstance(cell, memoryview | bytes) else cell) for cell in cursor.fetchone())
    assert device.key.reveal() not in row


def test_no_webhook_is_without_a_secret(acme: Tenant) -> None:
    hook = Webhook.objects.create(tenant=acme, url="https://93.184.216.34/")
    assert len(Webhook.objects.get().secret.reveal()) >= 40
    hook.secret = ""
    hook.save()
    assert Webhook.objects.get().secret.reveal().startswith("whsec_")


# --- exception reports ---------------------------------------------------------------------------------------------

PLANTED = "planted-in-a-report-9f27c1d0b84e63a5"


def test_an_exception_report_shows_no_value(rf: Any) -> None:
    request = rf.post(
        f"/x?token={PLANTED}", {"secret": PLANTED}, headers={"X-Internal-Secret": PLANTED, "Authorization": f"Bearer {PLANTED}"}
    )
    request.COOKIES["sessionid"] = PLANTED

    def fails(api_key: str) -> None:
        local = [api_key]
        raise ValueError(len(local))

    try:
        fails(PLANTED)
    except ValueError:
        reporter = get_exception_reporter_class(request)(request, *sys.exc_info())
        reports = [reporter.get_traceback_html(), reporter.get_traceback_text()]
    for report in reports:
        assert PLANTED not in report
        assert "ValueError" in report
