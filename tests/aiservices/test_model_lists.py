"""Models that a provider does not know: told by its list, and by a 404 that pauses the model and blames no key."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from aiservices.credentials import services as credentials
from aiservices.credentials.models import CredentialLease, GeminiKey
from aiservices.generations import providers
from aiservices.monitoring import probes
from billing.catalog import file as catalog_file
from billing.catalog.models import MODEL_ENDS_DAYS, AIModel, ProviderList
from billing.catalog.pricing.interfaces import DIRECT
from billing.catalog.provider_lists import LIST_DAYS
from billing.ledger.models import Hold
from billing.monitoring import alerts
from billing.monitoring.models import Alert
from billing.services.permissions import billing_day
from tests.callers import Api
from tests.catalog import image_model, video_model
from tests.gateway_client import bad_server as bad
from tests.gateway_client.bad_server import BadServer
from tests.upstreams.sora_service import API_KEY, SoraService

IMAGES = "/v1/images/generations"


@pytest.fixture
def upstream(settings: Any, any_database: None) -> Iterator[BadServer]:
    server = BadServer()
    settings.GEMINI_API_URL = settings.OPENAI_API_URL = server.url
    settings.OPENAI_API_KEY = "sk-planted-key"
    settings.UPSTREAM_TOTAL_SECONDS = 10
    credentials.add(provider="gemini", secret="AIzaPlanted-key-number-one-00000001", actor="test")
    yield server
    server.stop()


def error(http_status: int, **fields: Any) -> bad.Behaviour:
    return bad.answer({"error": fields}, http_status)


def checked(name: str) -> tuple[str, str]:
    (service,) = [service for service in probes.check([name]) if service.name == name]
    return service.status, service.message


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([{"models": [{"name": "models/here"}]}], ""),
        ([{"models": [{"name": "models/other"}]}], "It does not list these models that are for sale: here."),
        ([{"models": []}], ""),
        ([{"models": "many"}], ""),
        ([["here"]], ""),
        ([{"models": [{"name": "models/a"}], "nextPageToken": "x"}, {"models": [{"name": "models/here"}]}], ""),
        ([{"models": [{"name": "models/a"}], "nextPageToken": "x"}] * 2, ""),
    ],
)
def test_gemini_s_list_is_compared_with_the_catalog(upstream: BadServer, answers: list[Any], message: str) -> None:
    image_model("here", provider="gemini")
    image_model("off", provider="gemini", is_active=False)
    upstream.will(*map(bad.answer, answers))
    assert checked("gemini") == ("ok", message)


@pytest.mark.parametrize(
    ("listed", "retires_at", "message"),
    [
        ([{"id": "here"}], None, ""),
        ([{"id": "here", "shutdown_date": None}], None, ""),
        ([{"id": "here", "shutdown_date": "2027-06-30"}], None, "It ends here on 2027-06-30."),
        ([{"id": "here", "shutdown_date": "2027-06-30"}], "2027-06-30", ""),
        ([{"id": "here", "shutdown_date": "2027-06-29"}], "2027-06-30", "It ends here on 2027-06-29."),
        ([{"id": "other"}], None, "It does not list these models that are for sale: here."),
    ],
)
def test_openai_s_list_tells_what_ends(upstream: BadServer, listed: list[Any], retires_at: str | None, message: str) -> None:
    image_model("here", provider="openai", retires_at=retires_at)
    upstream.will(bad.answer({"object": "list", "data": listed}))
    assert checked("openai") == ("ok", message)


# --- the gateway's and the Sora service's ---------------------------------------------------------------------------


@pytest.fixture
def gateway_server(settings: Any, any_database: None) -> Iterator[BadServer]:
    server = BadServer()
    settings.AI_SERVICE_MODE, settings.WAULEAPI_URL = "gateway", server.url
    yield server
    server.stop()


HEALTHY = bad.answer({"status": "healthy"})
VARIANTS = {"variants": [{"modelId": f"sora2-landscape-{seconds}s", "duration": seconds} for seconds in (10, 15)]}


def listing(*names: str) -> bad.Behaviour:
    return bad.answer({"object": "list", "data": [{"id": name} for name in names]})


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (listing("here", "there"), ""),
        (listing("here"), "It does not list these models that are for sale: there."),
        (listing("here", "there", "new"), "It also lists these models, which the catalog does not have: new."),
        (listing("here", "there", "off"), ""),  # the catalog has it
        (bad.answer({"success": False, "error": "Not found"}, 404), ""),  # a gateway without a list says nothing
        (bad.answer(b"<html>", 200, {"Content-Type": "text/html"}), ""),
        (listing(), ""),
    ],
)
def test_the_gateway_s_list_is_compared_with_what_it_is_asked_for(gateway_server: BadServer, answer: Any, message: str) -> None:
    image_model("here", provider="doubao")
    image_model("there", provider="gemini")
    image_model("off", provider="kling", is_active=False)
    video_model("sora-2", provider="sora", gateway_endpoint="sora-chat", options=VARIANTS)  # the Sora service's matter
    gateway_server.will(HEALTHY, answer)
    assert checked("gateway") == ("ok", message)
    assert (gateway_server.seen[1].path, gateway_server.seen[1].headers["authorization"].split()[0]) == ("/v1/models", "Bearer")


def test_a_gateway_that_is_not_well_is_asked_for_no_list(gateway_server: BadServer) -> None:
    gateway_server.will(bad.answer({"status": "starting"}))
    assert checked("gateway")[0] == "degraded"
    assert [seen.path for seen in gateway_server.seen] == ["/health"]


@pytest.mark.parametrize("mode", ["direct", "gateway"])
def test_the_sora_service_s_list_is_compared_by_variants(sora: SoraService, settings: Any, any_database: None, mode: str) -> None:
    settings.AI_SERVICE_MODE, settings.SORA_API_KEY = mode, API_KEY
    video_model("sora-2", provider="sora", gateway_endpoint="sora-chat", options=VARIANTS)
    assert checked("sora") == ("ok", "")  # a service without a list
    sora.models = ["sora2-landscape-10s", "gpt-image"]
    message = "It does not list these models that are for sale: sora2-landscape-15s."
    assert checked("sora") == ("ok", f"{message} It also lists these models, which the catalog does not have: gpt-image.")
    settings.SORA_API_KEY = ""
    assert checked("sora") == ("ok", "")


# --- beside a catalog that is not published yet ---------------------------------------------------------------------


def warned(*models: dict[str, Any]) -> tuple[str, ...]:
    """What a dry run of these models says."""
    entries = [{"type": "IMAGE_GENERATION", "provider": "gemini"} | model for model in models]
    return catalog_file.apply(catalog_file.from_json({"models": entries}), actor="test", dry_run=True).warnings


def test_a_draft_is_compared_with_the_last_lists(upstream: BadServer) -> None:
    upstream.will(bad.answer({"object": "list", "data": [{"id": "here", "shutdown_date": "2027-06-30"}]}))
    checked("openai")
    openai = {"provider": "openai"}
    assert warned({"modelId": "here", "retiresAt": "2027-06-30"} | openai) == ()
    assert warned({"modelId": "here"} | openai) == ("here (openai): openai ends here on 2027-06-30.",)
    assert warned({"modelId": "gone"} | openai) == ("gone (openai): openai does not list gone.",)
    assert warned({"modelId": "gone", "isActive": False} | openai) == ()
    assert warned({"modelId": "gone"}) == ()  # nobody has asked Gemini
    assert not AIModel.objects.exists()
    ProviderList.objects.update(listed_at=timezone.now() - timedelta(days=LIST_DAYS, seconds=1))
    assert warned({"modelId": "gone"} | openai) == ()
    upstream.will(bad.answer({"object": "list", "data": []}))
    checked("openai")
    assert ProviderList.objects.get().names == {"here": "2027-06-30"}  # an empty list proves nothing


def test_a_draft_s_ends_and_replacements_are_looked_at(any_database: None) -> None:
    today = billing_day(timezone.now())
    past, soon, later = (today + timedelta(days=days) for days in (-1, MODEL_ENDS_DAYS, MODEL_ENDS_DAYS + 1))
    new = {"modelId": "new"}
    assert warned({"modelId": "old", "retiresAt": past.isoformat()}) == (
        f"old (gemini): It ended on {past}: requests for it are rejected.",
    )
    assert warned({"modelId": "old", "retiresAt": soon.isoformat()}) == (f"old (gemini): It ends on {soon}.",)
    assert warned({"modelId": "old", "retiresAt": later.isoformat()}) == ()
    served = {"modelId": "old", "retiresAt": past.isoformat(), "replacedBy": "new", "serveReplacement": True}
    assert warned(served, new) == ()
    assert warned(served, new | {"isActive": False})[0] == "old (gemini): Its replacement new is not for sale."
    assert warned(served)[0] == "old (gemini): Its replacement new is not for sale."


def test_a_draft_s_models_that_nobody_serves_are_found(any_database: None, settings: Any) -> None:
    text = "Only a gateway reaches doubao, and AI_SERVICE_MODE is not gateway: requests for it are rejected."
    assert warned({"modelId": "seedream", "provider": "doubao"}) == (f"seedream (doubao): {text}",)
    assert warned({"modelId": "chat", "provider": "doubao", "type": "TEXT_GENERATION"}) == ()  # never made here, only charged
    settings.AI_SERVICE_MODE = "gateway"
    assert warned({"modelId": "seedream", "provider": "doubao"}) == ()


def test_the_providers_that_need_no_gateway_are_those_that_there_are() -> None:
    assert {providers.route(name, is_test=False) for name in DIRECT} == DIRECT
    assert len({type(providers.get(name)) for name in DIRECT}) == len(DIRECT)


def test_the_commands_say_it(upstream: BadServer, tmp_path: Path, capsys: Any) -> None:
    image_model("gone", provider="openai", retires_at=None)
    upstream.will(listing("here"))
    call_command("check_services", "--json")
    assert "gone (openai): openai does not list gone." in json.loads(capsys.readouterr().out)["catalog"]
    file = tmp_path / "catalog.yaml"
    file.write_text(catalog_file.dump(catalog_file.export()))
    for command in (["rehearse_catalog", str(file)], ["apply_catalog", str(file), "--dry-run"]):
        call_command(*command, "--json")
        assert json.loads(capsys.readouterr().out)["warnings"] == ["gone (openai): openai does not list gone."]
        call_command(*command)
        told = capsys.readouterr()
        assert "openai does not list gone." in told.out + told.err


GONE = {
    "gemini": error(404, code=404, status="NOT_FOUND", message="models/here is not found for API version v1beta"),
    "openai": error(404, type="invalid_request_error", code="model_not_found", message="The model `here` does not exist"),
}


@pytest.mark.parametrize("provider", GONE)
def test_a_model_that_is_not_known_is_paused_and_no_key_is_blamed(upstream: BadServer, as_acme: Api, provider: str) -> None:
    model = image_model("here", provider=provider)
    upstream.will(GONE[provider])
    status, answer = as_acme.post(IMAGES, {"model": "here", "prompt": "x"})
    assert (status, answer["error"]["code"]) == (502, "upstream_refused")
    assert Hold.objects.get().state == "released"
    model.refresh_from_db()
    assert (model.is_active, model.disabled_by) == (False, "provider")
    assert model.disabled_until is not None and model.disabled_until <= timezone.now() + timedelta(hours=1)
    status, answer = as_acme.post(IMAGES, {"model": "here", "prompt": "x"})
    assert (status, answer["error"]["code"]) == (403, "model_disabled")
    assert len(upstream.seen) == 1
    assert GeminiKey.objects.get().state == "ready"
    assert set(CredentialLease.objects.values_list("outcome", flat=True)) <= {"ok"}
    assert alerts.check() == 1 and Alert.objects.get().details["model"] == "here"
    AIModel.objects.filter(pk=model.pk).update(disabled_until=timezone.now() - timedelta(seconds=1))
    alerts.check()
    assert not Alert.objects.filter(is_raised=True).exists()


@pytest.mark.parametrize(
    "answer",
    [
        error(404, code=404, status="NOT_FOUND", message="File files/abc not found"),
        error(400, code=400, status="INVALID_ARGUMENT", message="This model takes no such image"),
        bad.answer("gone", 404),
    ],
    ids=["a file", "a field", "a page"],
)
def test_what_is_not_about_the_model_pauses_nothing(upstream: BadServer, as_acme: Api, answer: Any) -> None:
    model = image_model("here", provider="gemini")
    upstream.will(answer)
    assert as_acme.post(IMAGES, {"model": "here", "prompt": "x"})[0] == 502
    model.refresh_from_db()
    assert model.is_active
