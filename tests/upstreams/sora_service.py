"""A Sora token service as it really answers: a small HTTP server with the admin's wire format, in memory.

Its sessions are forgotten by `restart()` and used up by `session_calls`; `stop()` and `start()` keep the port, so that it
can be down for a while; `later_version` adds fields that today's callers do not know.

    python -m tests.upstreams.sora_service [PORT]      serves on 127.0.0.1, admin / sora-password
"""

import json
import secrets
import sys
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

USERNAME, PASSWORD = "admin", "sora-password"
API_KEY = "sora-api-key"
SETTINGS = {"remark", "client_id", "proxy_url", "image_enabled", "video_enabled", "image_concurrency", "video_concurrency"}


class SoraService:
    """The service and its state; `calls` is every call but the logins as (method, path, body)."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.tokens: dict[int, dict[str, Any]] = {}
        self.last_id = 0
        self.sessions: set[str] = set()
        self.calls: list[tuple[str, str, Any]] = []
        self.logins = 0
        self.session_calls: int | None = None  # a session is good for so many calls
        self.later_version = False
        self.dead: set[str] = set()  # secrets that do not work upstream
        self.failed_tests: dict[str, str] = {}  # secrets whose test fails, and what is said then
        self.models: list[str] | None = None  # what `/v1/models` lists; None: there is no such list
        self.broken: tuple[int, bytes] | None = None  # every call answers this status and body
        self.lock = threading.RLock()
        self.server: ThreadingHTTPServer | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
        self.server.daemon_threads = True
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def restart(self) -> None:
        """What lies in its memory is gone; its tokens lie in its database."""
        with self.lock:
            self.sessions.clear()

    def put(self, token: str, **fields: Any) -> dict[str, Any]:
        """A token as its own admin page would add it."""
        with self.lock:
            self.last_id += 1
            self.tokens[self.last_id] = {
                "id": self.last_id,
                "token": token,
                "st": None,
                "rt": None,
                "email": f"user{self.last_id}@example.com",
                "name": "",
                "remark": "",
                "expiry_time": None,
                "is_active": True,
                "cooled_until": None,
                "created_at": datetime.now(UTC).replace(tzinfo=None).isoformat(),
                "last_used_at": None,
                "use_count": 0,
                "image_count": 0,
                "video_count": 0,
                "error_count": 0,
                "plan_type": "chatgpt_plus",
                "plan_title": "ChatGPT Plus",
                "subscription_end": None,
                "sora2_supported": True,
                "sora2_remaining_count": 30,
                "sora2_total_count": 30,
                "sora2_redeemed_count": 0,
                "sora2_cooldown_until": None,
                "image_enabled": True,
                "video_enabled": True,
                "image_concurrency": -1,
                "video_concurrency": -1,
            } | fields
            return self.tokens[self.last_id]

    def by_secret(self, token: str) -> dict[str, Any] | None:
        return next((item for item in self.tokens.values() if item["token"] == token), None)

    def paths(self, *methods: str) -> list[str]:
        """The calls of these methods, as `METHOD path`."""
        return [f"{method} {path}" for method, path, _body in self.calls if method in methods]

    # --- what it does --------------------------------------------------------------------------------------------

    def answer(self, method: str, path: str, session: str, body: Any) -> tuple[int, Any]:
        with self.lock:
            if self.broken is not None:
                return self.broken
            if (method, path) == ("POST", "/api/login"):
                return 200, self.log_in(body)
            if (method, path) == ("GET", "/v1/models") and self.models is not None:  # with a key of its own, not a session
                data = [{"id": name, "object": "model", "owned_by": "sora2api"} for name in self.models]
                return (200, {"object": "list", "data": data}) if session == API_KEY else (401, {"detail": "Invalid API key"})
            if session not in self.sessions:
                return 401, {"detail": "Invalid or expired token"}
            if self.session_calls is not None:
                self.session_calls -= 1
                if self.session_calls <= 0:
                    self.sessions.discard(session)
                    self.session_calls = None
            self.calls.append((method, path, body))
            return self.act(method, path.removeprefix("/api/").split("/"), body)

    def log_in(self, body: Any) -> dict[str, Any]:
        self.logins += 1
        if body != {"username": USERNAME, "password": PASSWORD}:
            return {"success": False, "message": "Invalid credentials"}
        session = f"admin-{secrets.token_urlsafe(32)}"
        self.sessions.add(session)
        return {"success": True, "token": session, "message": "Login successful"}

    def act(self, method: str, path: list[str], body: Any) -> tuple[int, Any]:
        match (method, *path):
            case ("GET", "stats"):
                return 200, self.stats()
            case ("GET", "tokens"):
                extra = {"watermark_free": {"enabled": True}, "pool": "b"} if self.later_version else {}
                return 200, [item | extra for item in self.tokens.values()]
            case ("POST", "tokens"):
                return self.add(body)
            case ("POST", "tokens", "import"):
                return 200, self.import_many(body)
            case ("PUT", "tokens", token_id):
                return 200, self.update(int(token_id), body)
            case ("DELETE", "tokens", token_id):
                self.tokens.pop(int(token_id), None)
                return 200, {"success": True, "message": "Token deleted"}
            case ("POST", "tokens", token_id, "enable" | "disable" as action):
                item = self.tokens.get(int(token_id), {})
                item["is_active"] = action == "enable"
                item["disabled_reason"] = None if action == "enable" else "manual"
                return 200, {"success": True, "message": f"Token {action}d", "is_active": item["is_active"]}
            case ("POST", "tokens", token_id, "test"):
                item = self.tokens.get(int(token_id), {"token": "", "email": ""})
                works = item["token"] not in self.dead and item["token"] not in self.failed_tests
                said = self.failed_tests.get(item["token"], "Token is invalid: 401 Unauthorized")
                said = "Token is valid" if works else said
                status = "success" if works else "failed"
                return 200, {"success": True, "status": status, "message": said, "email": item["email"]}
        return 404, {"detail": "Not Found"}

    def stats(self) -> dict[str, Any]:
        active = sum(1 for item in self.tokens.values() if item["is_active"])
        counts = dict.fromkeys(("total_images", "total_videos", "today_images", "today_videos"), 0)
        errors = {"total_errors": 0, "today_errors": 0}
        return {"total_tokens": len(self.tokens), "active_tokens": active} | counts | errors

    def add(self, body: Any) -> tuple[int, Any]:
        if self.by_secret(body["token"]):
            return 409, {"detail": "Token already exists"}
        if body["token"] in self.dead:
            return 400, {"detail": "Failed to add token: 401 Unauthorized"}
        fields = {name: value for name, value in body.items() if name in SETTINGS | {"st", "rt"}}
        item = self.put(body["token"], **fields)
        return 200, {"success": True, "message": "Token added", "token_id": item["id"]}

    def update(self, token_id: int, body: Any) -> dict[str, Any]:
        item = self.tokens.get(token_id)
        if item is not None:
            item.update({name: value for name, value in body.items() if name in SETTINGS | {"token", "st", "rt"}})
            if "token" in body:  # a new secret is tested, and switches the token on where it works
                item["is_active"] = item["token"] not in self.dead
        return {"success": True, "message": "Token updated"}

    def import_many(self, body: Any) -> dict[str, Any]:
        assert body["mode"] == "offline", body["mode"]
        counts = {"added": 0, "updated": 0, "failed": 0}
        results = []
        for given in body["tokens"]:
            fields = {name: value for name, value in given.items() if name in SETTINGS | {"email", "is_active"}}
            fields |= {"st": given.get("session_token"), "rt": given.get("refresh_token")}
            there = next((item for item in self.tokens.values() if item["email"] == given["email"]), None)
            if there is not None:
                there.update(fields, token=given["access_token"])
            else:
                self.put(given["access_token"], **fields)
            status = "added" if there is None else "updated"
            counts[status] += 1
            results.append({"email": given["email"], "status": status, "success": True})
        return {"success": True, "message": "Import finished", "results": results} | counts


def _handler(service: SoraService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            session = self.headers.get("Authorization", "").removeprefix("Bearer ")
            status, body = service.answer(self.command, self.path, session, json.loads(raw) if raw else None)
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = handle_any

        def log_message(self, *_arguments: Any) -> None:
            pass

    return Handler


if __name__ == "__main__":
    served = SoraService(int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
    print(f"Sora token service on {served.url} ({USERNAME} / {PASSWORD})")
    threading.Event().wait()
