"""A gateway that really answers, fails or stalls, and serves its pictures."""

import io
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image


def a_picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "PNG")
    return file.getvalue()


class Gateway:
    """A gateway on loopback: `answer` says what it does with a request; what came is in `asked`."""

    def __init__(self) -> None:
        self.asked: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.answer: Callable[[dict[str, str], dict[str, Any]], tuple[int, Any]] = lambda headers, body: (500, {})
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.startswith("/picture"):
                    self.reply(200, a_picture(), "image/png")
                elif self.path.startswith("/moved"):
                    self.send_response(302)
                    self.send_header("Location", "/picture")
                    self.end_headers()
                else:
                    self.reply(404, b"gone", "text/plain")

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                headers = dict(self.headers)
                gateway.asked.append((headers, body))
                status, answer = gateway.answer(headers, body)
                if status:
                    self.reply(status, json.dumps(answer).encode(), "application/json")
                else:
                    self.close_connection = True

            def reply(self, status: int, data: bytes, content_type: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def pictures(self, *paths: str) -> tuple[int, Any]:
        return 200, {"created": 1, "data": [{"url": f"{self.url}{path}"} for path in paths]}

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
