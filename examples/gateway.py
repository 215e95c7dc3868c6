"""An example of the gateway that waule speaks to in gateway mode. It draws its images itself.

    JWT_SECRET=… python examples/gateway.py

It needs nothing but Python, keeps everything in memory, and is there to try gateway mode with and to show the wire
format (docs/gateway.md). It answers as the gateways that exist do: whatever goes wrong is a 500 `generation_error`
(`sora_error` for chats), addresses of results are relative, and nobody is charged. With `--callback` it charges every
use by calling waule back, and says what it took; `INTERNAL_SECRET` is needed then.

A prompt with one of these words in it rehearses a failure: `!refuse` (the provider's safety filter), `!limit` (its rate
limit), `!fail` (anything else), `!hang-up` (the connection is cut), `!html` (200, but a page), `!empty` (200 without a
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
MAX_KEPT = 200  # results
CHARGE_SECONDS = 30
RATIOS = ("1:1", "16:9", "9:16", "4:3", "3:4", "5:4", "4:5", "21:9", "3:2", "2:3")
IMAGE_SIDES = {"1K": 1024, "2K": 2048, "4K": 3840}  # the longer side in pixels
VIDEO_SIDES = {"540p": 540, "720p": 720, "1080p": 1080}  # the shorter side in pixels
SORA_VIDEO = re.compile(r"sora2(?:pro(?:-hd)?)?-(landscape|portrait)-([0-9]{1,2})s")
SORA_IMAGE = re.compile(r"gpt-image(?:-(landscape|portrait))?")
AVAILABLE = "All tokens available for video generation. Please enable streaming to use the generation feature."


class Failure(Exception):
    """Something went wrong: whatever it is, the answer is a 500."""


class Gateway(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__((options.host, options.port), Handler)
        self.options = options
        self.media: dict[str, tuple[str, bytes]] = {}
        self.lock = threading.Lock()

    def keep(self, content_type: str, data: bytes) -> str:
        """Return the address under which `data` is served from now on: relative, unless there is a public one."""
        name = f"{secrets.token_urlsafe(12)}.{content_type.partition('/')[2]}"
        with self.lock:
            while len(self.media) >= MAX_KEPT:
                self.media.pop(next(iter(self.media)))
            self.media[name] = (content_type, data)
        return f"{self.options.public_url}/uploads/{name}"

    def is_known(self, token: str) -> bool:
        """Return whether a bearer token is INTERNAL_JWT, or was signed with JWT_SECRET and has not run out."""
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
        """Charge the use at waule, under the key that waule gave us, and return the credits.

        Raises:
            Failure: waule refused.
        """
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
            raise Failure(f"Charge failed: {json.load(error).get('error', error.code)}") from None


class Handler(BaseHTTPRequestHandler):
    server: Gateway
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/health":
            self.answer(200, {"status": "healthy", "service": "example gateway", "results": len(self.server.media)})
        elif found := self.server.media.get(self.path.removeprefix("/uploads/")):
            content_type, data = found
            self.send(200, content_type, data)
        else:
            self.answer(404, {"success": False, "error": "Not found"})

    def do_POST(self) -> None:
        make = {
            "/v1/images/generations": self.make_images,
            "/v1/videos/generations": self.make_video,
            "/v1/sora/chat/completions": self.make_by_chat,
        }.get(self.path)
        if make is None:
            return self.answer(404, {"success": False, "error": "Not found"})
        kind = "sora_error" if make == self.make_by_chat else "generation_error"
        try:
            body = json.loads(self.read_body())
            scheme, _, token = self.headers.get("Authorization", "").partition(" ")
            if scheme != "Bearer" or not self.server.is_known(token):
                return self.answer(401, {"success": False, "error": "Unauthorized"})
            if self.rehearse(prompt_of(body)):
                return None
            return self.answer(200, make(body, prompt_of(body)))
        except Failure as failure:
            return self.answer(500, {"error": {"message": str(failure), "type": kind}})
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            return self.answer(500, {"error": {"message": "Invalid request", "type": kind}})

    def rehearse(self, prompt: str) -> bool:
        """Do what a word in the prompt asks for. True: the answer has been given."""
        if "!refuse" in prompt:
            raise Failure("Image generation blocked by safety filters")
        if "!limit" in prompt:
            raise Failure("Provider answered 429: Too many requests")
        if "!fail" in prompt:
            raise Failure("Request failed with status code 500")
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

    def make_images(self, body: dict[str, Any], prompt: str) -> dict[str, Any]:
        count, ratio, tier = int(body.get("n", 1)), body.get("size"), body.get("image_size")
        ratio = ratio if ratio in RATIOS else "1:1"
        tier = tier if tier in IMAGE_SIDES else "1K"
        usage = self.charge({"modelId": body["model"], "operation": "image", "quantity": count, "resolution": tier}, prompt)
        width, height = in_shape(ratio, longer=IMAGE_SIDES[tier])
        urls = [self.server.keep("image/png", png(f"{prompt} {number}", width, height)) for number in range(count)]
        return {"created": int(time.time()), "data": [{"url": url} for url in urls]} | usage

    def make_video(self, body: dict[str, Any], prompt: str) -> dict[str, Any]:
        seconds, ratio, tier = body.get("duration", 4), body.get("aspect_ratio", "16:9"), body.get("resolution")
        tier = tier if tier in VIDEO_SIDES else "720p"
        usage = self.charge({"modelId": body["model"], "operation": "video", "duration": seconds, "resolution": tier}, prompt)
        width, height = in_shape(ratio, shorter=VIDEO_SIDES[tier])
        url = self.server.keep("video/mp4", mp4(prompt, width // 2 & ~1, height // 2 & ~1, float(seconds)))
        return {"created": int(time.time()), "data": [{"url": url, "duration": seconds}]} | usage

    def make_by_chat(self, body: dict[str, Any], prompt: str) -> dict[str, Any]:
        """As the service behind it: length and shape are in the model's name, and without a stream nothing is made."""
        model = body["model"]
        image, video = SORA_IMAGE.fullmatch(model), SORA_VIDEO.fullmatch(model)
        if not (image or video):
            raise Failure(f"400: Invalid model: {model}")
        usage: dict[str, Any] = {}
        if not body.get("stream"):
            text = AVAILABLE
        elif image:
            width, height = in_shape({"landscape": "3:2", "portrait": "2:3"}.get(image[1], "1:1"), longer=540)
            usage = self.charge({"modelId": model, "operation": "image"}, prompt)
            text = f"![Generated Image]({self.server.keep('image/png', png(prompt, width, height))})"
        else:
            assert video is not None
            width, height = (640, 352) if video[1] == "landscape" else (352, 640)
            usage = self.charge({"modelId": model, "operation": "video"}, prompt)
            url = self.server.keep("video/mp4", mp4(prompt, width, height, float(video[2])))
            text = f"```html\n<video src='{url}' controls></video>\n```"
        message = {"role": "assistant", "content": text}
        return {
            "id": f"chatcmpl-{secrets.token_hex(8)}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        } | usage

    def charge(self, use: dict[str, Any], prompt: str) -> dict[str, Any]:
        """Return what the answer says about the charge; nothing where nobody is called back."""
        if not self.server.options.callback:
            return {}
        credits: float = self.server.charge(self.target(), self.headers.get("Idempotency-Key", ""), use)
        return {"usage": {"credits_charged": -1.5 if "!odd-credits" in prompt else credits}}

    def target(self) -> dict[str, str]:
        """For whom this is: waule says so in one of two headers."""
        if tenant := self.headers.get("X-Tenant-Id"):
            return {"targetType": "tenant", "targetId": tenant}
        if user := self.headers.get("X-User-Id"):
            return {"targetType": "user", "targetId": user}
        raise Failure("Missing user")

    def read_body(self) -> bytes:
        length = int(self.headers.get("Content-Length", 0))
        if not 0 < length <= MAX_BODY_BYTES:
            self.close_connection = True
            raise Failure("The body is missing or too large.")
        return self.rfile.read(length)

    def answer(self, status: int, body: Any) -> None:
        self.send(status, "application/json", json.dumps(body).encode())

    def send(self, status: int, content_type: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, template: str, *values: Any) -> None:
        print(f"{self.log_date_time_string()}  {template % values}", flush=True)


def _unpack(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def prompt_of(body: dict[str, Any]) -> str:
    """Return the prompt, or the text of the last message of a chat."""
    if "messages" not in body:
        return str(body["prompt"])
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)


def in_shape(ratio: str, *, longer: int = 0, shorter: int = 0) -> tuple[int, int]:
    """Width and height in pixels of `16:9`, by one of the two sides."""
    across, down = (max(1, int(number)) for number in ratio.split(":"))
    scale = longer / max(across, down) if longer else shorter / min(across, down)
    return min(round(across * scale), 4096), min(round(down * scale), 4096)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--callback", action="store_true", help="charge every use by calling waule back")
    parser.add_argument("--waule", default="http://127.0.0.1:3000", help="where /internal is, with --callback")
    parser.add_argument("--public-url", default="", help="makes the addresses of results absolute, with this before them")
    options = parser.parse_args()
    options.waule, options.public_url = options.waule.rstrip("/"), options.public_url.rstrip("/")
    options.internal_secret = os.environ.get("INTERNAL_SECRET", "")
    options.internal_jwt = os.environ.get("INTERNAL_JWT", "")
    options.jwt_secret = os.environ.get("JWT_SECRET", "")
    if not (options.internal_jwt or options.jwt_secret):
        parser.error("set JWT_SECRET or INTERNAL_JWT to what waule has")
    if options.callback and not options.internal_secret:
        parser.error("set INTERNAL_SECRET to what waule has")
    gateway = Gateway(options)
    print(f"The example gateway listens on http://{options.host}:{gateway.server_port}", flush=True)
    try:
        gateway.serve_forever()
    except KeyboardInterrupt:
        gateway.server_close()


if __name__ == "__main__":
    main()
