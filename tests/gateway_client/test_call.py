"""What each failure of an upstream means: every row of the table, with a server that really behaves so."""

import resource
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.utils import timezone

from gateway_client import errors, http
from gateway_client.transport import Deadline, resolve_anywhere
from tests.gateway_client import bad_server as bad
from tests.gateway_client.bad_server import BadServer
from waule.core.errors import NotConfigured

KEY = "sk-planted-secret-0123456789"


def post(url: str, total_seconds: float = 5, read_seconds: float = 5, **options: Any) -> http.Answer:
    deadline = Deadline(connect_seconds=1, read_seconds=read_seconds, total_seconds=total_seconds)
    options = {"bearer": KEY, "payload": {"prompt": "a cat"}} | options
    return http.call("POST", f"{url}/v1/things", deadline=deadline, **options)


def failure(url: str, **options: Any) -> errors.UpstreamError:
    with pytest.raises(errors.UpstreamError) as caught:
        post(url, **options)
    return caught.value


def test_a_good_answer(upstream: BadServer) -> None:
    upstream.will(bad.answer({"data": [1, 0.1]}))
    answer = post(upstream.url, headers={"X-User-Id": "u1"})
    assert answer.status == 200
    assert str(answer.body["data"][1]) == "0.1"
    (seen,) = upstream.seen
    assert (seen.method, seen.path, seen.json()) == ("POST", "/v1/things", {"prompt": "a cat"})
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.headers["x-user-id"] == "u1"
    assert seen.headers["content-type"] == "application/json"


def test_an_empty_answer_has_no_body(upstream: BadServer) -> None:
    upstream.will(bad.answer(b"", 204))
    assert post(upstream.url).body is None


# --- not accepted: release, and try again -------------------------------------------------------------------------


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("url", ["http://no-such-host.invalid", "refused", "tls"])
def test_what_was_not_accepted(url: str, upstream: BadServer) -> None:
    if url == "refused":
        url = f"http://127.0.0.1:{free_port()}"
    if url == "tls":  # a server that speaks no TLS
        url = upstream.will(bad.hang_up).url.replace("http:", "https:")
    error = failure(url)
    assert type(error) is errors.NotAccepted
    assert (error.http_status, error.code, error.is_unknown, error.may_try_again) == (502, "upstream_error", False, True)


