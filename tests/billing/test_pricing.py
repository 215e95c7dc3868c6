"""What a use costs: the worked cases, and what must be true of every price."""

import contextlib
import json
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.utils import translation
from hypothesis import given
from hypothesis import strategies as st

from billing.catalog.pricing import (
    MAX_CREDITS,
    Inputs,
    PriceRow,
    Quote,
    Rule,
    default_price,
    explain,
    inputs_from_json,
    inputs_to_json,
    price,
    problems,
    read_size,
    rule_from_json,
    rule_to_json,
    steps_from_json,
    steps_to_json,
)
from billing.errors import DurationOutOfRange, MissingDimension, PriceNotConfigured, UnknownDimension
from waule.core.errors import InvalidRequest, WauleError

CASES = json.loads((Path(__file__).parent / "pricing_cases.json").read_text())

IMAGES = Rule(
    billing_type="PER_IMAGE",
    base_credits=15,
    prices=(PriceRow("resolution", "1024x1024", 20), PriceRow("resolution", "2K", 30), PriceRow("resolution", "4K", 60)),
)
VIDEOS = Rule(
    billing_type="DURATION_RESOLUTION",
    prices=(PriceRow("resolution", "540p", 2), PriceRow("resolution", "720p", 4), PriceRow("resolution", "1080p", 8)),
)
TIERS = Rule(
    billing_type="DURATION_RESOLUTION",
    prices=(
        PriceRow("resolution", "720p_5", 30),
        PriceRow("resolution", "720p_10", 50),
        PriceRow("resolution", "1080p", 9),
    ),
)
SPEECH = Rule(billing_type="PER_CHARACTER", prices=(PriceRow("character", credits=2, unit_size=100),))
MODES = Rule(billing_type="DURATION_MODE", prices=(PriceRow("mode", "std", 5), PriceRow("mode", "pro", 9)))
OPERATIONS = Rule(
    billing_type="OPERATION_MODE",
    prices=(
        PriceRow("operationType", "Imagine", 8),
        PriceRow("operationType", "Upscale", 4),
        PriceRow("mode", "Fast", multiplier=Decimal("1.5")),
        PriceRow("mode", "Relax", multiplier=Decimal("0.333333")),
    ),
)
SECONDS = Rule(billing_type="PER_DURATION", base_credits=7)
REQUESTS = Rule(billing_type="PER_REQUEST", base_credits=3)
EVERY_TYPE = (REQUESTS, IMAGES, SECONDS, VIDEOS, TIERS, SPEECH, MODES, OPERATIONS)


def rule_of_case(data: dict[str, Any]) -> Rule:
    return Rule(
        billing_type=data["billingType"],
        base_credits=data["baseCredits"],
        is_free=data.get("isFree", False),
        round_up=data.get("roundUp"),
        pricing_unit=data.get("pricingUnit", ""),
        prices=tuple(
            PriceRow(
                dimension=row["dimension"],
                value=row.get("value", ""),
                credits=row.get("credits"),
                multiplier=Decimal(row["multiplier"]) if "multiplier" in row else None,
                unit_size=row.get("unitSize"),
            )
            for row in data["prices"]
        ),
    )


def inputs_of_case(data: dict[str, Any]) -> Inputs:
    return Inputs(
        quantity=data.get("quantity", 1),
        duration=Decimal(repr(data["duration"])) if "duration" in data else None,
        resolution=read_size(data.get("resolution", "")),
        mode=data.get("mode", ""),
        operation_type=data.get("operationType", ""),
        character_count=data.get("characterCount"),
    )


@pytest.mark.parametrize("case", CASES, ids=[str(case["case"]) for case in CASES])
def test_worked_case(case: dict[str, Any]) -> None:
    rule, expected = rule_of_case(case["rule"]), case["expect"]
    if expected.get("code") == "refused_at_save":
        assert problems(rule)
        return
    assert problems(rule) == []
    try:
        answer: dict[str, Any] = {"credits": price(rule, inputs_of_case(case["use"])).credits}
    except WauleError as error:
        answer = {"code": error.code}
    assert answer == expected


