"""Fetching what others name, from servers that mean no good."""

import base64
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway_client import fetch as fetching
from gateway_client.addresses import Rules, parse_allowed
from gateway_client.errors import NotFetched, ReferenceImageUnusable, Unusable
from gateway_client.fetch import IMAGE_TYPES, fetch, load_reference_image, parse_data_uri, sniff
from tests.gateway_client import bad_server as bad
from tests.gateway_client.bad_server import BadServer

LOOPBACK = Rules((parse_allowed("127.0.0.1"),))


def get(url: str, folder: Path, **options: Any) -> fetching.Fetched:
    return fetch(url, **({"rules": LOOPBACK, "directory": folder, "tries": 1, "total_seconds": 5} | options))


def test_a_picture_arrives(upstream: BadServer, tmp_path: Path) -> None:
    upstream.will(bad.media(bad.PNG, "text/html"))
    fetched = get(f"{upstream.url}/a.png?sign=1", tmp_path)
    assert (fetched.content_type, fetched.size_bytes) == ("image/png", len(bad.PNG))
    assert fetched.path.read_bytes() == bad.PNG
    assert upstream.seen[0].path == "/a.png?sign=1"
    assert upstream.seen[0].headers["host"] == f"127.0.0.1:{upstream.port}"
    assert "authorization" not in upstream.seen[0].headers


