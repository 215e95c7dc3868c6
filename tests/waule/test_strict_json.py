"""Bodies as the contract takes them, sent over the wire to a real server: what is refused, and how it is told."""

import http.client
import json
import socket
import uuid
from typing import Any

import pytest

from tests.live import LiveWaule
from tests.settings import INTERNAL_SECRET

CHARGE = "/internal/billing/charge"
UNKNOWN = str(uuid.UUID(int=7 << 76 | 2 << 62))
GOOD = {"targetType": "tenant", "targetId": UNKNOWN, "modelId": "m", "operation": "o"}
ESTIMATE = "/internal/billing/estimate"
MIB = 1 << 20


def send(waule: LiveWaule, body: bytes, content_type: str = "application/json", **headers: str) -> tuple[int, Any]:
    answer = waule.request(
        "POST",
        CHARGE,
        data=body,
        headers={"X-Internal-Secret": INTERNAL_SECRET, "Content-Type": content_type} | headers,
    )
    assert answer.headers["Content-Type"] == "application/json"
    told = answer.json()
    if answer.status_code >= 400:
        assert set(told) == {"success", "error", "code", "details", "requestId", "creditsCharged", "isFreeUsage"}
        assert (told["success"], told["creditsCharged"], told["isFreeUsage"]) == (False, 0, False)
        assert told["requestId"] == answer.headers["X-Request-Id"]
    return answer.status_code, told["code"]


def raw(waule: LiveWaule, request: bytes, *, seconds: float = 20) -> tuple[int, bytes]:
    """What comes back for these very bytes: status and body. Sends, reads until the server closes."""
    with socket.create_connection(("127.0.0.1", int(waule.url.rpartition(":")[2])), timeout=seconds) as connection:
        connection.sendall(request)
        answer = b""
        while data := connection.recv(65536):
            answer += data
    head, _blank, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def head(*lines: str, method: str = "POST", path: str = CHARGE) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *lines, "", ""]).encode("latin-1")


def with_member(text: str) -> bytes:
    """A good body with one more member, in a field that nobody knows."""
    return json.dumps(GOOD).encode()[:-1] + b', "extra": ' + text.encode() + b"}"


def test_a_good_body_gets_as_far_as_its_unknown_target(standing_waule: LiveWaule) -> None:
    assert send(standing_waule, json.dumps(GOOD).encode()) == (404, "target_not_found")
    assert send(standing_waule, with_member('{"unknown": [1, 2.5, null, "é 😀 \\ud83d\\ude00"]}')) == (404, "target_not_found")


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        "Infinity",
        "-Infinity",
        "[" * 32 + "]" * 32,
        '{"a":' * 32 + "1" + "}" * 32,
        "[" * 100_000 + "]" * 100_000,
        '{"a":' * 100_000 + "1" + "}" * 100_000,
        '{"a": 1, "a": 2}',
        '{"a": 1, "\\u0061": 1}',
        "tru",
        "01",
        "'a'",
        "[1,]",
        '"\t"',
        '"\\x"',
    ],
)
def test_what_is_not_this_house_s_json_is_invalid_anywhere(standing_waule: LiveWaule, text: str) -> None:
    assert send(standing_waule, with_member(text)) == (400, "invalid_json")


@pytest.mark.parametrize(
    "text",
    [
        str(2**63),
        str(-(2**63) - 1),
        "9" * 5000,
        "1e999",
        '"\\u0000"',
        '"\\ud800"',
        '"\\udc00\\ud800"',
        '{"\\u0000": 1}',
        '[[{"a": ["\\udfff"]}]]',
    ],
)
def test_values_that_no_column_could_hold_are_refused_anywhere(standing_waule: LiveWaule, text: str) -> None:
    assert send(standing_waule, with_member(text)) == (400, "invalid_request")


def test_the_edges_of_what_is_allowed(standing_waule: LiveWaule) -> None:
    for text in (str(2**63 - 1), str(-(2**63)), "[" * 31 + "]" * 31, "1e308", "-0"):
        assert send(standing_waule, with_member(text)) == (404, "target_not_found"), text