def test_connecting_times_out() -> None:
    """A listener whose backlog is full answers no SYN."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(8)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        began_at = time.monotonic()
        error = failure(f"http://127.0.0.1:{port}", max_tries=1)
        assert type(error) is errors.NotAccepted
        assert 0.9 < time.monotonic() - began_at < 10
        for filler in fillers:
            filler.close()


def test_an_unknown_certificate_is_not_accepted_and_the_name_is_told(
    start_server: Callable[..., BadServer], tmp_path: Path
) -> None:
    names: list[str | None] = []
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(self_signed(tmp_path))
    tls.sni_callback = lambda _socket, name, _context: names.append(name)
    server = start_server(tls=tls)
    error = failure(f"https://localhost:{server.port}", max_tries=1)
    assert type(error) is errors.NotAccepted
    assert names == ["localhost"]
    assert server.seen == []


def test_tls_with_a_known_certificate(start_server: Callable[..., BadServer], tmp_path: Path) -> None:
    from gateway_client import transport

    pem = self_signed(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pem)
    server = start_server(tls=tls).will(bad.answer({"ok": True}), bad.drip(b"HTTP/1.1 200 OK\r\n" + b"x" * 999))
    transport._tls_context().load_verify_locations(pem)
    try:
        assert post(f"https://localhost:{server.port}").body == {"ok": True}
        began_at = time.monotonic()
        assert type(failure(f"https://localhost:{server.port}", total_seconds=0.5)) is errors.OutcomeTimedOut
        assert time.monotonic() - began_at < 10  # it drips for much longer
    finally:
        transport._tls_context.cache_clear()


def self_signed(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = timezone.now()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timezone.timedelta(days=1))
        .not_valid_after(now + timezone.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "localhost.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


def test_a_refused_connection_is_tried_three_times(upstream: BadServer) -> None:
    asked: list[str] = []

    def resolve(host: str, port: int, seconds: float) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    with pytest.raises(errors.NotAccepted):
        http.download(f"http://here.test:{free_port()}/x", max_bytes=10, resolve=resolve)
    assert asked == ["here.test"] * 3


def test_the_second_address_is_tried(upstream: BadServer) -> None:
    upstream.will(bad.media(bad.PNG))
    path = http.download(
        f"http://two.test:{upstream.port}/x", max_bytes=1000, resolve=lambda *_: ["127.0.0.2", "127.0.0.1"], max_tries=1
    )
    assert path.read_bytes() == bad.PNG
    path.unlink()


# --- refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 404, 413, 415, 422])
def test_a_refusal(upstream: BadServer, status: int) -> None:
    upstream.will(bad.answer({"error": {"message": "no such size", "type": "invalid_request_error"}}, status))
    error = failure(upstream.url)
    assert type(error) is errors.UpstreamRefused
    assert (error.code, error.is_unknown, error.blames_credential) == ("upstream_refused", False, False)
    assert error.details["reason"] == "no such size"
    assert error.upstream_status == status
    assert len(upstream.seen) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_our_credential_is_refused(upstream: BadServer, status: int) -> None:
    upstream.will(bad.answer({"detail": f"Invalid key {KEY}"}, status))
    error = failure(upstream.url)
    assert type(error) is errors.CredentialRefused
    assert (error.code, error.http_status, error.is_unknown, error.blames_credential) == ("upstream_error", 502, False, True)
    assert KEY not in f"{error!r} {error} {error.details}"


@pytest.mark.parametrize("status", [400, 403, 422, 500])
@pytest.mark.parametrize("word", ["content_policy_violation", "content_filter", "moderation_blocked"])
@pytest.mark.parametrize("place", ["type", "code"])
def test_the_content_filter(upstream: BadServer, status: int, word: str, place: str) -> None:
    upstream.will(bad.answer({"error": {"message": "not this", place: word}}, status))
    error = failure(upstream.url)
    assert type(error) is errors.ContentRefused
    assert (error.code, error.is_unknown, error.blames_credential) == ("content_refused", False, False)
    assert error.details["reason"] == "not this"


@pytest.mark.parametrize("status", [405, 410, 418])
def test_what_is_in_no_row_is_a_bare_upstream_error(upstream: BadServer, status: int) -> None:
    upstream.will(bad.answer({}, status))
    error = failure(upstream.url)
    assert type(error) is errors.UpstreamError
    assert (error.code, error.http_status, error.is_unknown) == ("upstream_error", 502, False)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"error": {"message": "m", "type": "t"}}, "m"),
        ({"error": "text"}, "text"),
        ({"success": False, "error": "text"}, "text"),
        ({"detail": "text"}, "text"),
        ({"error": {"message": f"bad key {KEY} given"}}, "bad key [hidden] given"),
        ({"error": {"message": "a\0b\ud800"}}, "ab"),
        ({"error": {"message": 5}}, "status_400"),
        ({"error": None}, "status_400"),
        ([], "status_400"),
        (b"<html>Bad Request</html>", "status_400"),
        (b"[" * 100_000, "status_400"),
        (b"", "status_400"),
        ({"error": "x" * 1000}, "x" * 300),
    ],
)
def test_every_form_of_error_body(upstream: BadServer, body: Any, reason: str) -> None:
    upstream.will(bad.answer(body, 400))
    assert failure(upstream.url).details["reason"] == reason


def test_an_error_body_that_never_ends_or_is_cut_off_is_not_needed(upstream: BadServer) -> None:
    upstream.will(bad.answer({"error": "x"}, 400, length=5000), bad.answer(b"x" * 1_000_000, 400))
    assert type(failure(upstream.url)) is errors.UpstreamRefused
    assert type(failure(upstream.url)) is errors.UpstreamRefused


# --- 429 ----------------------------------------------------------------------------------------------------------


def limited(retry_after: str | None, body: Any = None) -> bad.Behaviour:
    return bad.answer(body or {"error": "slow"}, 429, {"Retry-After": retry_after} if retry_after is not None else {})


def test_a_limit_that_passes_soon_is_waited_for(upstream: BadServer) -> None:
    upstream.will(limited("1"), bad.answer({"ok": 1}))
    began_at = time.monotonic()
    assert post(upstream.url, headers={"Idempotency-Key": "g1"}).body == {"ok": 1}
    assert time.monotonic() - began_at >= 1
    assert [seen.headers["idempotency-key"] for seen in upstream.seen] == ["g1", "g1"]


def test_a_limit_is_waited_for_twice_at_most(upstream: BadServer) -> None:
    upstream.will(limited("0"))
    error = failure(upstream.url)
    assert type(error) is errors.UpstreamRateLimited
    assert (error.code, error.http_status, error.is_unknown, error.retry_after_seconds) == ("rate_limited", 429, False, 0)
    assert len(upstream.seen) == 3


@pytest.mark.parametrize("retry_after", [None, "31", "7", "soon", "-1", "99999999999", "Wed, 21 Oct 2099 07:28:00 GMT"])
def test_a_limit_that_is_not_waited_for(upstream: BadServer, retry_after: str | None) -> None:
    """Too long, not said, or beyond the total deadline (5 s here)."""
    upstream.will(limited(retry_after))
    error = failure(upstream.url)
    assert type(error) is errors.UpstreamRateLimited
    assert len(upstream.seen) == 1
    known = {"31": 31, "7": 7}
    if retry_after in {None, "31", "7", "soon", "-1", "99999999999"}:
        assert error.retry_after_seconds == known.get(retry_after or "")


def test_a_date_in_the_past_is_now(upstream: BadServer) -> None:
    upstream.will(limited("Wed, 21 Oct 2015 07:28:00 GMT"), bad.answer({"ok": 1}))
    assert post(upstream.url).body == {"ok": 1}


def test_another_credential_is_better_than_waiting(upstream: BadServer) -> None:
    upstream.will(limited("0"))
    failure(upstream.url, waits_for_limit=False)
    assert len(upstream.seen) == 1


def test_a_quota_is_not_a_limit(upstream: BadServer) -> None:
    upstream.will(limited("0", {"error": {"message": "no money", "code": "insufficient_quota"}}))
    error = failure(upstream.url)
    assert type(error) is errors.QuotaExhausted
    assert error.blames_credential
    assert len(upstream.seen) == 1


# --- unknown: keep the hold, never send again -----------------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520, 408, 409])
def test_a_broken_server_may_have_worked(upstream: BadServer, status: int) -> None:
    upstream.will(bad.answer(b"<html>Bad Gateway</html>", status, {"Retry-After": "1"}))
    error = failure(upstream.url)
    assert type(error) is errors.OutcomeUnknown
    assert (error.code, error.http_status, error.is_unknown, error.may_try_again) == ("upstream_error", 502, True, False)
    assert len(upstream.seen) == 1


DEEP = b'{"a":' * 33 + b"1" + b"}" * 33
NOT_PROMISED = {
    "html": bad.answer(b"<html>Welcome</html>", headers={"Content-Type": "text/html"}),
    "garbage": bad.raw(b"\x00\xff\xfe SSH-2.0\r\n\r\n"),
    "not_utf_8": bad.answer(b'{"a": "\xff"}'),
    "nan": bad.answer(b'{"a": NaN}'),
    "infinity": bad.answer(b'{"a": -Infinity}'),
    "twice": bad.answer(b'{"a": 1, "a": 2}'),
    "deep": bad.answer(DEEP),
    "very_deep": bad.answer(b"[" * 200_000),
    "digits": bad.answer(b"9" * 100_000),
    "cut_json": bad.answer(b'{"a": [1, 2'),
    "too_large": bad.answer(b'"' + b"x" * (10 << 20) + b'"'),
    "endless": bad.endless(),
    "bomb": bad.gzip_bomb(200_000_000),
    "not_gzip": bad.answer(b"{}", headers={"Content-Encoding": "gzip"}),
    "reset": bad.reset,
    "hang_up": bad.hang_up,
    "cut_off": bad.answer({"a": 1}, length=500),
    "cut_chunk": bad.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}   \r\nff\r\nx"),
    "long_header": bad.raw(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n{}"),
    "many_headers": bad.raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n{}"),
    "bad_length": bad.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n{}"),
}


@pytest.mark.parametrize("name", NOT_PROMISED)
def test_what_was_not_promised_may_hide_work(upstream: BadServer, name: str) -> None:
    upstream.will(NOT_PROMISED[name])
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = failure(upstream.url)
    assert error.is_unknown
    assert (error.http_status, error.code, error.may_try_again) == (502, "upstream_error", False)
    assert len(upstream.seen) == 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 60 * 1024


def test_depth_32_and_big_numbers_are_read(upstream: BadServer) -> None:
    upstream.will(bad.answer(DEEP[5:-1]), bad.answer(b"[1e999, 1" + b"0" * 40 + b"]"))
    assert post(upstream.url).body
    assert post(upstream.url).body[1] == 10**40


SLOW = {
    "silence": bad.silence(5),
    "slow_headers": bad.drip(b"HTTP/1.1 200 OK\r\n" + b"X-Slow: 1\r\n" * 90 + b"\r\n{}"),
    "slow_body": bad.drip(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n" + b" " * 900, every_seconds=0.01),
    "slow_chunks": bad.drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 200),
    "continue": bad.drip(b"HTTP/1.1 100 Continue\r\n\r\n" * 100, every_seconds=0.01),
}


@pytest.mark.parametrize("name", SLOW)
def test_the_total_deadline_holds_whatever_drips(upstream: BadServer, name: str) -> None:
    upstream.will(SLOW[name])
    began_at = time.monotonic()
    error = failure(upstream.url, total_seconds=0.7)
    assert time.monotonic() - began_at < 6  # each drips for longer
    assert type(error) is errors.OutcomeTimedOut
    assert (error.http_status, error.code, error.is_unknown) == (504, "upstream_timeout", True)


def test_a_read_times_out_before_the_total(upstream: BadServer) -> None:
    upstream.will(bad.silence(20))
    began_at = time.monotonic()
    assert type(failure(upstream.url, read_seconds=0.3)) is errors.OutcomeTimedOut
    assert time.monotonic() - began_at < 10
    assert len(upstream.seen) == 1


def test_a_deadline_that_is_over_sends_nothing(upstream: BadServer) -> None:
    upstream.will(bad.answer({}))
    assert type(failure(upstream.url, total_seconds=0)) is errors.NotAccepted
    assert upstream.seen == []


# --- 3xx ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_a_redirect_is_a_protocol_error_and_never_followed(upstream: BadServer, status: int) -> None:
    upstream.will(bad.answer(b"x" * 100, status, {"Location": f"{upstream.url}/elsewhere"}))
    error = failure(upstream.url, secrets={"x-goog-api-key": KEY})
    assert type(error) is errors.NothingMade
    assert not error.is_unknown
    assert [seen.path for seen in upstream.seen] == ["/v1/things"]


def test_a_redirect_to_nonsense(upstream: BadServer) -> None:
    upstream.will(bad.answer(b"", 302, {"Location": "http://[::bad"}))
    assert type(failure(upstream.url)) is errors.NothingMade


# --- what we send --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["a b", "a\r\nX-Evil: 1", "", "é", "x" * 129, "a\0"])
def test_a_header_value_is_one_plain_word(upstream: BadServer, value: str) -> None:
    error = failure(upstream.url, headers={"X-User-Id": value})
    assert not error.is_unknown
    assert upstream.connections == 0


@pytest.mark.parametrize("value", ["a b", "a\nb", "ключ", "x" * 4097])
def test_a_malformed_key_is_the_credentials_fault(upstream: BadServer, value: str) -> None:
    assert type(failure(upstream.url, bearer=value)) is errors.CredentialRefused
    assert type(failure(upstream.url, secrets={"x-goog-api-key": value})) is errors.CredentialRefused
    assert upstream.connections == 0


def test_the_environment_is_not_asked(upstream: BadServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login evil password evil\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    upstream.will(bad.answer({"ok": 1}))
    assert post(upstream.url, bearer="").body == {"ok": 1}
    assert "authorization" not in upstream.seen[0].headers


def test_a_cookie_is_not_kept(upstream: BadServer) -> None:
    upstream.will(bad.answer({}, headers={"Set-Cookie": "session=1; Path=/"}))
    post(upstream.url)
    post(upstream.url)
    assert "cookie" not in upstream.seen[1].headers


def test_keys_and_queries_are_in_no_text_and_no_log(upstream: BadServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(errors.NotAccepted) as caught:
        http.call("POST", f"{url}/x?signature=hush", bearer=KEY, max_tries=1)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    request = http.Request("POST", f"{url}/x?signature=hush", {}, bearer=KEY, secrets={"x-api-key": KEY}, payload={"k": KEY})
    texts = f"{request!r} {caught.value!r} {caught.value} {caught.value.details} {caplog.text}"
    assert KEY not in texts and "hush" not in texts


@pytest.mark.parametrize(
    ("base", "segments", "url"),
    [
        ("http://a.test", ("v1", "x"), "http://a.test/v1/x"),
        ("http://a.test:81/base/", ("v1",), "http://a.test:81/base/v1"),
        ("http://a.test", ("@evil.test", "x"), "http://a.test/%40evil.test/x"),
        ("http://a.test", ("a/../../b?c#d",), "http://a.test/a%2F..%2F..%2Fb%3Fc%23d"),
        ("http://a.test/v1beta", ("models", "gemini-2:generateContent"), "http://a.test/v1beta/models/gemini-2:generateContent"),
    ],
)
def test_urls_are_joined_by_a_parser(base: str, segments: tuple[str, ...], url: str) -> None:
    assert http.join(base, *segments) == url


@pytest.mark.parametrize(
    "base",
    [
        *("", "a.test", "ftp://a.test", "http://", "http://u:p@a.test", "http://a.test?x=1", "http://a.test#x"),
        *("http://a.test:0", "http://a.test:99999", "http://[::1", "http://a.test\\@b.test", "http://a test"),
        *("file:///etc/passwd", "http://é.test"),
    ],
)
def test_a_base_that_is_no_url(base: str) -> None:
    with pytest.raises(NotConfigured):
        http.join(base, "x")


@pytest.mark.parametrize("segment", ["..", ".", ""])
def test_a_path_cannot_climb(segment: str) -> None:
    with pytest.raises(errors.UpstreamError):
        http.join("http://a.test/v1", segment, "x")


def test_names_are_looked_up_once_and_in_time() -> None:
    assert "127.0.0.1" in resolve_anywhere("localhost", 80, 2)
    assert resolve_anywhere("[::1]", 80, 2) == ["::1"]
    for name in ("no-such-host.invalid", "a" * 64 + ".test", "a..b"):
        with pytest.raises(OSError):
            resolve_anywhere(name, 80, 2)
