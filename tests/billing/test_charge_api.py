"""POST /internal/billing/charge."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from billing.catalog.models import AIModel
from billing.ledger.models import Charge, DailyUsage, LedgerEntry
from billing.reconciliation.checks import reconcile
from billing.services.permissions import billing_day, seconds_to_tomorrow
from tests.books import body, books_of
from tests.catalog import permit, priced_model

URL = "/internal/billing/charge"


def test_a_charge_takes_its_price_and_says_so(internal: Any, acme: Any, flash: AIModel) -> None:
    status, answer = internal.post(URL, body(acme, quantity=2, duration=4.5, resolution="2K", metadata={"a": 1}))
    assert status == 200
    charge = Charge.objects.get()
    assert answer == {
        "success": True,
        "creditsCharged": 7,
        "isFreeUsage": False,
        "usageRecord": {
            "id": str(charge.id),
            "modelId": str(flash.id),
            "operation": "image",
            "quantity": 2,
            "duration": 4.5,
            "resolution": "2K",
            "creditsCharged": 7,
            "createdAt": answer["usageRecord"]["createdAt"],
        },
        "chargeId": str(charge.id),
        "balance": 993,
    }
    entry = LedgerEntry.objects.get(charge=charge)
    assert (entry.seq, entry.kind, entry.amount, entry.balance, entry.actor) == (2, "CONSUME", -7, 993, "gateway")
    assert reconcile().ok


def test_our_id_and_the_providers_name_are_the_same_model(internal: Any, acme: Any, flash: AIModel) -> None:
    first = internal.post(URL, body(acme, flash.id), key="k1")
    again = internal.post(URL, body(acme, "flash"), key="k1")
    assert first == again
    assert internal.last["Idempotent-Replayed"] == "true"
    assert books_of(acme) == (993, 2, 1)


def test_a_replay_pays_once_and_gives_the_first_answer(internal: Any, acme: Any, flash: AIModel) -> None:
    first = internal.post(URL, body(acme), key="k1")
    internal.post(URL, body(acme), key="k2")
    assert internal.post(URL, body(acme, modelId="flash", quantity=None), key="k1") == first
    assert books_of(acme) == (986, 3, 2)


def test_another_body_under_the_same_key_is_refused(internal: Any, acme: Any, flash: AIModel) -> None:
    internal.post(URL, body(acme), key="k1")
    status, answer = internal.post(URL, body(acme, quantity=3), key="k1")
    assert (status, answer["code"]) == (422, "idempotency_key_reused")
    assert (answer["creditsCharged"], answer["isFreeUsage"], answer["success"]) == (0, False, False)
    assert books_of(acme) == (993, 2, 1)


def test_the_replay_of_the_charge_that_spent_the_last_credit_is_no_402(internal: Any, acme: Any) -> None:
    priced_model("dear", base=1000)
    first = internal.post(URL, body(acme, "dear"), key="last")
    assert first[0] == 200
    assert first[1]["balance"] == 0
    assert internal.post(URL, body(acme, "dear"), key="last") == first
    assert internal.post(URL, body(acme, "dear"), key="other")[0] == 402


def test_a_replay_survives_the_model_being_switched_off(internal: Any, acme: Any, flash: AIModel) -> None:
    first = internal.post(URL, body(acme), key="k1")
    flash.is_active = False
    flash.save()
    assert internal.post(URL, body(acme), key="k1") == first
    status, answer = internal.post(URL, body(acme), key="k2")
    assert (status, answer["code"]) == (403, "model_disabled")


def test_too_few_credits_change_nothing_and_burn_no_key(internal: Any, birch: Any, flash: AIModel) -> None:
    status, answer = internal.post(URL, body(birch), key="k1")
    assert status == 402
    assert answer["code"] == "insufficient_credits"
    assert (answer["details"]["required"], answer["details"]["available"]) == (7, 0)
    assert books_of(birch) == (0, 0, 0)
    internal.post(
        "/internal/billing/grant",
        body(birch) | {"credits": 7, "type": "GIFT", "reason": "welcome"},
        key="g",
    )
    assert internal.post(URL, body(birch), key="k1")[0] == 200


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"targetId": "0192f0c1-0000-7000-8000-000000000000"}, 404, "target_not_found"),
        ({"targetId": "nobody"}, 404, "target_not_found"),
        ({"modelId": "unheard-of"}, 404, "model_not_found"),
        ({"modelId": None}, 400, "invalid_request"),
        ({"quantity": 0}, 400, "invalid_request"),
        ({"quantity": 1001}, 400, "invalid_request"),
        ({"quantity": True}, 400, "invalid_request"),
        ({"quantity": "2"}, 400, "invalid_request"),
        ({"quantity": 2.0}, 400, "invalid_request"),
        ({"duration": 0}, 400, "invalid_request"),
        ({"duration": 86_401}, 400, "invalid_request"),
        ({"duration": "5"}, 400, "invalid_request"),
        ({"characterCount": 10_000_001}, 400, "invalid_request"),
        ({"operation": "x" * 65}, 400, "invalid_request"),
        ({"metadata": []}, 400, "invalid_request"),
        ({"metadata": {"a": "x" * 4096}}, 400, "invalid_request"),
        ({"targetId": 5}, 400, "invalid_request"),
        ({"targetId": "nobody", "quantity": 0}, 400, "invalid_request"),
    ],
)
def test_bad_input_changes_nothing(
    internal: Any, acme: Any, flash: AIModel, change: dict[str, Any], status: int, code: str
) -> None:
    got, answer = internal.post(URL, body(acme) | change)
    assert (got, answer["code"]) == (status, code)
    assert (answer["creditsCharged"], answer["isFreeUsage"]) == (0, False)
    assert answer["requestId"] == internal.last["X-Request-Id"]
    assert books_of(acme) == (1000, 1, 0)


def test_another_target_type_has_the_contracts_words(internal: Any, acme: Any, flash: AIModel) -> None:
    status, answer = internal.post(URL, body(acme) | {"targetType": "robot"})
    assert (status, answer["error"], answer["code"]) == (400, "Invalid targetType", "invalid_request")


def test_a_switched_off_tenant_is_refused(internal: Any, acme: Any, flash: AIModel) -> None:
    acme.is_active = False
    acme.save()
    assert internal.post(URL, body(acme))[1]["code"] == "tenant_inactive"


def test_an_empty_list_of_models_allows_nothing(internal: Any, acme: Any, flash: AIModel) -> None:
    for enabled, expected in (([], 403), (["other"], 403), ([str(flash.id)], 200), (["flash"], 200), (["*"], 200)):
        acme.enabled_models = enabled
        acme.save()
        assert internal.post(URL, body(acme))[0] == expected, enabled


def test_a_use_without_a_price_is_refused(internal: Any, acme: Any, any_database: None) -> None:
    AIModel.objects.create(model_id="bare", name="Bare", provider="sandbox", type="IMAGE_GENERATION")
    assert internal.post(URL, body(acme, "bare"))[1]["code"] == "price_not_configured"


def test_default_prices_where_the_setting_says_so(internal: Any, acme: Any, settings: Any) -> None:
    settings.BILLING_DEFAULT_PRICES = True
    AIModel.objects.create(model_id="bare", name="Bare", provider="sandbox", type="IMAGE_GENERATION")
    assert internal.post(URL, body(acme, "bare", quantity=2))[1]["creditsCharged"] == 40
    assert internal.post(URL, body(acme, "bare", duration=1.25))[1]["creditsCharged"] == 13


def test_a_price_switched_off_is_not_for_sale_whatever_the_setting(internal: Any, acme: Any, settings: Any) -> None:
    settings.BILLING_DEFAULT_PRICES = True
    priced_model("shelf", is_active=False)
    assert internal.post(URL, body(acme, "shelf"))[1]["code"] == "price_not_configured"


def test_a_tenant_is_charged_for_enabled_models_alone(internal: Any, acme: Any, flash: AIModel) -> None:
    for enabled, status in ([], 403), (["other"], 403), (["flash"], 200), ([str(flash.id)], 200), (["other", "*"], 200):
        acme.enabled_models = enabled
        acme.save()
        assert internal.post(URL, body(acme))[0] == status, enabled
        assert status == 200 or internal.last.json()["code"] == "model_not_enabled"
    assert books_of(acme) == (1000 - 3 * 7, 4, 3)


def test_a_name_that_two_models_share_needs_our_id(internal: Any, acme: Any, flash: AIModel) -> None:
    AIModel.objects.create(model_id="flash", name="Film", provider="sandbox", type="VIDEO_GENERATION")
    status, answer = internal.post(URL, body(acme))
    assert (status, list(answer["details"]["fields"])) == (400, ["modelId"])
    assert internal.post(URL, body(acme, flash.id))[0] == 200


# --- users ---------------------------------------------------------------------------------------------------------


def test_a_user_pays_where_no_row_says_otherwise(internal: Any, alice: Any, flash: AIModel) -> None:
    assert internal.post(URL, body(alice))[1]["balance"] == 993
    assert not DailyUsage.objects.exists()


def test_a_users_use_of_a_node_type_needs_no_model(internal: Any, alice: Any, any_database: None) -> None:
    from billing.catalog.models import BillingRule

    BillingRule.objects.create(name="upscale", node_type="Upscale", billing_type="PER_REQUEST", base_credits=3)
    use = body(alice) | {"modelId": None, "nodeType": " upscale "}
    assert internal.post(URL, use)[1]["creditsCharged"] == 3


def test_administrators_use_for_free_but_need_a_price(internal: Any, alice: Any, flash: AIModel) -> None:
    alice.level = "ADMIN"
    alice.save()
    _status, answer = internal.post(URL, body(alice))
    assert (answer["creditsCharged"], answer["isFreeUsage"], answer["balance"]) == (0, True, 1000)
    assert books_of(alice) == (1000, 1, 1)
    AIModel.objects.create(model_id="bare", name="Bare", provider="sandbox", type="IMAGE_GENERATION")
    assert internal.post(URL, body(alice, "bare"))[0] == 422


def test_the_daily_limit_counts_uses_and_says_when_it_opens(internal: Any, alice: Any, flash: AIModel) -> None:
    permit("USER", flash, daily_limit=2)
    assert [internal.post(URL, body(alice))[0] for _ in range(3)] == [200, 200, 429]
    answer = internal.last.json()
    assert answer["code"] == "daily_limit"
    assert 0 < int(internal.last["Retry-After"]) <= 86_400
    assert books_of(alice) == (986, 3, 2)


def test_the_day_of_daily_limits_begins_at_midnight_in_the_billing_time_zone() -> None:
    before, midnight = datetime(2026, 5, 1, 15, 59, 59, tzinfo=UTC), datetime(2026, 5, 1, 16, tzinfo=UTC)  # in Shanghai
    assert [billing_day(before), billing_day(midnight)] == [date(2026, 5, 1), date(2026, 5, 2)]
    assert [seconds_to_tomorrow(before), seconds_to_tomorrow(midnight)] == [2, 86_401]


def test_the_replay_of_the_last_allowed_use_is_no_429(internal: Any, alice: Any, flash: AIModel) -> None:
    permit("USER", flash, daily_limit=1)
    first = internal.post(URL, body(alice), key="k")
    assert internal.post(URL, body(alice), key="k") == first
    assert DailyUsage.objects.get().uses == 1


def test_a_member_uses_the_free_quota_first(internal: Any, vera: Any, flash: AIModel) -> None:
    permit("VIP", flash, is_free_for_member=True, free_daily_limit=2)
    answers = [internal.post(URL, body(vera))[1] for _ in range(3)]
    assert [(answer["creditsCharged"], answer["isFreeUsage"]) for answer in answers] == [(0, True), (0, True), (7, False)]
    usage = DailyUsage.objects.get()
    assert (usage.uses, usage.free_uses) == (3, 2)


def test_a_full_refund_gives_the_free_use_back_once(internal: Any, vera: Any, flash: AIModel) -> None:
    permit("VIP", flash, is_free_for_member=True, free_daily_limit=1)
    free = internal.post(URL, body(vera))[1]
    for _ in range(2):
        status, answer = internal.post("/internal/billing/refund", {"chargeId": free["chargeId"], "reason": "failed"})
        assert (status, answer["creditsRefunded"], answer["totalRefunded"]) == (200, 0, 0)
    usage = DailyUsage.objects.get()
    assert (usage.uses, usage.free_uses) == (0, 0)
    assert internal.post(URL, body(vera))[1]["isFreeUsage"] is True


def test_free_for_members_means_members_alone(internal: Any, alice: Any, vera: Any, flash: AIModel) -> None:
    permit("USER", flash, is_free_for_member=True, free_daily_limit=-1)
    assert internal.post(URL, body(alice))[1]["creditsCharged"] == 7
    vera.membership_expires_at = timezone.now() - timedelta(seconds=1)
    vera.save()
    permit("VIP", flash, is_free_for_member=True, free_daily_limit=-1)
    assert internal.post(URL, body(vera))[1]["creditsCharged"] == 7


def test_a_level_may_be_refused_a_model(internal: Any, alice: Any, flash: AIModel) -> None:
    permit("USER", flash, is_allowed=False)
    assert internal.post(URL, body(alice))[1]["code"] == "permission_denied"


def test_open_holds_count_for_concurrency(internal: Any, alice: Any, flash: AIModel) -> None:
    from billing.catalog.models import LevelConfig

    LevelConfig.objects.create(level="USER", max_concurrency=1)
    status, held = internal.post("/internal/billing/holds", body(alice))
    assert status == 201
    status, answer = internal.post(URL, body(alice))
    assert (status, answer["code"]) == (429, "concurrency_limit")
    internal.post(f"/internal/billing/holds/{held['holdId']}/release")
    assert internal.post(URL, body(alice))[0] == 200


def test_a_free_rule_takes_nothing_and_writes_no_entry(internal: Any, acme: Any) -> None:
    priced_model("gift", base=0, is_free=True)
    _status, answer = internal.post(URL, body(acme, "gift"))
    assert answer["creditsCharged"] == 0
    assert books_of(acme) == (1000, 1, 1)