def seconds() -> st.SearchStrategy[Decimal]:
    return st.decimals(min_value="0.001", max_value=86400, places=3)


uses = st.builds(
    Inputs,
    quantity=st.integers(1, 1000),
    duration=st.none() | seconds(),
    resolution=st.sampled_from(
        ["", "720p", "HD", "1080p", "2k", "4K", "1x1", "640*480", "900P", "16:9", "auto", "8K", "1:1"]
    ).map(read_size),
    mode=st.sampled_from(["", "std", "standard", "PRO", "fast", "relax", "ultra"]),
    operation_type=st.sampled_from(["", "imagine", "Upscale", "blend"]),
    character_count=st.none() | st.integers(1, 10_000_000),
)


def again(quote: Quote) -> Decimal:
    """The price that the steps tell, before it is rounded."""
    amount = Decimal(quote.steps[0].params["credits"])
    for step in quote.steps[1:]:
        amount *= Decimal(step.params.get("factor", 1))
    return amount


@given(rule=st.sampled_from(EVERY_TYPE), use=uses)
def test_a_use_is_never_given_away_and_the_steps_lead_to_the_price(rule: Rule, use: Inputs) -> None:
    try:
        quote = price(rule, use)
    except (MissingDimension, UnknownDimension, DurationOutOfRange):
        return
    assert quote.credits >= 1
    assert not quote.is_free
    exact = again(quote)
    assert quote.credits == 1 if exact < Decimal("1.5") else abs(quote.credits - exact) <= Decimal("0.5")
    assert quote.steps[-1].code == "total"
    assert quote.steps[-1].params == {"credits": quote.credits}


@given(rule=st.sampled_from(EVERY_TYPE), use=uses)
def test_a_free_rule_charges_nothing_but_still_wants_what_it_prices_by(rule: Rule, use: Inputs) -> None:
    free = rule_from_json({**rule_to_json(rule), "isFree": True})
    try:
        paid = price(rule, use).credits
    except (MissingDimension, UnknownDimension, DurationOutOfRange) as rejection:
        with pytest.raises(type(rejection)):
            price(free, use)
        return
    assert paid > 0
    quote = price(free, use)
    assert (quote.credits, quote.is_free) == (0, True)


@given(rule=st.sampled_from(EVERY_TYPE), use=uses, less=seconds(), more=seconds())
def test_longer_never_costs_less(rule: Rule, use: Inputs, less: Decimal, more: Decimal) -> None:
    less, more = sorted((less, more))
    short, long = (Inputs(**{**use.__dict__, "duration": duration}) for duration in (less, more))
    try:
        assert price(rule, short).credits <= price(rule, long).credits
    except (MissingDimension, UnknownDimension, DurationOutOfRange):
        return


@given(rule=st.sampled_from(EVERY_TYPE), use=uses, less=st.integers(1, 1000), more=st.integers(1, 1000))
def test_more_pieces_never_cost_less(rule: Rule, use: Inputs, less: int, more: int) -> None:
    less, more = sorted((less, more))
    few, many = (Inputs(**{**use.__dict__, "quantity": number, "character_count": number * 7}) for number in (less, more))
    try:
        assert price(rule, few).credits <= price(rule, many).credits
    except (MissingDimension, UnknownDimension, DurationOutOfRange):
        return


@given(width=st.integers(1, 3840), height=st.integers(1, 2160), more=st.integers(0, 100))
def test_a_larger_image_never_costs_less(width: int, height: int, more: int) -> None:
    small = price(IMAGES, Inputs(resolution=read_size(f"{width}x{height}"))).credits
    try:
        large = price(IMAGES, Inputs(resolution=read_size(f"{width + more}x{height}"))).credits
    except UnknownDimension:
        assert (width + more) * height > 3840 * 2160
    else:
        assert small <= large


@given(rule=st.sampled_from(EVERY_TYPE), use=uses, pad=st.sampled_from(["", " ", "\t", "  "]), upper=st.booleans())
def test_case_and_outer_spaces_do_not_matter(rule: Rule, use: Inputs, pad: str, upper: bool) -> None:
    def respell(text: str) -> str:
        return pad + (text.upper() if upper else text.lower()) + pad

    other = Inputs(
        **{
            **use.__dict__,
            "resolution": read_size(respell(use.resolution.text)),
            "mode": respell(use.mode),
            "operation_type": respell(use.operation_type),
        }
    )
    try:
        credits = price(rule, use).credits
    except WauleError as rejection:
        with pytest.raises(type(rejection)):
            price(rule, other)
    else:
        assert price(rule, other).credits == credits


