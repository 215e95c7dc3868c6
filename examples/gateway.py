"""An example of the gateway that waule speaks to in gateway mode. It draws its pictures itself.

    INTERNAL_SECRET=… JWT_SECRET=… python examples/gateway.py --waule http://127.0.0.1:3000

It needs nothing but Python, keeps everything in memory, and is there to try gateway mode with and to show the wire
format (docs/gateway.md). A prompt with one of these words in it rehearses a failure: `!refuse` (the content filter),
`!limit` (429), `!fail` (500), `!hang-up` (the connection is cut), `!html` (200, but a page), `!empty` (200 without a
result), `!odd-credits` (a nonsensical price).
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import re
import secrets
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from drawing import mp4, png

MAX_BODY_BYTES = 32 << 20
MAX_KEPT = 200  # results and answers
CHARGE_SECONDS = 30


class Refusal(Exception):
    """An answer that is an error: its status, and its type for machines."""

    def __init__(self, status: int, message: str, kind: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.kind, self.headers = status, message, kind, headers or {}


class Gateway(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__((options.host, options.port), Handler)
        self.options = options
        self.url = options.public_url or f"http://{options.host}:{self.server_port}"
        self.media: dict[str, tuple[str, bytes]] = {}
        self.answers: dict[str, tuple[bytes, Any]] = {}  # by idempotency key: the request, and what was answered
        self.lock = threading.Lock()

    def keep(self, content_type: str, data: bytes) -> str:
        """The URL under which `data` is served from now on."""
        name = f"{secrets.token_urlsafe(12)}.{content_type.partition('/')[2]}"
        with self.lock:
            while len(self.media) >= MAX_KEPT:
                self.media.pop(next(iter(self.media)))
            self.media[name] = (content_type, data)
        return f"{self.url}/media/{name}"

    def is_known(self, token: str) -> bool:
        """Whether a bearer token is INTERNAL_JWT, or was signed with JWT_SECRET and has not run out."""
        if self.options.internal_jwt:
            return hmac.compare_digest(token.encode(), self.options.internal_jwt.encode())
        try:
            signed, _, signature = token.rpartition(".")
            expected = hmac.new(self.options.jwt_secret.encode(), signed.encode(), hashlib.sha256).digest()
            header, claims = (json.loads(_unpack(part)) for part in signed.split("."))
            is_signed = hmac.compare_digest(_unpack(signature), expected)
            return is_signed and header["alg"] == "HS256" and claims["exp"] > time.time()
        except (ValueError, KeyError, TypeError):
            return False

    def charge(self, target: dict[str, str], key: str, use: dict[str, Any]) -> int:
        """Charges the use at waule, under the key that waule gave us, and returns the credits."""
        request = urllib.request.Request(
            f"{self.options.waule}/internal/billing/charge",
            json.dumps({name: value for name, value in (target | use).items() if value is not None}).encode(),
            {"Content-Type": "application/json", "X-Internal-Secret": self.options.internal_secret}
            | ({"Idempotency-Key": key} if key else {}),
        )
        try:
            with urllib.request.urlopen(request, timeout=CHARGE_SECONDS) as answer:
                return int(json.load(answer)["creditsCharged"])
        except urllib.error.HTTPError as error:
            body = json.load(error)
            raise Refusal(error.code, body.get("error", "refused"), body.get("code", "billing")) from None


class Handler(BaseHTTPRequestHandler):
    server: Gateway
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/health":
            self.answer(200, {"status": "ok", "service": "example gateway", "results": len(self.server.media)})
        elif found := self.server.media.get(self.path.removeprefix("/media/")):
            content_type, data = found
            self.send(200, content_type, data)
        else:
            self.answer(404, {"error": {"message": "There is nothing here.", "type": "not_found"}})

    def do_POST(self) -> None:
        try:
            self.generate()
        except Refusal as refusal:
            self.answer(refusal.status, {"error": {"message": refusal.message, "type": refusal.kind}}, refusal.headers)

    def generate(self) -> None:
        make = {
            "/v1/images/generations": self.make_images,
            "/v1/videos/generations": self.make_video,
            "/v1/sora/chat/completions": self.make_by_chat,
        }.get(self.path)
        if make is None:
            raise Refusal(404, "There is nothing here.", "not_found")
        raw = self.read_body()
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not self.server.is_known(token):
            raise Refusal(401, "This is not a token of ours.", "authentication_error")
        key = self.headers.get("Idempotency-Key", "")
        if key in self.server.answers:
            before, answer = self.server.answers[key]
            if before != raw:
                raise Refusal(422, "This key was used with another body.", "idempotency_key_reused")
            return self.answer(200, answer)
        try:
            body = json.loads(raw)
            model, prompt = body["model"], prompt_of(body)
        except (ValueError, KeyError, TypeError, IndexError):
            raise Refusal(400, "Send a model and a prompt.", "invalid_request_error") from None
        if self.rehearse(prompt):
            return None
        answer = make(body, model, prompt, key)
        if "!odd-credits" in prompt:
            answer["usage"]["credits_charged"] = -1.5
        if key:
            with self.server.lock:
                while len(self.server.answers) >= MAX_KEPT:
                    self.server.answers.pop(next(iter(self.server.answers)))
                self.server.answers[key] = (raw, answer)
        return self.answer(200, answer)

    def rehearse(self, prompt: str) -> bool:
        """Does what a word in the prompt asks for. True: the answer has been given."""
        if "!refuse" in prompt:
            raise Refusal(400, "This prompt is against the rules.", "content_policy_violation")
        if "!limit" in prompt:
            raise Refusal(429, "Too many requests.", "rate_limit_error", {"Retry-After": "60"})
        if "!fail" in prompt:
            raise Refusal(500, "Something broke.", "server_error")
        if "!hang-up" in prompt:
            self.close_connection = True
            return True
        if "!html" in prompt:
            self.send(200, "text/html", b"<html>Welcome to a proxy.</html>")
            return True
        if "!empty" in prompt:
            self.answer(200, {"created": int(time.time()), "data": []})
            return True
        return False

    def make_images(self, body: dict[str, Any], model: str, prompt: str, key: str) -> dict[str, Any]:
        count, size = int(body.get("n", 1)), body.get("size", "")
        width, height = pixels(size, "")
        # A ratio is no resolution, and is never priced as one.
        use = {"modelId": model, "operation": "image", "quantity": count, "resolution": None if ":" in size else size or None}
        credits = self.server.charge(self.target(), key, use)
        urls = [self.server.keep("image/png", png(f"{prompt} {number}", width, height)) for number in range(count)]
        return {
            "created": int(time.time()),
            "data": [{"url": url} for url in urls],
            "usage": {"credits_charged": credits},
        }

    def make_video(self, body: dict[str, Any], model: str, prompt: str, key: str) -> dict[str, Any]:
        seconds, resolution = body.get("duration", 4), body.get("resolution", "")
        width, height = pixels(resolution, body.get("aspect_ratio", "16:9"))
        use = {"modelId": model, "operation": "video", "duration": seconds, "resolution": resolution or None}
        credits = self.server.charge(self.target(), key, use)
        url = self.server.keep("video/mp4", mp4(prompt, width // 2 & ~1, height // 2 & ~1, float(seconds)))
        return {
            "created": int(time.time()),
            "data": [{"url": url, "duration": seconds}],
            "usage": {"credits_charged": credits},
        }

    def make_by_chat(self, body: dict[str, Any], model: str, prompt: str, key: str) -> dict[str, Any]:
        if "image" in model:
            made = self.make_images({"n": 1}, model, prompt, key)
            text = f'<img src="{made["data"][0]["url"]}">'
        else:
            found = re.search(r"([0-9]+)s$", model)
            made = self.make_video({"duration": int(found[1]) if found else 10}, model, prompt, key)
            text = f'<video src="{made["data"][0]["url"]}" controls></video>'
        message = {"role": "assistant", "content": text}
        return {
            "id": f"chatcmpl-{secrets.token_hex(8)}",
            "object": "chat.completion",
            "created": made["created"],
            "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": made["usage"],
        }

    def target(self) -> dict[str, str]:
        """For whom this is: waule says so in one of two headers."""
        if tenant := self.headers.get("X-Tenant-Id"):
            return {"targetType": "tenant", "targetId": tenant}
        if user := self.headers.get("X-User-Id"):
            return {"targetType": "user", "targetId": user}
        raise Refusal(400, "Send X-User-Id or X-Tenant-Id.", "invalid_request_error")

    def read_body(self) -> bytes:
        length = int(self.headers.get("Content-Length", 0))
        if not 0 < length <= MAX_BODY_BYTES:
            self.close_connection = True
            raise Refusal(413, "The body is missing or too large.", "invalid_request_error")
        return self.rfile.read(length)

    def answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        self.send(status, "application/json", json.dumps(body).encode(), headers)

    def send(self, status: int, content_type: str, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": content_type, "Content-Length": str(len(data))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, template: str, *values: Any) -> None:
        print(f"{self.log_date_time_string()}  {template % values}", flush=True)


def _unpack(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def prompt_of(body: dict[str, Any]) -> str:
    """The prompt, or the text of the last message of a chat."""
    if "messages" not in body:
        return str(body["prompt"])
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)


def pixels(size: str, ratio: str) -> tuple[int, int]:
    """Width and height to draw at: `1280x720`, `2K`, `720p` (with a ratio), or a ratio; at most 4096 each."""
    if found := re.fullmatch(r"([0-9]{2,4})[x*]([0-9]{2,4})", size):
        return min(int(found[1]), 4096), min(int(found[2]), 4096)
    shorter = {"1k": 1024, "2k": 2048, "4k": 2160, "hd": 720, "fhd": 1080}.get(size.lower(), 512)
    if found := re.fullmatch(r"([0-9]{3,4})p", size):
        shorter = min(int(found[1]), 2160)
    shape = re.fullmatch(r"([0-9]{1,2}):([0-9]{1,2})", size if ":" in size else ratio)
    across, down = (int(shape[1]) or 1, int(shape[2]) or 1) if shape else (1, 1)
    scale = shorter / min(across, down)
    return min(round(across * scale), 4096), min(round(down * scale), 4096)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--waule", default="http://127.0.0.1:3000", help="where /internal is")
    parser.add_argument("--public-url", default="", help="the address in the URLs of results, if it is another")
    options = parser.parse_args()
    options.waule = options.waule.rstrip("/")
    options.internal_secret = os.environ.get("INTERNAL_SECRET", "")
    options.internal_jwt = os.environ.get("INTERNAL_JWT", "")
    options.jwt_secret = os.environ.get("JWT_SECRET", "")
    if not options.internal_secret or not (options.internal_jwt or options.jwt_secret):
        parser.error("set INTERNAL_SECRET, and JWT_SECRET or INTERNAL_JWT, to what waule has")
    gateway = Gateway(options)
    print(f"The example gateway listens on {gateway.url}", flush=True)
    try:
        gateway.serve_forever()
    except KeyboardInterrupt:
        gateway.server_close()


if __name__ == "__main__":
    main()
