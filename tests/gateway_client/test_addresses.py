"""Which hosts may be fetched, in every spelling that leads elsewhere than it looks."""

import socket

import pytest

from gateway_client.addresses import Allowed, Forbidden, Rules, is_public, parse_allowed, rules
from waule.core.errors import NotConfigured

FORBIDDEN_ADDRESSES = """
    0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.100.100.200 100.127.255.255 127.0.0.1 127.255.255.254 168.63.129.16
    169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.192 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1
    198.19.255.255 198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
    :: ::1 ::7f00:1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:0:127.0.0.1 64:ff9b::7f00:1 64:ff9b::808:808 64:ff9b:1::1
    100::1 2001::1 2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1:: 2002:808:808:: 3fff::1 5f00::1 fc00::1 fd00:ec2::254
    fe80::1 fec0::1 ff02::1
"""
PUBLIC_ADDRESSES = "8.8.8.8 1.1.1.1 93.184.216.34 100.63.255.255 100.128.0.0 2606:4700:4700::1111 2a00:1450::1"


@pytest.mark.parametrize("address", FORBIDDEN_ADDRESSES.split())
def test_what_is_not_public_unicast_is_refused(address: str) -> None:
    assert not is_public(address)
    with pytest.raises(Forbidden):
        Rules(resolve=lambda *_: [address]).addresses("innocent.test", 443, 1)
    with pytest.raises(Forbidden):  # one bad address among good ones spoils the name
        Rules(resolve=lambda *_: ["8.8.8.8", address]).addresses("innocent.test", 443, 1)


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES.split())
def test_public_addresses_may_be_fetched(address: str) -> None:
    assert Rules(resolve=lambda *_: [address]).addresses("shop.test", 443, 1) == [address]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
        "http://127.0.0.01/",
        "http://00000177.0.0.1/",
        "http://0/",
        "http://0x/",
        "http://127.0.0.1./",
        "http://localhost/",
        "http://LOCALHOST:80/",
        "http://localhost./",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[0:0:0:0:0:0:0:1]/",
        "http://[::127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[fe80::1%25lo]/",
        "http://[fe80::1%lo]/",
        "http://１２７.0.0.1/",
        "http://①②⑦.0.0.1/",
        "http://127。0。0。1/",
        "http://ⓛocalhost/",
        "http://169.254.169.254/latest/meta-data/",
        "http://100.100.100.200/latest/meta-data/",
        "http://8.8.8.8@127.0.0.1/",
        "http://user:password@8.8.8.8/",
        "http://8.8.8.8\\@127.0.0.1/",
        "http://8.8.8.8#@127.0.0.1:80\\",
        "http://127.0.0.1\t.8.8.8.8/",
        "http://8.8.8.8 /",
        "http://8.8.8.8/\r\nHost: evil",
        "http://8.8.8.8:0/",
        "http://8.8.8.8:99999/",
        "http://8.8.8.8:x/",
        "http://",
        "http:///x",
        "http:8.8.8.8",
        "//8.8.8.8/x",
        "8.8.8.8/x",
        "ftp://8.8.8.8/x",
        "file:///etc/passwd",
        "gopher://8.8.8.8/",
        "javascript:alert(1)",
        "data:image/png;base64,AAAA",
        "http://[::1",
        "http://" + "a" * 5000,
        "",
    ],
)
def test_spellings_that_lead_elsewhere_are_refused(url: str) -> None:
    with pytest.raises(Forbidden):
        Rules().check(url, seconds=2)


def test_the_form_of_a_good_url_stays() -> None:
    for url in ("https://cdn.test/a.png?sign=a%2Fb&x=1", "http://8.8.8.8:8080/x", "http://[2606:4700::1111]/x"):
        assert Rules().check_form(url) == url
    assert Rules().check_form("https://图片.test/a") == "https://xn--wcsw84d.test/a"


def test_a_name_without_an_address_is_as_one_that_is_not_public() -> None:
    told = []
    for host in ("no-such-host.invalid", "localhost", "127.0.0.1"):
        with pytest.raises(Forbidden) as caught:
            Rules().check(f"http://{host}/", seconds=2)
        told.append(str(caught.value))
    assert len(set(told)) == 1


def test_a_name_that_is_allowed_is_not_looked_up() -> None:
    """It may be known only where it is used."""
    rules = Rules((Allowed(host="no-such-host.invalid"),))
    assert rules.check("http://no-such-host.invalid/x") == "http://no-such-host.invalid/x"


@pytest.mark.parametrize(
    ("entry", "allowed"),
    [
        ("gateway", Allowed(host="gateway")),
        ("Gateway.Internal.:9000", Allowed(host="gateway.internal", port=9000)),
    ],
)
def test_names_in_outbound_allow(entry: str, allowed: Allowed) -> None:
    assert parse_allowed(entry) == allowed


@pytest.mark.parametrize(
    ("entry", "host", "address", "port", "verdict"),
    [
        ("gateway", "gateway", "10.0.0.5", 80, True),
        ("gateway", "GATEWAY.", "10.0.0.5", 80, True),
        ("gateway", "xgateway", "10.0.0.5", 80, False),
        ("gateway:9000", "gateway", "10.0.0.5", 9000, True),
        ("gateway:9000", "gateway", "10.0.0.5", 80, False),
        ("10.0.0.0/8", "any", "10.9.9.9", 80, True),
        ("10.0.0.7/8", "any", "10.9.9.9", 80, True),
        ("10.0.0.0/8", "any", "11.0.0.1", 80, True),
        ("10.0.0.0/8", "any", "192.168.0.1", 80, False),
        ("10.0.0.0/8:9000", "any", "10.9.9.9", 80, False),
        ("10.0.0.0/8:9000", "any", "10.9.9.9", 9000, True),
        ("127.0.0.1", "any", "127.0.0.1", 5, True),
        ("127.0.0.1", "any", "127.0.0.2", 5, False),
        ("127.0.0.1", "any", "::ffff:127.0.0.1", 5, False),
        ("127.0.0.1:5", "any", "127.0.0.1", 5, True),
        ("127.0.0.1:5", "any", "127.0.0.1", 6, False),
        ("::1", "any", "::1", 5, True),
        ("[::1]:5", "any", "::1", 5, True),
        ("[::1]:5", "any", "::1", 6, False),
        ("fd00::/8", "any", "fd12::1", 6, True),
        ("[fd00::/8]:6", "any", "fd12::1", 6, True),
        ("[fd00::/8]:6", "any", "fd12::1", 7, False),
    ],
)
def test_outbound_allow(entry: str, host: str, address: str, port: int, verdict: bool) -> None:
    judge = Rules((parse_allowed(entry),), resolve=lambda *_: [address])
    if verdict:
        assert judge.addresses(host, port, 1) == [address]
    else:
        with pytest.raises(Forbidden):
            judge.addresses(host, port, 1)


@pytest.mark.parametrize("entry", ["", "a b", "a:b", "a:0", "a:70000", "10.0.0.0/33", "[::1", "300.1.1.1", "http://a", "*"])
def test_a_wrong_entry_is_named(entry: str, settings: object) -> None:
    with pytest.raises(NotConfigured) as caught:
        parse_allowed(entry)
    assert caught.value.details == {"reason": "OUTBOUND_ALLOW"}


def test_the_setting_is_read(settings: object) -> None:
    settings.OUTBOUND_ALLOW = []
    with pytest.raises(Forbidden):
        rules().check("http://127.0.0.1:81/x")
    settings.OUTBOUND_ALLOW = ["localhost", "127.0.0.1:81"]
    assert rules().check("http://127.0.0.1:81/x")
    assert rules().check("http://localhost:82/x")
    with pytest.raises(Forbidden):
        rules().check("http://127.0.0.1:82/x")


def test_the_system_reads_odd_spellings_as_addresses() -> None:
    """Why the spellings above matter: the resolver itself takes them for 127.0.0.1."""
    assert socket.getaddrinfo("2130706433", 80)[0][4][0] == "127.0.0.1"