@given(rule=st.sampled_from(EVERY_TYPE), use=uses)
def test_a_snapshot_prices_as_the_rule_did(rule: Rule, use: Inputs) -> None:
    rule_again = rule_from_json(json.loads(json.dumps(rule_to_json(rule))))
    use_again = inputs_from_json(json.loads(json.dumps(inputs_to_json(use))) | {"nodeType": "other"})
    assert (rule_again, use_again) == (rule, use)
    try:
        quote = price(rule, use)
    except WauleError:
        return
    assert price(rule_again, use_again) == quote
    assert steps_from_json(json.loads(json.dumps(steps_to_json(quote.steps)))) == quote.steps


@given(
    rule=st.sampled_from(EVERY_TYPE),
    use=st.builds(
        Inputs,
        resolution=st.text(max_size=64).map(read_size),
        mode=st.text(max_size=64),
        operation_type=st.text(max_size=64),
        duration=st.none() | seconds(),
        character_count=st.none() | st.integers(1, 10),
    ),
)
def test_no_text_breaks_it(rule: Rule, use: Inputs) -> None:
    with contextlib.suppress(MissingDimension, UnknownDimension, DurationOutOfRange):
        assert price(rule, use).credits >= 1


@pytest.mark.parametrize(
    ("given_text", "credits"),
    [
        ("1K", 20), ("1024×1024", 20), ("1024 x 1024", 20), ("1X1", 20), ("UHD", 60), ("fhd", 30), ("480p", 20),
        ("3840X2160", 60), ("2048x2049", 60), ("3840x2161", None), ("0x1024", None), ("0p", None), ("1024x", None),
        ("1024x1024x3", None), ("-1024x1024", None), ("１０２４x１０２４", None), ("3K", None), ("1.5K", None),
        ("99999x99999", None), ("9999999p", None),
    ],
)  # fmt: skip
def test_sizes_of_images(given_text: str, credits: int | None) -> None:
    if credits is None:
        with pytest.raises(UnknownDimension) as caught:
            price(IMAGES, Inputs(resolution=read_size(given_text)))
        assert caught.value.details == {"dimension": "resolution", "value": given_text}
    else:
        assert price(IMAGES, Inputs(resolution=read_size(given_text))).credits == credits


@pytest.mark.parametrize(
    ("given_text", "credits"),
    [
        ("720x1280", 20), ("1280*720", 20), ("HD", 20), ("360p", 10), ("1x1", 10), ("541p", 20), ("FHD", 40), ("721p", 40),
        ("2K", None), ("1440p", None), ("UHD", None), ("8K", None), ("16:9", None), ("auto", None), ("720p_5", None),
    ],
)  # fmt: skip
def test_resolutions_of_videos(given_text: str, credits: int | None) -> None:
    use = Inputs(resolution=read_size(given_text), duration=Decimal(5))
    if credits is None:
        with pytest.raises(UnknownDimension):
            price(VIDEOS, use)
    else:
        assert price(VIDEOS, use).credits == credits


def test_tiers_and_a_price_per_second_may_stand_side_by_side() -> None:
    assert price(TIERS, Inputs(resolution=read_size("480p"), duration=Decimal("0.2"))).credits == 30
    assert price(TIERS, Inputs(resolution=read_size("720p"), duration=Decimal(10))).credits == 50
    assert price(TIERS, Inputs(resolution=read_size("900p"), duration=Decimal("10.5"))).credits == 99
    with pytest.raises(DurationOutOfRange) as caught:
        price(TIERS, Inputs(resolution=read_size("720p"), duration=Decimal("10.001")))
    assert caught.value.details["longest"] == "10"


