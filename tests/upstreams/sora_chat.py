"""The Sora service's `/v1` as it really answers (read from its code): length, shape and size are in the model's name.

* Without `stream: true` it only says whether it is available: 200, and nothing is made.
* Whatever goes wrong before the stream begins is a 500 of one shape, a model that it does not know too.
* What goes wrong later is an event with an `error` in a stream that answered 200.
* It reads images from data URIs alone; an http URL is ignored.
"""

import base64
import binascii
import json
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sora-planted-key"
IMAGE_MODELS = ("gpt-image", "gpt-image-landscape", "gpt-image-portrait")
VIDEO_MODELS = tuple(
    f"{kind}-{shape}-{seconds}s"
    for kind, lengths in (("sora2", (10, 15, 25)), ("sora2pro", (10, 15, 25)), ("sora2pro-hd", (10, 15)))
    for shape in ("landscape", "portrait")
    for seconds in lengths
)
AVAILABLE = "All tokens available for video generation. Please enable streaming to use the generation feature."


@dataclass(frozen=True)
class Made:
    model: str
    prompt: str
    image: bytes  # the reference image that it could read


class SoraChat:
    """The service on loopback. What it made is in `made`, every body that it was sent in `asked`."""

    def __init__(self, *, video: bytes, image: bytes) -> None:
        self.media = {"/tmp/video.mp4": ("video/mp4", video), "/tmp/image.png": ("image/png", image)}
        self.made: list[Made] = []
        self.asked: list[dict[str, Any]] = []
        self.fails_with = ""  # an error inside the stream
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def result(self, model: str) -> str:
        if model in IMAGE_MODELS:
            return f"![Generated Image]({self.url}/tmp/image.png)"
        return f"```html\n<video src='{self.url}/tmp/video.mp4' controls></video>\n```"


def _handler(service: SoraChat) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/v1/models":
                models = [{"id": name, "object": "model", "owned_by": "sora2api"} for name in IMAGE_MODELS + VIDEO_MODELS]
                return self.answer(200, {"object": "list", "data": models})
            content_type, data = service.media.get(self.path, ("", b""))
            return self.send(200, content_type, data) if data else self.answer(404, {"detail": "Not Found"})

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            scheme, _, key = self.headers.get("Authorization", "").partition(" ")
            if scheme != "Bearer":
                return self.answer(403, {"detail": "Not authenticated"})
            if key != KEY:
                return self.answer(401, {"detail": "Invalid API key"})
            body = json.loads(raw)
            service.asked.append(body)
            model = body.get("model")
            if model not in IMAGE_MODELS + VIDEO_MODELS:
                return self.answer(500, {"error": _error(f"400: Invalid model: {model}")})
            if not body.get("stream"):
                return self.answer(200, _completion(AVAILABLE))
            return self.stream(body)

        def stream(self, body: dict[str, Any]) -> None:
            prompt, image = _read(body["messages"][-1]["content"])
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self.event(_chunk(role="assistant", reasoning_content="**Generation Process Begins**\n\nInitializing...\n"))
            self.event(_chunk(reasoning_content="**Video Generation Progress**: 45% (processing)\n"))
            if service.fails_with:
                self.event({"error": _error(service.fails_with)})
            else:
                service.made.append(Made(body["model"], prompt, image))
                self.event(_chunk("STOP", content=service.result(body["model"])))
            self.wfile.write(b"data: [DONE]\n\n")

        def event(self, data: Any) -> None:
            self.wfile.write(f"data: {json.dumps(data)}\n\n".encode())

        def answer(self, status: int, body: Any) -> None:
            self.send(status, "application/json", json.dumps(body).encode())

        def send(self, status: int, content_type: str, data: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_arguments: Any) -> None:
            """Quiet."""

    return Handler


def _read(content: Any) -> tuple[str, bytes]:
    """The prompt and the image of a message."""
    if isinstance(content, str):
        return content, b""
    prompt, image = "", b""
    for part in content:
        if part.get("type") == "text":
            prompt = part["text"]
        elif part.get("type") == "image_url" and part["image_url"]["url"].startswith("data:image"):
            try:
                image = base64.b64decode(part["image_url"]["url"].split("base64,", 1)[1], validate=True)
            except (IndexError, binascii.Error):
                image = b""
    return prompt, image


def _error(message: str) -> dict[str, Any]:
    return {"message": message, "type": "server_error", "param": None, "code": None}


def _chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": "sora",
        "choices": [
            {
                "index": 0,
                "delta": {"content": None, "reasoning_content": None, "tool_calls": None} | delta,
                "finish_reason": finish,
                "native_finish_reason": finish,
            }
        ],
        "usage": {"prompt_tokens": 0},
    }


def _completion(text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": "sora",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }
