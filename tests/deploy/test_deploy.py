"""compose.yaml, the image, Kubernetes, nginx and systemd: what is shipped to run waule with, as far as tests can tell."""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import requests
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests import tools
from tests.live import LiveWaule, free_port, process_environment
from tests.settings import PROJECT
from tests.waiting import eventually

DEPLOY = PROJECT / "deploy"
BASE = DEPLOY / "kubernetes" / "base"
SETTINGS = re.findall(r"(?m)^#?\s?([A-Z][A-Z0-9_]+)=", (PROJECT / ".env.example").read_text())
OURS = ("waule", "tenants", "billing", "storage", "aiservices", "gateway_client", "templates", "locale")


# --- compose -------------------------------------------------------------------------------------------------------


def compose() -> Any:
    return yaml.safe_load((PROJECT / "compose.yaml").read_text())


@pytest.mark.parametrize("role", ["web", "internal", "worker", "migrate"])
def test_compose_passes_every_setting_on(role: str) -> None:
    environment = compose()["services"][role]["environment"]
    assert sorted(set(SETTINGS) - environment.keys() - {"STATIC_ROOT"}) == []  # the image has its own
    for name, value in environment.items():
        if name in SETTINGS and name not in ("MEDIA_ROOT", "PORT", "DATABASE_URL"):
            assert re.fullmatch(rf"\$\{{{name}:(-|\?.+)\}}", value), name
    done = subprocess.run([sys.executable, PROJECT / "scripts" / "compose-settings", "--check"])
    assert done.returncode == 0, "run scripts/compose-settings"


def test_compose_keeps_what_must_last_and_watches_each_role() -> None:
    services = compose()["services"]
    assert set(compose()["volumes"]) == {"books", "media", "backups"}
    for role in ("web", "internal", "worker"):
        assert "media:/var/lib/waule/media" in services[role]["volumes"]
        assert f"${{{role.upper()}_REPLICAS:-1}}" == services[role]["deploy"]["replicas"]
        assert services[role]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
        assert services[role]["read_only"] is True and services[role]["cap_drop"] == ["ALL"]
    for name in ("postgres", "worker", "proxy", "backup"):
        assert services[name]["healthcheck"]["test"]
    assert [name for name, service in services.items() if service.get("ports")] == ["proxy"]
    assert all(re.search(r":\d+\.\d+", services[name]["image"]) for name in ("postgres", "proxy", "backup"))


def test_the_backup_script_dumps_and_keeps_the_last_days(tmp_path: Path) -> None:
    assert subprocess.run(["bash", "-n", DEPLOY / "backup.sh"]).returncode == 0
    script = (DEPLOY / "backup.sh").read_text().replace("/backups", str(tmp_path)).replace("sleep $((", "exit; echo $((")
    (tmp_path / "pg_dump").write_text('#!/bin/sh\nfor last; do :; done\necho dump > "${last#--file=}"\n')
    (tmp_path / "pg_dump").chmod(0o755)
    old = tmp_path / "waule-20200101T000000Z.dump"
    old.touch()
    os.utime(old, (0, 0))
    done = subprocess.run(["bash", "-c", script], env={"PATH": f"{tmp_path}:/usr/bin:/bin", "BACKUP_DAYS": "3"}, timeout=30)
    assert done.returncode == 0
    (kept,) = tmp_path.glob("waule-*.dump")
    assert kept != old and kept.read_text() == "dump\n" and kept.stat().st_mode & 0o77 == 0


# --- the image -----------------------------------------------------------------------------------------------------


def test_the_image_has_what_runs_and_nothing_else() -> None:
    dockerfile = (PROJECT / "Dockerfile").read_text()
    assert re.search(r"(?m)^ARG PYTHON=python:\d+\.\d+\.\d+-slim-\w+$", dockerfile)
    copied = set(re.findall(r"(?m)^COPY (?!--from)(\S+) ", dockerfile))
    assert copied == {*OURS, "manage.py", "${REQUIREMENTS}"}
    assert re.search(r"(?m)^ARG REQUIREMENTS=requirements\.txt$", dockerfile)
    ignored = (PROJECT / ".dockerignore").read_text().splitlines()
    lists = {"requirements.txt", "requirements-tracing.txt"}
    assert {line[1:] for line in ignored if line.startswith("!")} == copied - {"${REQUIREMENTS}"} | lists and "*" in ignored
    packages = {path.name for path in PROJECT.iterdir() if (path / "__init__.py").exists()}
    assert packages - copied == {"tests", "benchmarks"} & packages
    assert re.search(r"(?m)^USER waule$", dockerfile) and "collectstatic" in dockerfile