def test_an_image_rule_without_base_wants_the_resolution() -> None:
    rule = Rule(billing_type="PER_IMAGE", prices=(PriceRow("resolution", "1K", 20),))
    assert problems(rule) == []
    for blank in ("", "   "):
        with pytest.raises(MissingDimension) as caught:
            price(rule, Inputs(resolution=read_size(blank)))
        assert caught.value.details == {"dimension": "resolution"}


def test_of_two_sizes_with_as_many_pixels_each_has_its_own_price() -> None:
    rule = Rule(
        billing_type="PER_IMAGE", prices=(PriceRow("resolution", "1536x1024", 10), PriceRow("resolution", "1024x1536", 12))
    )
    assert problems(rule) == []
    assert price(rule, Inputs(resolution=read_size("1536x1024"))).credits == 10
    assert price(rule, Inputs(resolution=read_size("1024x1536"))).credits == 12
    assert price(rule, Inputs(resolution=read_size("1024x1024"))).credits == 12


@pytest.mark.parametrize(
    "use",
    [
        Inputs(quantity=0),
        Inputs(duration=Decimal(0)),
        Inputs(duration=Decimal("-0.1")),
        Inputs(duration=Decimal("NaN")),
        Inputs(duration=Decimal("Infinity")),
        Inputs(duration=Decimal("86400.001")),
        Inputs(duration=Decimal("1E+1000000")),
        Inputs(character_count=0),
    ],
)
def test_numbers_that_are_not_positive_are_refused(use: Inputs) -> None:
    for rule in EVERY_TYPE:
        with pytest.raises(InvalidRequest):
            price(rule, use)
    with pytest.raises(InvalidRequest):
        default_price(use)


@pytest.mark.parametrize(
    ("rule", "use"),
    [
        (Rule(billing_type="PER_IMAGE", base_credits=MAX_CREDITS), Inputs(quantity=2)),
        (Rule(billing_type="PER_DURATION", base_credits=MAX_CREDITS), Inputs(duration=Decimal("1.0000001"))),
        (
            Rule(billing_type="PER_CHARACTER", prices=(PriceRow("character", credits=MAX_CREDITS, unit_size=1),)),
            Inputs(character_count=10_000_000),
        ),
        (
            Rule(
                billing_type="OPERATION_MODE",
                prices=(PriceRow("operationType", "a", MAX_CREDITS), PriceRow("mode", "b", multiplier=Decimal("999999.999999"))),
            ),
            Inputs(operation_type="a", mode="b", quantity=1000),
        ),
    ],
)
def test_more_than_the_books_can_hold_is_refused(rule: Rule, use: Inputs) -> None:
    assert problems(rule) == []
    with pytest.raises(InvalidRequest):
        price(rule, use)


def test_nothing_is_rounded_before_the_end() -> None:
    rule = Rule(
        billing_type="OPERATION_MODE",
        prices=(PriceRow("operationType", "a", 9_007_199_254), PriceRow("mode", "b", multiplier=Decimal("999.999999"))),
    )
    assert price(rule, Inputs(operation_type="a", mode="b", quantity=1000)).credits == 9007199244992801
    per_second = Rule(billing_type="PER_DURATION", base_credits=104_249_991_374)
    assert price(per_second, Inputs(duration=Decimal("86399.999999999999999999999999995"))).credits == 104_249_991_374 * 86400


def test_rules_that_were_never_checked_give_nothing_away() -> None:
    for rule in (
        Rule(billing_type="PER_REQUEST"),
        Rule(billing_type="PER_REQUEST", base_credits=-3),
        Rule(billing_type="PER_DURATION"),
        Rule(billing_type="PER_CHARACTER", prices=(PriceRow("character", credits=2, unit_size=0),)),
        Rule(billing_type="PER_CHARACTER"),
        Rule(billing_type="BARTER", base_credits=3),
    ):
        with pytest.raises(PriceNotConfigured):
            price(rule, Inputs(duration=Decimal(1), character_count=1))


