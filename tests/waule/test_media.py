"""`/media/…`: whole files, ranges, and nothing that lies outside."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

BYTES = bytes(range(256)) * 10


@pytest.fixture
def get(settings: Any, tmp_path: Path) -> Any:
    root = tmp_path / "media"
    (root / "users" / "1").mkdir(parents=True)
    (root / ".incoming").mkdir()
    for name in ("a.png", "b.mp4", "c.html", ".hidden.png"):
        (root / "users" / "1" / name).write_bytes(BYTES)
    (root / ".incoming" / "d.png").write_bytes(BYTES)
    (tmp_path / "secret.png").write_bytes(BYTES)
    (root / "way-out.png").symlink_to(tmp_path / "secret.png")
    settings.MEDIA_ROOT = root
    client = Client()

    def ask(path: str, method: str = "get", **headers: str) -> tuple[int, Any, bytes]:
        response = getattr(client, method)(f"/media/{path}", headers=headers)
        body = b"".join(response.streaming_content) if response.streaming else response.content
        return response.status_code, response, body

    return ask


@pytest.mark.parametrize(
    ("path", "content_type", "disposition"),
    [
        ("users/1/a.png", "image/png", "inline"),
        ("users/1/b.mp4", "video/mp4", "inline"),
        ("users/1/c.html", "application/octet-stream", "attachment"),
    ],
)
def test_a_file_comes_with_its_own_type_and_no_other(get: Any, path: str, content_type: str, disposition: str) -> None:
    status, response, body = get(path)
    assert (status, body, response["Content-Length"]) == (200, BYTES, "2560")
    assert (response["Content-Type"], response["Content-Disposition"]) == (content_type, disposition)
    assert (response["X-Content-Type-Options"], response["Accept-Ranges"]) == ("nosniff", "bytes")
    assert "default-src 'none'" in response["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-9", 0, 9),
        ("bytes=2550-", 2550, 2559),
        ("bytes=-10", 2550, 2559),
        ("bytes=5-99999", 5, 2559),
        ("bytes=7-7", 7, 7),
    ],
)
def test_a_range_of_a_file(get: Any, asked: str, first: int, last: int) -> None:
    status, response, body = get("users/1/b.mp4", range=asked)
    assert (status, body) == (206, BYTES[first : last + 1])
    assert (response["Content-Range"], response["Content-Length"]) == (f"bytes {first}-{last}/2560", str(last - first + 1))


@pytest.mark.parametrize("asked", ["bytes=2560-", "bytes=9-5", "bytes=-0", "bytes=-"])
def test_a_range_that_is_none(get: Any, asked: str) -> None:
    status, response, body = get("users/1/b.mp4", range=asked)
    assert (status, body, response["Content-Range"]) == (416, b"", "bytes */2560")


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "lines=0-1", "nonsense"])
def test_what_is_no_single_range_gets_the_whole_file(get: Any, asked: str) -> None:
    assert get("users/1/b.mp4", range=asked)[0::2] == (200, BYTES)


def test_a_known_file_is_not_sent_again(get: Any) -> None:
    tag = get("users/1/a.png")[1]["ETag"]
    status, _response, body = get("users/1/a.png", if_none_match=tag)
    assert (status, body) == (304, b"")
    assert get("users/1/a.png", range="bytes=0-1", if_range=tag)[0] == 206
    assert get("users/1/a.png", range="bytes=0-1", if_range='"other"')[0] == 200


def test_head_tells_everything_but_the_bytes(get: Any) -> None:
    status, response, body = get("users/1/a.png", "head")
    assert (status, response["Content-Length"], body) == (200, "2560", b"")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path",
    [
        "users/1/none.png",
        "users/1",
        "",
        ".incoming/d.png",
        "users/1/.hidden.png",
        "../secret.png",
        "users/../../secret.png",
        "%2e%2e/secret.png",
        "..%2fsecret.png",
        "/etc/passwd",
        "way-out.png",
        "a%00b.png",
        "users\\..\\..\\secret.png",
        "x" * 5000,
    ],
)
def test_what_is_not_there_or_lies_outside(get: Any, path: str) -> None:
    assert get(path)[0] == 404


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_files_are_only_read(get: Any, method: str) -> None:
    assert get("users/1/a.png", method)[0] in (403, 405)
