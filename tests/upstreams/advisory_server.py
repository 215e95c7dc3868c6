"""An advisory database with OSV's interface: it knows which versions of a package are vulnerable."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class AdvisoryServer:
    """`advisories`: a package's name and version -> the ids of what is known. `asked`: every package asked about."""

    def __init__(self, advisories: dict[tuple[str, str], list[str]]) -> None:
        self.advisories = advisories
        self.asked: list[tuple[str, str]] = []
        self.says: bytes | None = None  # in the place of an answer
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, body: Any) -> bytes:
        packages = [(query["package"]["name"], query["version"]) for query in body["queries"]]
        self.asked += packages
        results = [{"vulns": [{"id": each} for each in self.advisories.get(package, [])]} for package in packages]
        return self.says or json.dumps({"results": [result if result["vulns"] else {} for result in results]}).encode()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def _handler(service: AdvisoryServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = service.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200 if self.path == "/v1/querybatch" else 404)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_arguments: Any) -> None:
            """Quiet."""

    return Handler
