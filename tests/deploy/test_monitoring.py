"""Metrics that are true over several processes, and the alert rules and the dashboard that are shipped with them."""

import json
import re
import subprocess
from typing import Any

import requests
import yaml

from billing.catalog.models import AIModel
from tenants.models import Tenant
from tenants.services import create_api_key
from tests import tools
from tests.live import LiveWaule, free_port
from tests.settings import PROJECT
from tests.waiting import eventually
from waule.core.metrics import COUNTED

MONITORING = PROJECT / "deploy" / "monitoring"
RULES = [rule for group in yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
NAME = re.compile(r"\bwaule_[a-z_]+\b")
CALLS = 30


def value(text: str, series: str) -> float:
    """The sum of the samples whose name and labels begin so."""
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(series))


def test_processes_and_workers_are_one_scrape(
    live_waule: LiveWaule,
    acme: Tenant,
    filmer: AIModel,
) -> None:
    live_waule.workers = 3
    port = free_port()
    live_waule.environ["WORKER_METRICS_PORT"] = str(port)
    worker = live_waule.run("worker")
    key = create_api_key(tenant=acme, actor="test")[1]
    for _number in range(CALLS):  # a connection each: whichever process takes it
        with requests.Session() as session:
            session.trust_env = False
            assert (
                session.get(live_waule.url + "/v1/models", headers={"Authorization": "Bearer x"}, timeout=60).status_code == 401
            )
    body = {"model": "filmer", "prompt": "x", "seconds": "1", "size": "128x128"}
    assert live_waule.post("/v1/videos", body, headers={"Authorization": f"Bearer {key}"}).status_code == 200
    made = 'waule_provider_seconds_count{outcome="ok",provider="sandbox",type="video"}'
    eventually(lambda: value(live_waule.get("/metrics").text, made) == 1)
    refused = 'waule_request_seconds_count{method="GET",route="v1/models",status="401"}'
    for _number in range(6):
        with requests.Session() as session:
            session.trust_env = False
            text = session.get(live_waule.url + "/metrics", timeout=60).text
        assert value(text, refused) == CALLS
        assert value(text, "waule_rejections_total{") == CALLS
    assert value(text, "waule_workers ") == 1
    assert value(text, "waule_periodic_task_runs_total{") > 0
    with requests.Session() as session:
        session.trust_env = False
        assert value(session.get(f"http://127.0.0.1:{port}/", timeout=60).text, made) == 1
    worker.kill()  # what a dead process has counted still counts
    assert value(live_waule.get("/metrics").text, made) == 1
    names = {*re.findall(r"(?m)^# TYPE (\S+) ", text), *(metric.name for metric in COUNTED.collect())}
    assert asked() <= {re.sub(r"_(total|count|sum|bucket)$", "", name) for name in names}


def asked() -> set[str]:
    """The metrics that rules and dashboard ask for, without their suffixes."""
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    texts = [rule["expr"] for rule in RULES] + [target["expr"] for panel in panels for target in panel["targets"]]
    # Of the last reconciliation nothing is told before there is one.
    names = {re.sub(r"_(total|count|sum|bucket)$", "", name) for text in texts for name in NAME.findall(text)}
    return names - {"waule_reconcile_ok", "waule_reconcile_age_seconds"}


def test_each_alert_has_its_line_in_the_runbook() -> None:
    runbook = (PROJECT / "docs" / "operations.md").read_text()
    for rule in RULES:
        anchor = rule["annotations"]["runbook"].partition("#")[2]
        assert anchor == rule["alert"].lower()
        assert f'<a id="{anchor}"></a>{rule["alert"]} |' in runbook
        assert rule["labels"]["severity"] in ("page", "ticket") and rule["annotations"]["summary"]


def test_prometheus_takes_the_rules() -> None:
    done = subprocess.run(
        [tools.program("promtool", package="prometheus"), "check", "rules", MONITORING / "alerts.yml"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0 and f"{len(RULES)} rules found" in done.stdout, done.stdout + done.stderr


def test_the_dashboard_can_be_imported() -> None:
    dashboard: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text())
    assert dashboard["uid"] == "waule" and dashboard["templating"]["list"][0]["type"] == "datasource"
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(numbers) == len(set(numbers)) == len(dashboard["panels"])
    assert all(panel["targets"] and panel["gridPos"]["w"] > 0 for panel in dashboard["panels"])