def test_collected_static_files_are_compressed_hashed_and_kept_by_browsers(live_waule: LiveWaule, tmp_path: Path) -> None:
    live_waule.environ["STATIC_ROOT"] = str(tmp_path / "static")
    assert live_waule.manage("collectstatic", "--no-input", "-v0").returncode == 0
    page = live_waule.get("/admin/login/")
    addresses = set(re.findall(r'/static/[^"]+\.(?:css|js)', page.text))
    assert addresses
    for address in addresses:
        assert re.search(r"\.[0-9a-f]{12}\.(css|js)$", address)
        answer = live_waule.get(address, headers={"Accept-Encoding": "gzip"})
        assert answer.status_code == 200
        max_age = int(re.findall(r"max-age=(\d+)", answer.headers["Cache-Control"])[0])
        assert max_age >= 365 * 86_400 and "immutable" in answer.headers["Cache-Control"]
    assert answer.headers["Content-Encoding"] == "gzip"


# --- Kubernetes ----------------------------------------------------------------------------------------------------


def objects() -> list[dict[str, Any]]:
    """What `kubectl apply --kustomize` would send; without kubectl the files themselves."""
    if (kubectl := shutil.which("kubectl")) is not None:
        done = subprocess.run([kubectl, "kustomize", BASE], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return list(yaml.safe_load_all(done.stdout))
    names = yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]
    return [document for name in names for document in yaml.safe_load_all((BASE / name).read_text())]


