"""A TCP relay in front of servers, so that one can die while another takes its place at the same address."""

import contextlib
import socket
import threading
from urllib.parse import urlsplit


class Relay:
    """Passes connections on to `backend`. `cut` ends those that there are."""

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self.requests = 0  # connections that were passed on
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self) -> None:
        while self._open:
            with contextlib.suppress(OSError):
                self._open.pop().shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                caller, _address = self._listener.accept()
                parts = urlsplit(self.backend)
                server = socket.create_connection((parts.hostname, parts.port))
            except OSError:
                return
            self.requests += 1
            self._open += [caller, server]
            for source, sink in ((caller, server), (server, caller)):
                threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pass(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