@pytest.mark.parametrize(
    ("rule", "fields"),
    [
        (Rule(billing_type="BARTER"), ["billing_type"]),
        (Rule(billing_type="PER_REQUEST", base_credits=-1), ["base_credits"]),
        (Rule(billing_type="PER_REQUEST", base_credits=-1, is_free=True), ["base_credits"]),
        (Rule(billing_type="PER_REQUEST", base_credits=2**53), ["base_credits"]),
        (Rule(billing_type="PER_DURATION"), ["base_credits"]),
        (Rule(billing_type="PER_IMAGE", prices=(PriceRow("mode", "std", 5),)), ["base_credits"]),
        (Rule(billing_type="PER_IMAGE", base_credits=1, prices=(PriceRow("resolution", "1K", 0),)), ["prices[0].credits"]),
        (Rule(billing_type="PER_IMAGE", base_credits=1, prices=(PriceRow("resolution", "1K", -1),)), ["prices[0].credits"]),
        (Rule(billing_type="PER_IMAGE", base_credits=1, prices=(PriceRow("resolution", "1K"),)), ["prices[0].credits"]),
        (Rule(billing_type="PER_IMAGE", base_credits=1, prices=(PriceRow("resolution", "1K", 2**53),)), ["prices[0].credits"]),
        (Rule(billing_type="PER_IMAGE", base_credits=1, prices=(PriceRow("resolution", "16:9", 3),)), ["prices[0].value"]),
        (Rule(billing_type="PER_IMAGE", base_credits=1, prices=(PriceRow("resolution", " ", 3),)), ["prices[0].value"]),
        (
            Rule(
                billing_type="PER_IMAGE",
                base_credits=1,
                prices=(PriceRow("resolution", "720p", 3), PriceRow("resolution", "HD", 4)),
            ),
            ["prices[1].value"],
        ),
        (Rule(billing_type="DURATION_RESOLUTION"), ["prices"]),
        (Rule(billing_type="DURATION_RESOLUTION", prices=(PriceRow("mode", "pro", 4),)), ["prices"]),
        (
            Rule(
                billing_type="DURATION_RESOLUTION",
                prices=(PriceRow("resolution", "720p", 3), PriceRow("resolution", "1280x720", 4)),
            ),
            ["prices[1].value"],
        ),
        (
            Rule(
                billing_type="DURATION_RESOLUTION",
                prices=(PriceRow("resolution", "HD_5", 3), PriceRow("resolution", "720p_5.0", 4)),
            ),
            ["prices[1].value"],
        ),
        (
            Rule(
                billing_type="DURATION_RESOLUTION",
                prices=(PriceRow("resolution", "HD_5", 3), PriceRow("resolution", "720p", 4)),
            ),
            ["prices[0].value"],
        ),
        (Rule(billing_type="DURATION_RESOLUTION", prices=(PriceRow("resolution", "720p_0", 3),)), ["prices[0].value"]),
        (Rule(billing_type="DURATION_RESOLUTION", prices=(PriceRow("resolution", "720p_", 3),)), ["prices[0].value"]),
        (Rule(billing_type="DURATION_RESOLUTION", prices=(PriceRow("resolution", "1K", 3),)), ["prices[0].value"]),
        (Rule(billing_type="PER_CHARACTER", prices=(PriceRow("character", credits=2),)), ["prices[0].unit_size"]),
        (Rule(billing_type="PER_CHARACTER", prices=(PriceRow("character", credits=2, unit_size=-5),)), ["prices[0].unit_size"]),
        (
            Rule(
                billing_type="PER_CHARACTER",
                prices=(PriceRow("character", "a", 2, unit_size=1), PriceRow("character", "b", 2, unit_size=1)),
            ),
            ["prices[1].value"],
        ),
        (
            Rule(billing_type="DURATION_MODE", prices=(PriceRow("mode", "std", 5), PriceRow("mode", " Standard ", 6))),
            ["prices[1].value"],
        ),
        (Rule(billing_type="DURATION_MODE", prices=(PriceRow("mode", "std", 5),), pricing_unit="hour"), ["pricing_unit"]),
        (Rule(billing_type="OPERATION_MODE", prices=(PriceRow("operationType", "a", 5),)), ["prices"]),
        (Rule(billing_type="OPERATION_MODE", prices=(PriceRow("mode", "a", multiplier=Decimal(1)),)), ["prices"]),
        (
            Rule(billing_type="OPERATION_MODE", prices=(PriceRow("operationType", "a", 5), PriceRow("mode", "b", 5))),
            ["prices[1].multiplier"],
        ),
        *[
            (
                Rule(
                    billing_type="OPERATION_MODE",
                    prices=(PriceRow("operationType", "a", 5), PriceRow("mode", "b", multiplier=Decimal(multiplier))),
                ),
                ["prices[1].multiplier"],
            )
            for multiplier in ("0", "-1", "NaN", "Infinity", "1000000", "0.0000001", "1E+999")
        ],
        (Rule(billing_type="PER_REQUEST", base_credits=1, prices=(PriceRow("colour", "red", 1),)), ["prices[0].dimension"]),
        (Rule(billing_type="PER_REQUEST", base_credits=1, prices=(PriceRow("mode", "x", 1),) * 501), ["prices"]),
    ],
)
def test_rules_that_cannot_work_are_named_with_their_field(rule: Rule, fields: list[str]) -> None:
    found = problems(rule)
    assert [field for field, _why in found] == fields
    assert all(str(why) for _field, why in found)


