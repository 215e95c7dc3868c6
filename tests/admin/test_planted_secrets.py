"""Secrets are planted by every door there is, then looked for in every place where none belongs."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
from django.contrib import admin
from django.core.management import CommandError, call_command
from django.db import connection
from django.urls import get_resolver, reverse

from tenants.models import Tenant
from tenants.services import create_api_key
from tenants.webhooks.models import Webhook

PLANTED = {
    name: f"planted-{name}-9f27c1d0b84e63a5"
    for name in ("gemini", "gemini-new", "sora", "session", "refresh", "proxy", "bucket", "webhook", "password", "mistyped")
}
ROOMS = ("tenants", "billing", "storage", "aiservices")


@pytest.fixture
def planted(db, admin_client, internal, settings, caplog) -> Iterator[dict[str, str]]:
    """Every secret, planted as people and programs do it. Its values are what must be seen nowhere."""
    caplog.set_level(logging.DEBUG)
    settings.SORA_API_URL = settings.GEMINI_API_URL = "http://127.0.0.1:9"  # both are down
    secrets = dict(PLANTED)
    tenant = Tenant.objects.create(name="Acme", enabled_models=["*"])
    secrets["key"] = create_api_key(tenant=tenant, mode="live", actor="test")[1]
    status, key = internal.post("/internal/gemini/keys", {"apiKey": secrets["gemini"]})
    assert status == 201, key
    assert internal("PATCH", f"/internal/gemini/keys/{key['id']}", {"apiKey": secrets["gemini-new"]})[0] == 200
    token = {
        "token": secrets["sora"],
        "st": secrets["session"],
        "rt": secrets["refresh"],
        "proxyUrl": f"http://someone:{secrets['proxy']}@proxy.example:8080",
    }
    status, made = internal.post("/internal/sora/tokens", token)
    assert status == 201, made
    for path, body in {
        f"gemini/keys/{key['id']}/test": {},
        f"sora/tokens/{made['id']}/disable": {"reason": "slow"},
        f"sora/tokens/{made['id']}/test": {},
        "sora/tokens/sync": {},
        "gemini/keys": {"apiKey": secrets["gemini-new"], "weight": -1},
        "gemini/keys/batch": {"keys": [secrets["gemini-new"], f"{secrets['mistyped']} {secrets['mistyped']}"]},
        "sora/tokens/import": {"tokens": [{"token": secrets["sora"], "videoConcurrency": secrets["mistyped"]}]},
        "credentials/lease": {"provider": secrets["mistyped"]},
    }.items():
        internal.post(f"/internal/{path}", body)
    form = {"tenant": tenant.pk, "mode": "custom", "driver": "s3", "region": "r", "bucket": "b", "access_key_id": "LTAI"}
    made_by_form = admin_client.post(reverse("admin:storage_ossconfig_add"), form | {"access_key_secret": secrets["bucket"]})
    assert made_by_form.status_code == 302, made_by_form.context["errors"]
    Webhook.objects.create(tenant=tenant, url="https://hooks.example/", secret=secrets["webhook"])
    internal.client.post("/api/auth/token", {"username": "root", "password": secrets["password"]}, "application/json")
    internal.client.get("/v1/models", headers={"Authorization": f"Bearer {secrets['mistyped']}"})
    yield secrets


def found(secrets: dict[str, str], text: str, where: str) -> list[str]:
    return [f"{name} in {where}" for name, secret in secrets.items() if secret in text]


def addresses_of(model) -> Iterator[str]:
    label, name = model._meta.app_label, model._meta.model_name
    acts = ["test", "enable", "disable"] if name in ("soratoken", "geminikey") else []
    for page in ("changelist", "add", "export"):
        if (pattern := f"{label}_{name}_{page}") in NAMES:
            yield reverse(f"admin:{pattern}")
    for row in model._default_manager.all()[:3]:
        for page in ("change", "history", "delete", *acts):
            yield reverse(f"admin:{label}_{name}_{page}", args=[row.pk])


PANEL = [("ai_services", []), ("ai_services_paste", ["sora"]), ("ai_services_paste", ["gemini"])]
NAMES = {name for name in get_resolver().namespace_dict["admin"][1].reverse_dict if isinstance(name, str)}


def test_no_page_list_history_or_export_shows_one(planted, admin_client):
    models = [model for model in admin.site._registry if model._meta.app_label in ROOMS]
    panel = [reverse(f"admin:{name}", args=args) for name, args in PANEL]
    pages = [reverse("admin:index"), *panel, *(address for model in models for address in addresses_of(model))]
    assert len(pages) > 60
    leaks = []
    for page in pages:
        answer = admin_client.get(page)
        assert answer.status_code in (200, 302, 403), page
        leaks += found(planted, answer.getvalue().decode(), page)
    assert leaks == []


def test_no_list_of_the_api_tells_one(planted, internal, admin_client):
    leaks = []
    for path in ("sora/tokens", "gemini/keys", "models", "health"):
        status, told = internal.get(f"/internal/{path}")
        by_staff = admin_client.get(f"/api/admin/ai-services/{path}")
        assert (status, by_staff.status_code) == (200, 200)
        leaks += found(planted, json.dumps(told) + by_staff.text, path)
        for row in told.get("tokens", []) + told.get("keys", []):
            leaks += found(planted, json.dumps(internal.get(f"/internal/{path}/{row['id']}")[1]), path)
    assert leaks == []


def test_no_table_holds_one_in_the_clear(planted):
    leaks = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            for row in cursor.fetchall():
                cells = [bytes(cell).decode("latin-1") if isinstance(cell, memoryview | bytes) else str(cell) for cell in row]
                leaks += found(planted, " ".join(cells), table)
    assert leaks == []


def test_no_dump_export_or_log_carries_one(planted, caplog, capsys):
    written = io.StringIO()
    call_command("dumpdata", stdout=written)
    leaks = found(planted, written.getvalue(), "dumpdata")
    assert len(written.getvalue()) > 2000
    for command in (["check_services"], ["sync_sora"], ["export_catalog"], ["reconcile"], ["export_credentials", "gemini", "-"]):
        try:
            call_command(*command)
        except CommandError as error:
            leaks += found(planted, str(error), command[0])
    told = capsys.readouterr()
    leaks += found(planted, told.out + told.err + caplog.text, "output and log")
    assert leaks == []
