"""A TCP proxy that can refuse, hang, or cut its connections: a network between waule and a service that stays as it is."""

import contextlib
import socket
import threading
from typing import Literal

CHUNK_BYTES = 64 << 10

Mode = Literal["open", "cut", "silent"]


class TcpProxy:
    """Passes connections on to `target` while `mode` is `open`.

    `cut`: new connections are closed at once, and those that were open too. `silent`: nobody answers on new ones.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.mode: Mode = "open"
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def set(self, mode: Mode) -> None:
        self.mode = mode
        if mode == "silent":
            return  # those that are open go on; when it ends, the silent ones are cut
        with self._lock:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        self.set("cut")
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.ExitStack() as parents:
            parents.enter_context(client)
            if self.mode == "cut":
                return
            self._keep(parents, client)
            if self.mode == "silent":
                while client.recv(CHUNK_BYTES):  # until the other side, or `set`, ends it
                    pass
                return
            with contextlib.suppress(OSError):
                server = parents.enter_context(socket.create_connection(self.target))
                self._keep(parents, server)
                there = threading.Thread(target=_pass_on, args=(client, server), daemon=True)
                there.start()
                _pass_on(server, client)
                there.join()

    def _keep(self, parents: contextlib.ExitStack, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)
        parents.callback(self._forget, connection)

    def _forget(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK_BYTES):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
