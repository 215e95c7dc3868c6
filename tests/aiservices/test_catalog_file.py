"""The catalog file: read strictly, applied as a whole, and written so that it reads back as it stands."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import CommandError, call_command
from hypothesis import example, given
from hypothesis import strategies as st

from billing.catalog import file as catalog_file
from billing.catalog.current import current_catalog
from billing.catalog.file.yaml_loader import load_yaml
from billing.catalog.models import AIModel, BillingPrice, BillingRule, LevelConfig, ModelPermission
from waule.core.errors import InvalidRequest, TooLarge

DEMO = Path(catalog_file.__file__).parents[1] / "demo_catalog.yaml"
CONTRACT = """
models:
  - modelId: gemini-2.5-flash-image        # provider's name; unique with provider and type
    name: Gemini 2.5 Flash Image
    provider: gemini
    type: IMAGE_GENERATION
    isActive: true
    options: {ratios: ["1:1", "16:9"], resolutions: [1K, 2K], maxReferenceImages: 2}
    gatewayEndpoint: images
rules:
  - name: flash image
    scope: {modelId: gemini-2.5-flash-image}
    billingType: PER_IMAGE
    baseCredits: 15
    isFree: false
    roundUp: null
    pricingUnit: null
    isActive: true
    prices:
      - {dimension: resolution, value: 2K, credits: 30}
      - {dimension: mode, value: fast, multiplier: "1.5"}
      - {dimension: character, credits: 2, unitSize: 100}
levels:
  - level: VIP
    maxConcurrency: 3
    permissions:
      - {scope: {modelId: gemini-2.5-flash-image}, isAllowed: true, dailyLimit: 10, isFreeForMember: true, freeDailyLimit: 3}