def test_kubernetes_objects_are_valid_and_complete() -> None:
    found = objects()
    for each in found:
        kubernetes_validate.validate(each, "1.31", strict=True)
    names = {(each["kind"], each["metadata"]["name"]) for each in found}
    for role in ("web", "internal", "worker"):
        for kind in ("Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget"):
            assert (kind, f"waule-{role}") in names
    assert {("Service", "waule-web"), ("Service", "waule-internal"), ("Job", "waule-migrate"), ("Ingress", "waule")} <= names
    listed = set(yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"])
    assert listed == {path.name for path in BASE.glob("*.yaml")} - {"kustomization.yaml"}


def test_the_ingress_leads_nobody_to_what_is_for_the_inside() -> None:
    (ingress,) = [each for each in objects() if each["kind"] == "Ingress"]
    assert not [name for name in ingress["metadata"]["annotations"] if "snippet" in name]  # refused by default
    (rule,) = ingress["spec"]["rules"]
    led = {path["path"]: path["backend"]["service"]["name"] for path in rule["http"]["paths"]}
    assert led == {"/": "waule-web", "/internal": "waule-nowhere", "/metrics": "waule-nowhere"}
    (nowhere,) = [each for each in objects() if (each["kind"], each["metadata"]["name"]) == ("Service", "waule-nowhere")]
    assert "selector" not in nowhere["spec"]


def test_kubernetes_pods_are_as_safe_as_they_claim() -> None:
    settings, pods = set(SETTINGS), [each for each in objects() if each["kind"] in ("Deployment", "Job")]
    for each in pods:
        spec = each["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        assert spec["securityContext"]["runAsNonRoot"] is True and spec["terminationGracePeriodSeconds"] > 70
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert not re.search(r":latest$|^[^:]+$", container["image"]) or not shutil.which("kubectl")
        labels = each["spec"]["template"]["metadata"]["labels"]
        if each["kind"] == "Deployment":
            assert each["spec"]["selector"]["matchLabels"].items() <= labels.items()
            assert "livenessProbe" in container
    (config,) = [each for each in objects() if each["kind"] == "ConfigMap"]
    assert set(config["data"]) <= settings
    assert not [each for each in objects() if each["kind"] == "Secret"]


# --- nginx and systemd ---------------------------------------------------------------------------------------------


def certificate(directory: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "waule.example.com")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=9))
    (directory / "fullchain.pem").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    pem = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (directory / "privkey.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *pem))


@pytest.fixture
def doors(live_waule: LiveWaule, tmp_path: Path) -> Iterator[dict[str, int]]:
    """The sample in front of a live waule, on ports of its own: `plain`, `tls` and the gateway's `inner` one."""
    nginx = tools.program("nginx", package="nginx-light")
    certificate(tmp_path)
    live_waule.environ |= {
        "TRUST_PROXY_HEADERS": "true",
        "SECURE_SSL_REDIRECT": "true",
        "ALLOWED_HOSTS": "waule.example.com,127.0.0.1",
    }
    upstream = live_waule.url.rpartition(":")[2]
    ports = {name: free_port() for name in ("plain", "tls", "inner")}
    text = (DEPLOY / "nginx" / "waule.conf").read_text().replace("/etc/ssl/waule/", f"{tmp_path}/")
    text = re.sub(r"listen \[::\][^\n]*\n", "", text).replace("listen 80;", f"listen 127.0.0.1:{ports['plain']};")
    text = text.replace("listen 443 ssl", f"listen 127.0.0.1:{ports['tls']} ssl")
    text = text.replace("listen 127.0.0.1:8081", f"listen 127.0.0.1:{ports['inner']}")
    text = re.sub(r"server 127\.0\.0\.1:300\d ", f"server 127.0.0.1:{upstream} ", text)
    temporary = "".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    conf = tmp_path / "nginx.conf"
    conf.write_text(
        f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log;\nevents {{}}\n"
        f"http {{ access_log off; {temporary}\n{text}\n}}\n"
    )
    tested = subprocess.run([nginx, "-t", "-c", conf, "-e", tmp_path / "error.log"], capture_output=True, text=True)
    assert tested.returncode == 0 and "[warn]" not in tested.stderr, tested.stderr
    process = subprocess.Popen([nginx, "-c", conf, "-e", tmp_path / "error.log"])

    def is_listening() -> bool:
        assert process.poll() is None
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", ports["inner"])) == 0

    try:
        eventually(is_listening)
        yield ports
    finally:
        process.terminate()
        process.wait(10)


def test_behind_nginx(doors: dict[str, int], live_waule: LiveWaule) -> None:
    def get(door: str, path: str, **headers: str) -> requests.Response:
        scheme = "https" if door == "tls" else "http"
        sent = {"Host": "waule.example.com"} | headers
        with requests.Session() as session:
            session.trust_env = False
            return session.get(
                f"{scheme}://127.0.0.1:{doors[door]}{path}", headers=sent, verify=False, allow_redirects=False, timeout=30
            )

    assert get("tls", "/healthz").status_code == 200
    assert get("tls", "/admin/login/").status_code == 200  # https is believed: no redirect
    for path in ("/internal/health", "/internal", "/metrics"):
        assert get("tls", path).status_code == 404
    assert get("tls", "/v1/models").status_code == 401
    assert get("plain", "/admin/").headers["Location"] == "https://waule.example.com/admin/"
    assert get("plain", "/v1/models").status_code == 403
    secret = live_waule.environ.get("INTERNAL_SECRET") or process_environment()["INTERNAL_SECRET"]
    assert get("inner", "/internal/health", **{"X-Internal-Secret": secret}).status_code == 200
    assert get("inner", "/internal/health").status_code == 401
    assert get("inner", "/admin/").status_code == 404


@pytest.mark.parametrize("role", ["web", "internal", "worker"])
def test_systemd_units_start_commands_that_exist(role: str) -> None:
    from waule.core.processes import DRAIN_SECONDS

    unit = (DEPLOY / "systemd" / f"waule-{role}.service").read_text()
    (command,) = re.findall(r"(?m)^ExecStart=/opt/waule/\.venv/bin/python manage\.py (.+)$", unit)
    done = subprocess.run(
        [sys.executable, "manage.py", command.split()[0], "--help"], cwd=PROJECT, env=process_environment(), capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0
    assert all(option in done.stdout for option in re.findall(r"--\w+", command))
    (stop,) = re.findall(r"(?m)^TimeoutStopSec=(\d+)$", unit)
    assert int(stop) > DRAIN_SECONDS
    if (verify := shutil.which("systemd-analyze")) is not None:
        file = DEPLOY / "systemd" / f"waule-{role}.service"
        said = subprocess.run([verify, "verify", file], capture_output=True, text=True, timeout=60)
        assert "Unknown" not in said.stderr