@pytest.mark.parametrize(
    "body", [b"", b"   ", b"null", b"[]", b'"text"', b"7", b"\xff", b'{"a": "\xff"}', b"\xef\xbb\xbf{}", b"{} {}"]
)
def test_bodies_that_are_no_object(standing_waule: LiveWaule, body: bytes) -> None:
    status, code = send(standing_waule, body)
    assert status == 400
    assert code in {"invalid_json", "invalid_request"}


@pytest.mark.parametrize("quantity", [True, "1", 1.0, 5.0, "5", 1.5, 0, -1, 1001, [1], {}])
def test_an_integer_is_a_json_integer_within_its_bounds(standing_waule: LiveWaule, quantity: Any) -> None:
    assert send(standing_waule, json.dumps(GOOD | {"quantity": quantity}).encode()) == (400, "invalid_request")


def test_a_number_with_an_exponent_is_no_integer(standing_waule: LiveWaule) -> None:
    for text in (b"1e2", b"1E2", b"5.0", b"1e0"):
        body = json.dumps(GOOD).encode()[:-1] + b', "quantity": ' + text + b"}"
        assert send(standing_waule, body) == (400, "invalid_request"), text


def test_null_in_an_optional_field_is_the_same_as_leaving_it_out(standing_waule: LiveWaule) -> None:
    assert send(standing_waule, json.dumps(GOOD | {"quantity": None, "duration": None}).encode()) == (404, "target_not_found")


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/json", 404),
        ("application/json; charset=utf-8", 404),
        ('application/json; charset="UTF-8"', 404),
        ("APPLICATION/JSON", 404),
        ("application/json; charset=latin-1", 415),
        ("application/json;charset=gb18030", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/xml", 415),
        ("", 415),
    ],
)
def test_only_json_in_utf_8_is_read(standing_waule: LiveWaule, content_type: str, expected: int) -> None:
    status, code = send(standing_waule, json.dumps(GOOD).encode(), content_type)
    assert (status, code) == (expected, {404: "target_not_found", 415: "unsupported_media_type"}[expected])


def test_a_body_of_a_mebibyte_is_read_and_a_byte_more_is_not(standing_waule: LiveWaule) -> None:
    body = json.dumps(GOOD).encode()
    assert send(standing_waule, body + b" " * (MIB - len(body))) == (404, "target_not_found")
    assert send(standing_waule, body + b" " * (MIB - len(body) + 1)) == (413, "too_large")
    assert send(standing_waule, with_member('"' + "x" * (5 * MIB) + '"')) == (413, "too_large")


def test_a_body_in_chunks_is_read_as_any_other_and_capped_alike(standing_waule: LiveWaule) -> None:
    def in_pieces(body: bytes) -> Any:
        return (body[start : start + 50_000] for start in range(0, len(body), 50_000))

    body = json.dumps(GOOD).encode()
    assert send(standing_waule, in_pieces(body)) == (404, "target_not_found")
    assert send(standing_waule, in_pieces(body + b" " * (MIB - len(body)))) == (404, "target_not_found")
    assert send(standing_waule, in_pieces(body + b" " * MIB)) == (413, "too_large")
    assert send(standing_waule, in_pieces(b"")) == (400, "invalid_request")


def test_chunks_without_end_are_cut_off(standing_waule: LiveWaule) -> None:
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    lines = head(f"X-Internal-Secret: {INTERNAL_SECRET}", "Content-Type: application/json", "Transfer-Encoding: chunked")
    with socket.create_connection(("127.0.0.1", int(standing_waule.url.rpartition(":")[2])), timeout=30) as connection:
        connection.sendall(lines)
        sent = 0
        try:
            while sent < 200 * MIB:
                connection.sendall(piece)
                sent += len(piece)
        except OSError:
            pass  # it no longer listens
        assert sent < 200 * MIB