"""
MODEL = {"modelId": "flash", "provider": "gemini", "type": "IMAGE_GENERATION"}
RULE = {"name": "flash", "scope": {"modelId": "flash"}, "billingType": "PER_IMAGE", "baseCredits": 15}
PRICE = {"dimension": "resolution", "value": "2K", "credits": 30}


def parse(data: Any) -> catalog_file.Document:
    return catalog_file.parse(data.encode() if isinstance(data, str) else json.dumps(data).encode())


def apply(data: Any, **kwargs: Any) -> catalog_file.Result:
    return catalog_file.apply(parse(data), actor="test", **kwargs)


def command(name: str, *args: Any, **kwargs: Any) -> str:
    stdout = StringIO()
    call_command(name, *args, stdout=stdout, **kwargs)
    return stdout.getvalue()


def rows() -> tuple[int, ...]:
    return tuple(model.objects.count() for model in (AIModel, BillingRule, BillingPrice, LevelConfig, ModelPermission))


@pytest.fixture(autouse=True)
def empty_catalog(request: pytest.FixtureRequest) -> None:
    """These tests say what the catalog is, whatever a fresh database brings along."""
    if request.node.get_closest_marker("django_db"):
        request.getfixturevalue("db")
        LevelConfig.objects.all().delete()
        AIModel.objects.all().delete()


# --- reading -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "path", "why"),
    [
        ([], "file", "object"),
        ({"prices": []}, "prices", "no such field"),
        ({"models": {}}, "models", "list"),
        ({"models": ["flash"]}, "models[0]", "object"),
        ({"models": [MODEL | {"colour": "red"}]}, "models[0].colour", "no such field"),
        ({"models": [MODEL | {"modelId": 7}]}, "models[0].modelId", "text"),
        ({"models": [MODEL | {"modelId": True}]}, "models[0].modelId", "text"),
        ({"models": [MODEL | {"modelId": "  "}]}, "models[0].modelId", "empty"),
        ({"models": [MODEL | {"modelId": "x" * 65}]}, "models[0].modelId", "64"),
        ({"models": [{"modelId": "flash"}]}, "models[0].provider", "missing"),
        ({"models": [MODEL | {"type": "PICTURE"}]}, "models[0].type", "Choose one of"),
        ({"models": [MODEL | {"isActive": 1}]}, "models[0].isActive", "true or false"),
        ({"models": [MODEL | {"isActive": "true"}]}, "models[0].isActive", "true or false"),
        ({"models": [MODEL | {"options": []}]}, "models[0].options", "object"),
        ({"models": [MODEL | {"options": {"ratios": "1:1"}}]}, "models[0].options.ratios", "list of texts"),
        ({"models": [MODEL | {"options": {"resolutions": [1]}}]}, "models[0].options.resolutions", "list of texts"),
        ({"models": [MODEL | {"options": {"x": "y" * 17000}}]}, "models[0].options", "larger"),
        ({"models": [MODEL | {"gatewayEndpoint": "sora"}]}, "models[0].gatewayEndpoint", "Choose one of"),
        ({"models": [MODEL, MODEL | {"name": "again"}]}, "models[1]", "models[0]"),
        ({"rules": [RULE | {"scope": {}}]}, "rules[0].scope", "exactly one"),
        ({"rules": [RULE | {"scope": {"modelId": "a", "nodeType": "b"}}]}, "rules[0].scope", "exactly one"),
        ({"rules": [RULE | {"scope": {"nodeType": "a", "provider": "b"}}]}, "rules[0].scope", "modelId only"),
        ({"rules": [RULE | {"scope": {"model": "a"}}]}, "rules[0].scope.model", "no such field"),
        ({"rules": [RULE | {"scope": "flash"}]}, "rules[0].scope", "object"),
        ({"rules": [{**RULE, "billingType": None}]}, "rules[0].billingType", "missing"),
        ({"rules": [RULE | {"baseCredits": 1.5}]}, "rules[0].baseCredits", "whole number"),
        ({"rules": [RULE | {"baseCredits": True}]}, "rules[0].baseCredits", "whole number"),
        ({"rules": [RULE | {"baseCredits": "15"}]}, "rules[0].baseCredits", "whole number"),
        ({"rules": [RULE | {"baseCredits": -1}]}, "rules[0].baseCredits", "negative"),
        ({"rules": [RULE | {"baseCredits": 0}]}, "rules[0].baseCredits", "above 0"),
        ({"rules": [RULE | {"baseCredits": 2**53}]}, "rules[0].baseCredits", "larger"),
        ({"rules": [RULE | {"pricingUnit": "hour"}]}, "rules[0].pricingUnit", "Choose one of"),
        ({"rules": [RULE | {"roundUp": "yes"}]}, "rules[0].roundUp", "true or false"),
        ({"rules": [RULE | {"billingType": "DURATION_RESOLUTION"}]}, "rules[0].prices", "at least one"),
        ({"rules": [RULE | {"prices": [PRICE | {"credits": True}]}]}, "rules[0].prices[0].credits", "whole number"),
        ({"rules": [RULE | {"prices": [PRICE | {"credits": 0}]}]}, "rules[0].prices[0].credits", "above 0"),
        ({"rules": [RULE | {"prices": [PRICE | {"value": "16:9"}]}]}, "rules[0].prices[0].value", "no size"),
        ({"rules": [RULE | {"prices": [PRICE, PRICE | {"value": "2k"}]}]}, "rules[0].prices[1].value", "Another row"),
        ({"rules": [RULE | {"prices": [PRICE, dict(PRICE)]}]}, "rules[0].prices[1]", "rules[0].prices[0]"),
        ({"rules": [RULE | {"prices": [{"dimension": "colour"}]}]}, "rules[0].prices[0].dimension", "Choose one of"),
        (
            {"rules": [RULE | {"billingType": "PER_CHARACTER", "prices": [{"dimension": "character", "credits": 2}]}]},
            "rules[0].prices[0].unitSize",
            "characters",
        ),
        (
            {"rules": [RULE | {"prices": [{"dimension": "mode", "value": "fast", "multiplier": "1,5"}]}]},
            "rules[0].prices[0].multiplier",
            "decimal",
        ),
        (
            {"rules": [RULE | {"prices": [{"dimension": "mode", "value": "fast", "multiplier": True}]}]},
            "rules[0].prices[0].multiplier",
            "decimal",
        ),
        (
            {"rules": [RULE | {"prices": [{"dimension": "mode", "value": "fast", "multiplier": "-1.5"}]}]},
            "rules[0].prices[0].multiplier",
            "above 0",
        ),
        ({"levels": [{"level": "GOLD"}]}, "levels[0].level", "Choose one of"),
        ({"levels": [{"level": "VIP"}, {"level": "VIP"}]}, "levels[1]", "levels[0]"),
        ({"levels": [{"level": "VIP", "maxConcurrency": -2}]}, "levels[0].maxConcurrency", "-1"),
        ({"levels": [{"level": "VIP", "maxConcurrency": 2**31}]}, "levels[0].maxConcurrency", "-1"),
        (
            {"levels": [{"level": "VIP", "permissions": [{"scope": {"nodeType": "a"}, "dailyLimit": "3"}]}]},
            "levels[0].permissions[0].dailyLimit",
            "whole number",
        ),
    ],
)
def test_what_is_not_meant_is_refused_with_its_path(data: Any, path: str, why: str) -> None:
    for text in (json.dumps(data), yaml.safe_dump(data)):
        with pytest.raises(InvalidRequest) as caught:
            parse(text)
        assert list(caught.value.details["fields"]) == [path]
        assert why in str(caught.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("# nothing\n", "empty"),
        ("models: [", "not valid YAML"),
        ("{models: [}", "not valid YAML"),
        ("models: []\nmodels: []\n", "Line 2: models is there twice"),
        ('{"models": [], "models": []}', "twice"),
        ("models: &all []\nrules: *all\n", "aliases"),
        ("a: &a [x]\nb: &b [*a, *a]\n", "aliases"),
        ("models: !!python/object/apply:os.system [true]\n", "not valid YAML"),
        ("? [1]\n: 2\n", "a key must be text"),
        ("1: 2\n", "a key must be text"),
        ("models: []\n---\nrules: []\n", "not valid YAML"),
        ("x: " + "[" * 100 + "]" * 100, "nested too deeply"),
        ("models: " + "[" * 5000, "nested too deeply"),
        ("models: \x00", "not valid YAML"),
        ("models: 123456789012345678901234567890", "too large"),
    ],
)
def test_yaml_that_means_more_than_it_says_is_refused(text: str, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        parse(text)


def test_a_json_file_is_read_as_json() -> None:
    with pytest.raises(InvalidRequest, match="not valid JSON"):
        catalog_file.parse(b"models: []", name="catalog.JSON")
    assert catalog_file.parse(b'\xef\xbb\xbf{"models": []}', name="catalog.json") == catalog_file.Document()


def test_bytes_that_are_no_text_and_too_many_of_them_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="UTF-8"):
        catalog_file.parse(b"\xff\xfe")
    with pytest.raises(TooLarge):
        catalog_file.parse(b"#" * (catalog_file.MAX_FILE_BYTES + 1))


def test_only_true_false_and_null_are_words() -> None:
    assert load_yaml("[16:9, on, no, 2024-01-01, 1_000, 0x10, 010, 1e3, 2K, ~, 'true', TRUE, -5, .5, <<]") == [
        "16:9", "on", "no", "2024-01-01", "1_000", "0x10", 10, 1000.0, "2K", None, "true", True, -5, 0.5, "<<",
    ]  # fmt: skip


labels = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40).map(str.strip).filter(bool)


@given(name=labels, model_id=labels, node_type=labels, option=labels, as_json=st.booleans())
@example(name="1e3", model_id="08", node_type="16:9", option="null", as_json=False)
@example(name="# x: y", model_id="- a", node_type="yes", option="*a", as_json=False)
@example(name="a\x85b", model_id="a\u2028b", node_type="a\u2029b", option="a\x85b", as_json=False)
def test_what_is_written_reads_back(name: str, model_id: str, node_type: str, option: str, as_json: bool) -> None:
    data = {
        "models": [
            MODEL | {"modelId": model_id, "name": name, "options": {f"x{option}": [option, 1, 1.5, None, True, {"a": []}]}}
        ],
        "rules": [RULE | {"name": name, "scope": {"nodeType": node_type}, "prices": [PRICE]}],
        "levels": [{"level": "VIP", "permissions": [{"scope": {"moduleType": node_type}, "dailyLimit": 3}]}],
    }
    document = parse(data)
    assert parse(catalog_file.dump(document, as_json=as_json)) == document


# --- applying ------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_contracts_example_applies() -> None:
    assert apply(CONTRACT).count("added") == 3
    model = AIModel.objects.get()
    assert (model.model_id, model.gateway_endpoint, model.options["ratios"]) == (
        "gemini-2.5-flash-image",
        "images",
        ["1:1", "16:9"],
    )
    rule = current_catalog().rules[f"model:{model.pk}"]
    assert (rule.base_credits, len(rule.prices), rule.version) == (15, 3, 1)
    permission = current_catalog().permissions["VIP", f"model:{model.pk}"]
    assert (permission.daily_limit, permission.is_free_for_member, permission.free_daily_limit) == (10, True, 3)
    assert current_catalog().max_concurrency["VIP"] == 3


@pytest.mark.django_db
def test_applying_twice_changes_nothing_and_says_so() -> None:
    apply(CONTRACT)
    version, before = current_catalog().version, rows()
    assert apply(CONTRACT).changes == ()
    assert (current_catalog().version, rows()) == (version, before)
    assert BillingRule.objects.get().version == 1


@pytest.mark.django_db
def test_what_changes_is_told_field_by_field() -> None:
    apply(CONTRACT)
    changed = (
        CONTRACT.replace("baseCredits: 15", "baseCredits: 16")
        .replace("credits: 30", "credits: 31")
        .replace("dailyLimit: 10", "dailyLimit: 11")
        .replace("name: Gemini 2.5", "name: The Gemini 2.5")
    )
    result = apply(changed)
    assert [line for change in result.changes for line in change.lines()] == [
        "~ model gemini-2.5-flash-image (gemini, IMAGE_GENERATION)",
        "    name: Gemini 2.5 Flash Image → The Gemini 2.5 Flash Image",
        "~ rule flash image (gemini-2.5-flash-image)",
        "    baseCredits: 15 → 16",
        "    prices[resolution 2K] credits: 30 → 31",
        "~ level VIP",
        "    permissions[gemini-2.5-flash-image] dailyLimit: 10 → 11",
    ]
    rule = BillingRule.objects.get()
    assert (rule.base_credits, rule.version, rule.prices.count()) == (16, 2, 3)
    assert apply(changed).changes == ()


@pytest.mark.django_db
def test_prices_and_permissions_are_replaced_as_a_whole() -> None:
    apply(CONTRACT)
    data = parse(CONTRACT).as_json()
    data["rules"][0]["prices"] = [PRICE]
    data["levels"][0]["permissions"] = []
    apply(data)
    assert list(BillingPrice.objects.values_list("value", flat=True)) == ["2K"]
    assert not ModelPermission.objects.exists()


@pytest.mark.django_db
def test_the_order_of_rows_is_no_change() -> None:
    apply(CONTRACT)
    data = parse(CONTRACT).as_json()
    data["rules"][0]["prices"].reverse()
    assert apply(data).changes == ()


@pytest.mark.django_db
def test_what_is_not_listed_stays_or_is_switched_off_with_prune() -> None:
    apply(CONTRACT)
    other = {"models": [MODEL], "rules": [RULE]}
    apply(other)
    assert AIModel.objects.filter(is_active=True).count() == BillingRule.objects.filter(is_active=True).count() == 2
    result = apply(other, prune=True)
    assert [(change.what, change.kind, change.name) for change in result.changes] == [
        ("switched off", "model", "gemini-2.5-flash-image (gemini, IMAGE_GENERATION)"),
        ("switched off", "rule", "flash image (gemini-2.5-flash-image)"),
    ]
    model = AIModel.objects.get(provider="gemini", model_id="gemini-2.5-flash-image")
    assert (model.is_active, model.disabled_by) == (False, "test")
    assert BillingRule.objects.get(name="flash image").is_active is False
    assert LevelConfig.objects.count() == 1
    assert apply(other, prune=True).changes == ()
    assert apply(CONTRACT).count("changed") == 2
    model.refresh_from_db()
    assert (model.is_active, model.disabled_reason) == (True, "")


@pytest.mark.django_db
def test_a_dry_run_writes_nothing() -> None:
    apply({"models": [MODEL]})
    version, before = current_catalog().version, rows()
    assert apply(CONTRACT, prune=True, dry_run=True).count("added") == 3
    assert (current_catalog().version, rows()) == (version, before)
    assert AIModel.objects.get().is_active


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"models": [MODEL], "rules": [RULE, RULE | {"scope": {"modelId": "gone"}}]}, "rules[1].scope.modelId"),
        ({"models": [MODEL], "rules": [RULE, RULE | {"scope": {"modelId": "flash", "provider": "gemini"}}]}, "rules[1].scope"),
        (
            {
                "models": [MODEL],
                "rules": [RULE | {"scope": {"nodeType": "Image"}}, RULE | {"scope": {"nodeType": " image "}}],
            },
            "rules[1].scope",
        ),
        (
            {"models": [MODEL], "levels": [{"level": "VIP", "permissions": [{"scope": {"modelId": "flash"}}] * 2}]},
            "levels[0].permissions[1].scope",
        ),
        ({"models": [MODEL, MODEL | {"type": "VIDEO_GENERATION"}], "rules": [RULE]}, "rules[0].scope"),
    ],
)
def test_all_or_nothing(data: Any, path: str) -> None:
    version = current_catalog().version
    with pytest.raises(InvalidRequest) as caught:
        apply(data)
    assert list(caught.value.details["fields"]) == [path]
    assert rows() == (0, 0, 0, 0, 0)
    assert current_catalog().version == version


@pytest.mark.django_db
def test_two_models_of_one_name_are_told_apart_by_provider_or_type() -> None:
    video = MODEL | {"type": "VIDEO_GENERATION"}
    scopes = [{"modelId": "flash", "type": "VIDEO_GENERATION"}, {"modelId": "flash", "type": "IMAGE_GENERATION"}]
    apply({"models": [MODEL, video], "rules": [RULE | {"scope": scope} for scope in scopes]})
    assert {rule.model.type for rule in BillingRule.objects.all()} == {"VIDEO_GENERATION", "IMAGE_GENERATION"}
    assert apply(catalog_file.dump(catalog_file.export())).changes == ()
    # A file that lists one of them means that one.
    assert apply({"models": [video], "rules": [RULE | {"baseCredits": 99}]}).count("changed") == 1
    assert BillingRule.objects.get(base_credits=99).model.type == "VIDEO_GENERATION"


@pytest.mark.django_db
@pytest.mark.parametrize("as_json", [True, False])
def test_an_export_applies_as_nothing_and_rebuilds_an_empty_catalog(as_json: bool) -> None:
    apply(DEMO.read_text())
    text = catalog_file.dump(catalog_file.export(), as_json=as_json)
    assert apply(text, prune=True).changes == ()
    LevelConfig.objects.all().delete()
    AIModel.objects.all().delete()
    apply(text)
    assert catalog_file.dump(catalog_file.export(), as_json=as_json) == text


# --- commands ------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_commands_tell_what_they_do(tmp_path: Path) -> None:
    file = tmp_path / "catalog.yaml"
    file.write_text(CONTRACT)
    dry = command("apply_catalog", str(file), "--dry-run")
    assert "+ rule flash image (gemini-2.5-flash-image)\n" in dry
    assert dry.endswith("3 added, 0 changed, 0 switched off. Dry run: nothing was written.\n")
    answer = json.loads(command("apply_catalog", str(file), "--json"))
    assert (answer["added"], answer["dryRun"], len(answer["changes"])) == (3, False, 3)
    assert command("apply_catalog", str(file)) == "Nothing changes: the catalog is what the file says.\n"
    for name in ("out.yaml", "out.json"):
        assert command("export_catalog", str(tmp_path / name)) == ""
        assert json.loads(command("apply_catalog", str(tmp_path / name), "--prune", "--json"))["changes"] == []
    assert json.loads((tmp_path / "out.json").read_text())["rules"][0]["baseCredits"] == 15
    assert command("export_catalog") == (tmp_path / "out.yaml").read_text()


@pytest.mark.django_db
def test_a_failure_is_one_clear_line(tmp_path: Path) -> None:
    file = tmp_path / "catalog.yaml"
    file.write_text(CONTRACT.replace("credits: 30", "credits: -30"))
    with pytest.raises(CommandError, match=r"^\S+catalog.yaml: rules\[0\].prices\[0\].credits: A price cannot be negative.$"):
        command("apply_catalog", str(file))
    with pytest.raises(CommandError, match="No such file"):
        command("apply_catalog", str(tmp_path / "gone.yaml"))
    with pytest.raises(CommandError, match="Is a directory"):
        command("apply_catalog", str(tmp_path))
    with pytest.raises(CommandError, match="No such file"):
        command("export_catalog", str(tmp_path / "gone" / "out.yaml"))


@pytest.mark.django_db
def test_the_demonstration_catalog_prices_every_model() -> None:
    apply(DEMO.read_text())
    catalog = current_catalog()
    for model in catalog.models.values():
        assert catalog.rule_for(model=model, node_type="", module_type="") is not None
    assert {"sandbox-image", "sandbox-video"} <= set(catalog.by_name)
    assert set(catalog.max_concurrency) == {"USER", "VIP", "SVIP", "INTERNAL", "ADMIN"}


# --- sizes that cannot be made -------------------------------------------------------------------------------------


def sized(provider: str, options: dict[str, Any], *tiers: str, type: str = "IMAGE_GENERATION", **rule: Any) -> dict[str, Any]:
    model = {"modelId": "m", "provider": provider, "type": type, "options": options}
    prices = [{"dimension": "resolution", "value": tier, "credits": 5} for tier in tiers]
    billing = "DURATION_RESOLUTION" if type == "VIDEO_GENERATION" else "PER_IMAGE"
    return {"models": [model], "rules": [{"scope": {"modelId": "m"}, "billingType": billing, "prices": prices} | rule]}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (sized("gemini", {}, "1K", "8K"), "models[0].options.resolutions"),
        (sized("gemini", {}, "720p", "8K", type="VIDEO_GENERATION"), "“8K” is sold, but the provider has only 720p, 1080p, 4k."),
        (sized("sora", {"variants": "many"}, "720p", type="VIDEO_GENERATION"), "models[0].options.variants"),
        (sized("sora", {"variants": [{"ratio": "16:9"}]}, "720p", type="VIDEO_GENERATION"), "Write a list of objects"),
        (sized("sora", {"variants": [{"modelId": "a", "size": 1}]}, "720p", type="VIDEO_GENERATION"), "Write a list of objects"),
    ],
)
def test_what_can_never_be_sold_is_refused(db: None, data: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        apply(data)
    assert why in str(caught.value) + str(caught.value.details["fields"])
    assert not AIModel.objects.exists()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (sized("gemini", {}, "1K", "2048x1024"), "“2048x1024” is sold, but the provider has only 512, 1K, 2K, 4K."),
        (sized("gemini", {}, "4K", "4096x4096"), "“4096x4096” and “4K” are both “4K” for the provider."),
        (sized("openai", {"resolutions": ["1K", "8K"]}, "1K", "4K"), "No price covers “8K”."),
        (sized("openai", {"resolutions": ["auto"]}, "1K"), "“auto” names no size."),
        (sized("openai", {"defaultResolution": "16:9"}, "1K"), "defaultResolution: “16:9” names no size."),
        (sized("gemini", {"ratios": ["2:1"]}, "1K"), "The provider does not make 2:1."),
        (sized("openai", {"ratios": ["wide"]}, "1K"), "“wide” is not a ratio such as 16:9."),
        (sized("openai", {"ratios": ["1:1"], "defaultRatio": "16:9"}, "1K"), "“16:9” is not among the ratios."),
        (sized("sora", {}, "720p", "1080p", type="VIDEO_GENERATION"), "give variants"),
        (
            sized("sora", {"variants": [{"modelId": "a", "resolution": "720p"}]}, "720p", "1080p", type="VIDEO_GENERATION"),
            "“1080p” is sold, but no variant makes it.",
        ),
        (
            sized("sora", {"variants": [{"modelId": "a", "duration": 10}]}, "720p_10", "720p_15", type="VIDEO_GENERATION"),
            "“720p 15 s” is sold, but no variant makes it.",
        ),
    ],
)
def test_what_some_customers_would_be_refused_is_told(db: None, data: dict[str, Any], problem: str) -> None:
    found = apply(data).problems
    assert any(problem in each for each in found), found


def test_the_command_tells_the_problems(db: None, tmp_path: Path) -> None:
    path = tmp_path / "catalog.json"
    path.write_text(json.dumps(sized("gemini", {"ratios": ["2:1"]}, "1K")))
    out, err = StringIO(), StringIO()
    call_command("apply_catalog", str(path), stdout=out, stderr=err)
    assert err.getvalue() == "Problem: m (gemini): ratios: The provider does not make 2:1.\n"
    call_command("apply_catalog", str(path), "--json", stdout=(out := StringIO()))
    assert json.loads(out.getvalue())["problems"] == ["m (gemini): ratios: The provider does not make 2:1."]


def test_the_demonstration_catalog_can_be_applied_in_either_mode(db: None, settings: Any) -> None:
    """What only the other mode can make is told: nobody can order it in this one."""
    settings.AI_SERVICE_MODE = "gateway"
    problems = catalog_file.apply(catalog_file.parse(DEMO.read_bytes()), actor="test").problems
    told = "resolutions: “4K” is sold, but the provider has only 540p, 720p, 1080p."
    assert problems == tuple(f"veo-3.1-{kind}generate-preview (gemini): {told}" for kind in ("fast-", ""))


def test_the_gateway_s_words_count_in_gateway_mode(db: None, settings: Any) -> None:
    settings.AI_SERVICE_MODE = "gateway"
    with pytest.raises(InvalidRequest):
        apply(sized("vidu", {}, "720p", "4K", type="VIDEO_GENERATION"))
    assert apply(sized("doubao", {}, "1K", "1536x1024")).problems
    assert not apply(sized("doubao", {"gatewaySize": "pixels"}, "1K", "1536x1024")).problems
