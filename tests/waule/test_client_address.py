"""The client's address behind no proxy, one, and several."""

from typing import Any

import pytest
from django.test import RequestFactory

from tests.live import LiveWaule
from tests.settings import INTERNAL_SECRET
from waule.core.auth.client_address import address_group, client_address


@pytest.mark.parametrize(
    ("trusted", "count", "peer", "forwarded", "expected"),
    [
        (False, 1, "203.0.113.7", None, "203.0.113.7"),
        (False, 1, "203.0.113.7", "198.51.100.1", "203.0.113.7"),
        (True, 1, "10.0.0.1", None, "10.0.0.1"),
        (True, 1, "10.0.0.1", "198.51.100.1", "198.51.100.1"),
        (True, 1, "10.0.0.1", "1.1.1.1, 198.51.100.1", "198.51.100.1"),
        (True, 2, "10.0.0.1", "1.1.1.1, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        (True, 2, "10.0.0.1", "198.51.100.1", "10.0.0.1"),
        (True, 1, "10.0.0.1", "unknown", "10.0.0.1"),
        (True, 1, "10.0.0.1", "", "10.0.0.1"),
        (True, 1, "10.0.0.1", "x" * 5000, "10.0.0.1"),
        (True, 1, "10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
        (True, 1, "10.0.0.1", "[2001:DB8::1]:4711", "2001:db8::1"),
        (True, 1, "10.0.0.1", "2001:DB8:0::1", "2001:db8::1"),
        (True, 1, "10.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"),
        (True, 1, "10.0.0.1", "fe80::1%eth0", "fe80::1"),
        (False, 1, "::ffff:203.0.113.7", None, "203.0.113.7"),
        (False, 1, "", None, ""),
    ],
)
def test_the_address_that_the_outermost_proxy_of_ours_saw(
    settings: Any, trusted: bool, count: int, peer: str, forwarded: str | None, expected: str
) -> None:
    settings.TRUST_PROXY_HEADERS, settings.TRUSTED_PROXY_COUNT = trusted, count
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    assert client_address(RequestFactory().get("/", headers=headers, REMOTE_ADDR=peer)) == expected


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("198.51.100.1", "198.51.100.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("::1", "::1"),
        ("", ""),
    ],
)
def test_limits_take_an_ipv6_subscriber_for_one(address: str, group: str) -> None:
    assert address_group(address) == group


def test_a_header_with_underscores_is_not_the_one_with_hyphens(live_waule: LiveWaule) -> None:
    """A proxy replaces or extends `X-Forwarded-For`, and lets `X_Forwarded_For` through: nobody may pass that off as its word."""
    live_waule.environ |= {"TRUST_PROXY_HEADERS": "true"}
    for secret in ("X_Internal_Secret", "X-Internal_Secret", "x_internal_secret"):
        assert live_waule.get("/internal/models", headers={secret: INTERNAL_SECRET}).status_code == 401
    sent = {"X-Forwarded-For": "198.51.100.1", "X-Internal-Secret": "wrong"}
    for forged in ("X_Forwarded_For", "X-Forwarded_For"):
        assert live_waule.get("/internal/models", headers=sent | {forged: "192.0.2.66"}).status_code == 401
    told = [line for line in live_waule.log.splitlines() if "wrong internal secret" in line]
    assert len([line for line in told if "198.51.100.1" in line]) == 2
    assert not [line for line in told if "192.0.2.66" in line]
    answer = live_waule.get(
        "/internal/models", headers={"X-Internal-Secret": INTERNAL_SECRET, "Content_Type": "text/html", "Host_": "x"}
    )
    assert answer.status_code == 200
