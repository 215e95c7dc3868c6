"""Who gets into /internal, and who does not."""

import pytest

from tests.live import LiveWaule, manage
from tests.settings import INTERNAL_SECRET

PATH = "/internal/billing/balance?targetType=tenant&targetId=01890000-0000-7000-8000-000000000000"
OTHER = "another-secret-of-more-than-32-characters"


def knock(waule: LiveWaule, secret: str | bytes | None, path: str = PATH) -> tuple[int, str, str]:
    headers = {} if secret is None else {"X-Internal-Secret": secret}
    answer = waule.get(path, headers=headers)
    told = answer.json()
    return answer.status_code, told["code"], told["error"]


def test_the_secret_opens_the_door(standing_waule: LiveWaule) -> None:
    assert knock(standing_waule, INTERNAL_SECRET)[:2] == (404, "target_not_found")


@pytest.mark.parametrize(
    "secret",
    [
        None,
        "",
        "None",
        "wrong",
        INTERNAL_SECRET[:-1],
        INTERNAL_SECRET + "x",
        INTERNAL_SECRET.upper(),
        f"{INTERNAL_SECRET},{INTERNAL_SECRET}",
        INTERNAL_SECRET.replace("t", "ţ").encode(),
        b"\xff\xfe" + INTERNAL_SECRET.encode(),
        b"\xe9",
    ],
)
def test_anything_else_is_unauthorized_in_exactly_that_word(standing_waule: LiveWaule, secret: str | bytes | None) -> None:
    assert knock(standing_waule, secret) == (401, "unauthorized", "Unauthorized")


def test_the_word_is_not_translated(standing_waule: LiveWaule) -> None:
    answer = standing_waule.get(PATH, headers={"Accept-Language": "zh-CN"})
    assert (answer.status_code, answer.json()["error"]) == (401, "Unauthorized")
    assert answer.headers["WWW-Authenticate"]


def test_a_wrong_secret_is_told_before_a_wrong_body_or_method(standing_waule: LiveWaule) -> None:
    for method, body in (("POST", b"{"), ("PUT", b""), ("DELETE", b"")):
        answer = standing_waule.request(
            method, "/internal/billing/charge", data=body, headers={"X-Internal-Secret": "wrong", "Content-Type": "text/plain"}
        )
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized"), method


@pytest.mark.parametrize(("secret", "why"), [("", "not set"), ("x" * 31, "shorter than 32 characters")])
def test_without_a_long_enough_secret_nobody_gets_in_and_the_server_says_so(live_waule: LiveWaule, secret: str, why: str) -> None:
    live_waule.restart(INTERNAL_SECRET=secret)
    for sent in (None, "", secret, INTERNAL_SECRET, "None"):
        assert knock(live_waule, sent)[:2] == (503, "not_configured"), sent
    assert live_waule.get("/healthz").status_code == 200
    assert f"INTERNAL_SECRET is {why}: every call to /internal answers 503" in live_waule.log


@pytest.mark.parametrize("secret", ["", "x" * 31])
def test_the_deployment_check_fails_without_a_long_enough_secret(secret: str) -> None:
    assert "waule.E001" not in manage("check", "--deploy").stderr
    done = manage("check", "--deploy", INTERNAL_SECRET=secret)
    assert done.returncode == 1
    assert "waule.E001" in done.stderr


def test_while_it_is_rotated_the_secret_before_opens_the_door_too(live_waule: LiveWaule) -> None:
    live_waule.restart(INTERNAL_SECRET=OTHER, INTERNAL_SECRET_PREVIOUS=INTERNAL_SECRET)
    assert knock(live_waule, OTHER)[0] == 404
    assert knock(live_waule, INTERNAL_SECRET)[0] == 404
    live_waule.restart(INTERNAL_SECRET=OTHER, INTERNAL_SECRET_PREVIOUS=INTERNAL_SECRET[:20])
    assert knock(live_waule, OTHER)[0] == 404
    assert knock(live_waule, INTERNAL_SECRET[:20])[0] == 401
    live_waule.restart(INTERNAL_SECRET=OTHER, INTERNAL_SECRET_PREVIOUS="")
    assert knock(live_waule, INTERNAL_SECRET)[0] == 401


def test_a_secret_in_other_letters_than_ascii_can_be_sent_by_nobody(live_waule: LiveWaule) -> None:
    """HTTP servers differ in what they make of such bytes; what counts is that no other value fits."""
    live_waule.restart(INTERNAL_SECRET="geheim-ü" * 8)
    assert knock(live_waule, "")[0] == 401
    assert knock(live_waule, b"\xff" * 64)[0] == 401