def test_rows_of_another_dimension_do_no_harm() -> None:
    rows = (
        PriceRow("resolution", "2K", 30),
        PriceRow("mode", "fast", multiplier=Decimal("1.5")),
        PriceRow("character", credits=2, unit_size=100),
    )
    rule = Rule(billing_type="PER_IMAGE", base_credits=15, prices=rows)
    assert problems(rule) == []
    assert price(rule, Inputs(mode="fast", resolution=read_size("2K"))).credits == 30


def test_zero_prices_need_the_free_mark() -> None:
    rows = (PriceRow("resolution", "720p", 0),)
    assert problems(Rule(billing_type="DURATION_RESOLUTION", prices=rows)) != []
    free = Rule(billing_type="DURATION_RESOLUTION", prices=rows, is_free=True)
    assert problems(free) == []
    assert price(free, Inputs(resolution=read_size("720p"), duration=Decimal(5))).credits == 0


def test_default_prices() -> None:
    assert default_price(Inputs()).credits == 20
    assert default_price(Inputs(quantity=4)).credits == 80
    assert default_price(Inputs(duration=Decimal("4.25"), quantity=4)).credits == 43
    assert default_price(Inputs(duration=Decimal("0.01"))).credits == 1


def test_the_steps_are_worded_in_the_readers_language() -> None:
    steps = price(VIDEOS, Inputs(resolution=read_size("900p"), duration=Decimal("4.2"))).steps
    with translation.override("en"):
        assert explain(steps) == [
            "8 credits per second at 1080p.",
            "Times 5 seconds (4.2 raised to whole seconds).",
            "900p is not listed or another name: it is priced as 1080p.",
            "Total: 40 credits.",
        ]
        assert explain(price(SECONDS, Inputs(duration=Decimal("0.05"))).steps)[1:] == [
            "Times 0.05 seconds.",
            "0.35 is rounded to 0 credits.",
            "A use costs at least 1 credit.",
            "Total: 1 credit.",
        ]


@given(rule=st.sampled_from(EVERY_TYPE), use=uses)
def test_every_step_has_words(rule: Rule, use: Inputs) -> None:
    try:
        quote = price(rule, use)
    except WauleError:
        return
    codes = {step.code for step in quote.steps}
    assert codes.isdisjoint(explain(quote.steps))


def test_a_price_takes_microseconds() -> None:
    """Under 30 µs, with room for a busy machine."""
    use = Inputs(
        quantity=2,
        duration=Decimal("4.2"),
        resolution=read_size("720p"),
        mode="fast",
        operation_type="imagine",
        character_count=9,
    )
    rules = [IMAGES, VIDEOS, SPEECH, OPERATIONS, SECONDS]
    for rule in rules:
        price(rule, use)
    best = min(_seconds_for(rules, use) for _try in range(5))
    assert best < 60e-6, f"{best * 1e6:.1f} µs"


def _seconds_for(rules: list[Rule], use: Inputs) -> float:
    started = time.perf_counter()
    for _time in range(200):
        for rule in rules:
            price(rule, use)
    return (time.perf_counter() - started) / 200 / len(rules)