def test_a_body_shorter_or_longer_than_announced(standing_waule: LiveWaule) -> None:
    body = json.dumps(GOOD).encode()
    given = [f"X-Internal-Secret: {INTERNAL_SECRET}", "Content-Type: application/json"]
    status, _body = raw(standing_waule, head(*given, f"Content-Length: {len(body) - 5}") + body)
    assert status == 400
    with socket.create_connection(("127.0.0.1", int(standing_waule.url.rpartition(":")[2])), timeout=20) as connection:
        connection.sendall(head(*given, f"Content-Length: {len(body) + 5}") + body)
        connection.shutdown(socket.SHUT_WR)
        assert b'"code":"invalid_request"' in connection.recv(65536)
    assert standing_waule.get("/healthz").status_code == 200


@pytest.mark.parametrize("path", ["/internal/billing/charge", "/api/me", "/v1/models", "/nothing"])
def test_a_refusal_reads_the_body_so_that_the_connection_lives_on(standing_waule: LiveWaule, path: str) -> None:
    connection = http.client.HTTPConnection(standing_waule.url.removeprefix("http://"), timeout=20)
    connection.connect()
    connected = connection.sock
    for _time in range(20):
        connection.request("POST", path, body=json.dumps({"unread": "x" * 900_000}), headers={"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status in (401, 404)
        assert connection.sock is connected
    connection.close()


def test_headers_given_twice_are_refused(standing_waule: LiveWaule) -> None:
    body = json.dumps(GOOD).encode()
    given = ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    secret = f"X-Internal-Secret: {INTERNAL_SECRET}"
    twice = raw(standing_waule, head(*given, secret, secret) + body)
    assert (twice[0], json.loads(twice[1])["code"]) == (401, "unauthorized")
    wrong_first = raw(standing_waule, head(*given, "X-Internal-Secret: wrong", secret) + body)
    assert (wrong_first[0], json.loads(wrong_first[1])["code"]) == (401, "unauthorized")
    key_twice = raw(standing_waule, head(*given, secret, "Idempotency-Key: a", "Idempotency-Key: a") + body)
    assert (key_twice[0], json.loads(key_twice[1])["code"]) == (400, "invalid_request")
    lengths = raw(standing_waule, head(*given, secret, "Content-Length: 5") + body)
    assert lengths[0] == 400


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "caf\u00e9", "a\tb"])
def test_an_idempotency_key_is_printable_ascii_of_bounded_length(standing_waule: LiveWaule, key: str) -> None:
    lines = head(
        f"X-Internal-Secret: {INTERNAL_SECRET}",
        "Content-Type: application/json",
        f"Idempotency-Key: {key}",
        f"Content-Length: {len(json.dumps(GOOD))}",
    )
    status, body = raw(standing_waule, lines + json.dumps(GOOD).encode())
    assert (status, json.loads(body)["code"]) == (400, "invalid_request")


def test_every_printable_character_may_be_in_an_idempotency_key(standing_waule: LiveWaule) -> None:
    key = "".join(map(chr, range(33, 127))) + " ~"
    assert send(standing_waule, json.dumps(GOOD).encode(), **{"Idempotency-Key": key}) == (404, "target_not_found")


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "FROBNICATE"])
def test_another_method_is_405_in_the_one_error_shape(standing_waule: LiveWaule, method: str) -> None:
    status, answer = standing_waule.internal(method, CHARGE)
    assert (status, answer["code"], answer["success"]) == (405, "method_not_allowed", False)


def test_head_answers_without_a_body(standing_waule: LiveWaule) -> None:
    answer = standing_waule.request("HEAD", "/healthz")
    assert (answer.status_code, answer.content) == (200, b"")


def test_no_path_redirects_or_ends_in_a_slash(standing_waule: LiveWaule) -> None:
    status, answer = standing_waule.internal("POST", f"{CHARGE}/", GOOD)
    assert (status, answer["code"]) == (404, "not_found")
