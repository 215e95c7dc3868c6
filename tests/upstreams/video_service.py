"""An upstream that makes videos, as OpenAI's API and as Veo do: a small HTTP server, in memory, that can be slow or silent."""

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class VideoService:
    """`created` are the bodies of every job that was handed over, `asked_for` the paths at which jobs were asked for.

    A job is done `make_seconds` after it was handed over; where that is None, all are done when `is_done` is set.
    """

    def __init__(self, film: Path) -> None:
        self.film = film.read_bytes()
        self.created: list[dict[str, Any]] = []
        self.keys: list[str] = []  # their Idempotency-Keys
        self.traceparents: list[str] = []
        self.accepted_at: list[float] = []
        self.lock = threading.Lock()
        self.make_seconds: float | None = None
        self.asked_for: list[str] = []
        self.is_done = threading.Event()
        self.is_failed = False
        self.silent_seconds = 0.0  # between taking a job and saying so
        self.speaks = threading.Event()
        self.server = _Server(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def accept(self, body: dict[str, Any], key: str) -> str:
        """The id of a new job."""
        with self.lock:
            self.created.append(body)
            self.keys.append(key)
            self.accepted_at.append(time.monotonic())
            return f"video_{len(self.created)}"

    def has_made(self, video_id: str) -> bool:
        if self.make_seconds is None:
            return self.is_done.is_set()
        return time.monotonic() - self.accepted_at[int(video_id.partition("_")[2]) - 1] >= self.make_seconds

    @property
    def asked(self) -> int:
        return len(self.asked_for)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def stop(self) -> None:
        self.speaks.set()
        self.server.shutdown()
        self.server.server_close()


class _Server(ThreadingHTTPServer):
    request_queue_size = 1024  # as many at once as a test wants


def _handler(service: VideoService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            service.traceparents.append(self.headers["traceparent"] or "")
            video_id = service.accept(json.loads(body), self.headers["Idempotency-Key"] or "")
            service.speaks.wait(service.silent_seconds)
            if self.path.endswith(":predictLongRunning"):
                model = self.path.rpartition("/")[2].partition(":")[0]
                return self.answer({"name": f"models/{model}/operations/{video_id}"})
            return self.answer({"id": video_id, "object": "video", "status": "queued"})

        def do_GET(self) -> None:
            if self.path.endswith(("/content", ":download")):
                return self.send("video/mp4", service.film)
            if self.path.endswith("/models"):  # a probe
                return self.answer({"data": [], "models": []})
            service.asked_for.append(self.path)
            video_id = self.path.rpartition("/")[2]
            if "/operations/" in self.path:
                return self.answer(self.operation(video_id))
            status = ("failed" if service.is_failed else "completed") if service.has_made(video_id) else "in_progress"
            return self.answer({"id": video_id, "object": "video", "status": status, "progress": 30})

        def operation(self, video_id: str) -> dict[str, Any]:
            if not service.has_made(video_id):
                return {"name": self.path}
            uri = f"{service.url}/v1beta/files/{video_id}:download"
            made = {"generateVideoResponse": {"generatedSamples": [{"video": {"uri": uri}}]}}
            return {"name": self.path, "done": True} | ({"error": {"code": 13}} if service.is_failed else {"response": made})

        def answer(self, body: Any) -> None:
            self.send("application/json", json.dumps(body).encode())

        def send(self, content_type: str, data: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(data)))
            with contextlib.suppress(ConnectionError):  # who asked may have been killed
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, *_arguments: Any) -> None:
            """Quiet."""

    return Handler