@pytest.mark.parametrize(
    ("head", "content_type"),
    [
        (bad.PNG, "image/png"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "image/jpeg"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"),
        (b"GIF89a\1\0\1\0", "image/gif"),
        (bad.MP4, "video/mp4"),
        (b"\x1a\x45\xdf\xa3\x01\0\0\0", "video/webm"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", ""),
        (b"RIFF\x10\0\0\0WAVEfmt ", ""),
        (b"<svg onload=alert(1)>", ""),
        (b"<html>", ""),
        (b"", ""),
    ],
)
def test_a_files_own_bytes_tell_its_type(head: bytes, content_type: str) -> None:
    assert sniff(head) == content_type


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_unusable_and_its_target_never_asked(
    upstream: BadServer, start_server: Callable[..., BadServer], tmp_path: Path, status: int
) -> None:
    hidden = start_server().will(bad.media(bad.PNG))
    upstream.will(bad.answer(b"", status, {"Location": f"{hidden.url}/x"}))
    with pytest.raises(Unusable) as caught:
        get(upstream.url + "/x", tmp_path, tries=3)
    assert not caught.value.is_unknown
    assert (len(upstream.seen), hidden.connections) == (1, 0)


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/x", "javascript:1", "", "data:image/png;base64,AAAA", "http://u@127.0.0.1/", "/etc/passwd"]
)
def test_what_is_no_http_url_is_unusable(url: str, tmp_path: Path) -> None:
    with pytest.raises(Unusable):
        get(url, tmp_path)


def test_a_forbidden_address_is_unusable_and_never_connected_to(upstream: BadServer, tmp_path: Path) -> None:
    for host in ("127.0.0.1", "localhost", "[::1]", "0.0.0.0"):
        with pytest.raises(Unusable) as caught:
            get(f"http://{host}:{upstream.port}/x", tmp_path, rules=Rules())
        assert not caught.value.is_unknown
    assert upstream.connections == 0


def test_a_name_server_that_changes_its_answer_gains_nothing(upstream: BadServer, tmp_path: Path) -> None:
    """The check and the connection use one and the same answer."""
    answers = [["8.8.8.8"], ["127.0.0.1"]]
    rules = Rules(resolve=lambda *_: answers.pop(0))
    url = f"http://rebinding.test:{upstream.port}/x"
    rules.check(url)  # when the URL came in it was public
    with pytest.raises(Unusable):
        get(url, tmp_path, rules=rules)  # when it is fetched it no longer is
    assert upstream.connections == 0


def test_the_name_is_asked_once_and_told_to_the_host(upstream: BadServer, tmp_path: Path) -> None:
    asked: list[str] = []

    def resolve(host: str, port: int, seconds: float) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    upstream.will(bad.media(bad.PNG))
    get(f"http://pinned.test:{upstream.port}/x", tmp_path, rules=Rules(LOOPBACK.allowed, resolve))
    assert asked == ["pinned.test"]
    assert upstream.seen[0].headers["host"] == f"pinned.test:{upstream.port}"


NOT_FETCHED = {
    "404": bad.answer({}, 404),
    "403": bad.answer({}, 403),
    "429": bad.answer({}, 429),
    "500": bad.answer({}, 500),
    "html": bad.answer(b"<html>Sorry</html>"),
    "empty": bad.answer(b""),
    "cut_off": bad.answer(bad.PNG, length=5000),
    "over_the_cap": bad.answer(bad.PNG + b"\0" * 5000),
    "endless": bad.endless(bad.PNG * 100),
    "bomb": bad.gzip_bomb(50_000_000),
    "reset": bad.reset,
    "drip": bad.drip(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" + b"\0" * 999, every_seconds=0.02),
    "silence": bad.silence(20),
}


@pytest.mark.parametrize("name", NOT_FETCHED)
def test_what_cannot_be_fetched_is_unknown_and_leaves_no_file(upstream: BadServer, tmp_path: Path, name: str) -> None:
    upstream.will(NOT_FETCHED[name])
    began_at = time.monotonic()
    with pytest.raises(NotFetched) as caught:
        get(upstream.url + "/x", tmp_path, max_bytes=4000, total_seconds=0.8)
    assert time.monotonic() - began_at < 10  # each of them lasts longer
    assert caught.value.is_unknown
    assert not list(tmp_path.iterdir())


def test_a_fetch_is_tried_again(upstream: BadServer, tmp_path: Path) -> None:
    upstream.will(bad.answer({}, 404), bad.answer(b"<html>"), bad.media(bad.MP4))
    assert get(upstream.url, tmp_path, tries=3).content_type == "video/mp4"
    assert len(upstream.seen) == 3


def test_a_video_is_no_image(upstream: BadServer, tmp_path: Path) -> None:
    upstream.will(bad.media(bad.MP4))
    with pytest.raises(NotFetched):
        get(upstream.url, tmp_path, types=IMAGE_TYPES)


# --- reference images -----------------------------------------------------------------------------------------------


def data_uri(data: bytes, content_type: str = "image/png") -> str:
    return f"data:{content_type};base64,{base64.b64encode(data).decode()}"


def test_a_data_uri_is_what_its_bytes_are() -> None:
    image = parse_data_uri(data_uri(bad.PNG, "image/jpeg"))
    assert (image.data, image.content_type) == (bad.PNG, "image/png")


@pytest.mark.parametrize(
    "text",
    [
        "data:",
        "data:image/png;base64,",
        "data:image/png;base64,%%%%",
        "data:image/png;base64,AAA",
        "data:image/png,AAAA",
        "data:image/svg+xml;base64,PHN2Zz4=",
        "data:text/html;base64,PGh0bWw+",
        data_uri(b"<svg onload=alert(1)>"),
        data_uri(bad.MP4),
        data_uri(bad.PNG + b"\0" * (10 << 20)),
    ],
)
def test_a_data_uri_that_holds_no_image(text: str) -> None:
    with pytest.raises(ReferenceImageUnusable) as caught:
        parse_data_uri(text)
    assert (caught.value.http_status, caught.value.code) == (400, "invalid_request")


@pytest.mark.parametrize("url", ["http://127.0.0.1/x", "http://no-such-host.invalid/x", "file:///etc/passwd", "", "x"])
def test_a_reference_image_that_leads_nowhere(url: str) -> None:
    with pytest.raises(ReferenceImageUnusable):
        load_reference_image(url, rules=Rules())


def test_a_reference_image_does_not_tell_which_names_there_are(upstream: BadServer) -> None:
    """Also where the name has led to a public address when the request came in, and leads elsewhere now."""
    told = []
    for url in (upstream.url + "/x.png", "http://no-such-host.invalid/x.png"):
        with pytest.raises(ReferenceImageUnusable) as caught:
            load_reference_image(url, rules=Rules())
        told.append(caught.value.details)
    assert told[0] == told[1]
    assert upstream.connections == 0


def test_a_reference_image_is_loaded(upstream: BadServer) -> None:
    upstream.will(bad.media(bad.PNG))
    assert load_reference_image(upstream.url + "/x.png", rules=LOOPBACK).data == bad.PNG
    assert load_reference_image(data_uri(bad.PNG)).content_type == "image/png"


@pytest.mark.parametrize("behaviour", [bad.answer({}, 404), bad.media(bad.MP4), bad.answer({}, 302, {"Location": "/y"})])
def test_a_reference_image_that_cannot_be_had_is_the_callers_fault(upstream: BadServer, behaviour: bad.Behaviour) -> None:
    upstream.will(behaviour)
    with pytest.raises(ReferenceImageUnusable) as caught:
        load_reference_image(upstream.url, rules=LOOPBACK)
    assert not caught.value.is_unknown
