"""A provider of videos that lies: it fails before or after it took an order, answers garbage, hangs up, or says nothing.

It knows the truth, which waule has to find out: what it took (`accepted`), and of whom it has said that nothing came of it.
"""

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MAKE_SECONDS = 1.5
SILENT_SECONDS = 20.0
GARBAGE = b"<html><body>502 Bad Gateway</body></html>"
BUSY = {"error": {"message": "busy", "type": "server_error", "code": "overloaded"}}
INVALID = {"error": {"message": "no such size", "type": "invalid_request_error", "code": "bad"}}
LIMITED = {"error": {"message": "slow down", "type": "rate_limit"}}


class LyingProvider:
    """Speaks OpenAI's video API. `lie` is one of the names in `schedule.LANES["provider"]`, or empty."""

    def __init__(self, film: bytes) -> None:
        self.film = film
        self.lie = ""
        self.lock = threading.Lock()
        self.accepted: dict[str, int] = {}  # Idempotency-Key, which is the generation's id -> how often it took it
        self.told_failed: set[str] = set()  # keys of which it has said that their video came to nothing
        self.lies = 0
        self._jobs: list[tuple[str, str, float]] = []  # key, fate, when it was taken
        self.server = _Server(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def accept(self, key: str, fate: str) -> str:
        with self.lock:
            self.accepted[key] = self.accepted.get(key, 0) + 1
            self._jobs.append((key, fate, time.monotonic()))
            return f"video_{len(self._jobs)}"

    def status(self, video_id: str) -> str:
        key, fate, taken_at = self._jobs[int(video_id.removeprefix("video_")) - 1]
        if time.monotonic() - taken_at < MAKE_SECONDS:
            return "in_progress"
        if fate == "fails":
            with self.lock:
                self.told_failed.add(key)
            return "failed"
        return "completed"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Server(ThreadingHTTPServer):
    request_queue_size = 256


def _handler(provider: LyingProvider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            key, lie = self.headers["Idempotency-Key"], provider.lie
            rejections = {"reject": (400, INVALID), "fail_before": (503, BUSY), "limit": (429, LIMITED)}
            if lie in rejections:
                provider.lies += 1
                return self.answer(*rejections[lie])
            video_id = provider.accept(key, body["prompt"])
            if not self.lies(lie):
                self.answer(200, {"id": video_id, "object": "video", "status": "queued"})
            return None

        def do_GET(self) -> None:
            is_content = self.path.endswith("/content")
            if is_content and provider.lie == "spoil_content":
                provider.lies += 1
                return self.send(200, "video/mp4", b"not a film at all")
            if self.lies(provider.lie):
                return None
            if is_content:
                return self.send(200, "video/mp4", provider.film)
            video_id = self.path.rpartition("/")[2]
            if not video_id.startswith("video_"):
                return self.answer(200, {"object": "list", "data": []})  # a health probe asks for its models
            status = provider.status(video_id)
            return self.answer(200, {"id": video_id, "object": "video", "status": status, "progress": 30})

        def lies(self, lie: str) -> bool:
            """Whether it lied instead of answering. What it was asked for it has done before."""
            if lie == "fail_after":
                self.send(500, "text/html", GARBAGE)
            elif lie == "answer_garbage":
                self.send(200, "text/html", GARBAGE)
            elif lie == "hang_up":
                self.close_connection = True
            elif lie == "say_nothing":
                deadline = time.monotonic() + SILENT_SECONDS
                while provider.lie == "say_nothing" and time.monotonic() < deadline:
                    time.sleep(0.1)
                self.close_connection = True
            else:
                return False
            provider.lies += 1
            return True

        def answer(self, status: int, body: Any) -> None:
            self.send(status, "application/json", json.dumps(body).encode())

        def send(self, status: int, content_type: str, data: bytes) -> None:
            with contextlib.suppress(ConnectionError):  # who asked may have been killed
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(data)))
                if status == 429:
                    self.send_header("Retry-After", "1")
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, *_arguments: Any) -> None:
            """Quiet."""

    return Handler
