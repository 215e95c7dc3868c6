"""An upstream that takes requests and says nothing until it is told to, however many there are."""

import asyncio
import threading
from typing import Any

REFUSAL = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


class SilentService:
    """`waiting` is how many requests wait for an answer now; `release` refuses them all, and those to come."""

    def __init__(self) -> None:
        self.waiting = 0
        self.loop = asyncio.new_event_loop()
        self._released = asyncio.Event()
        self._ready = threading.Event()
        self.thread = threading.Thread(target=self.loop.run_until_complete, args=(self._serve(),), daemon=True)
        self.thread.start()
        self._ready.wait(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def release(self) -> None:
        self.loop.call_soon_threadsafe(self._released.set)

    def stop(self) -> None:
        self.release()
        self.loop.call_soon_threadsafe(self._ended.set)
        self.thread.join(10)

    async def _serve(self) -> None:
        self._ended = asyncio.Event()
        server = await asyncio.start_server(self._take, "127.0.0.1", 0, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        async with server:
            await self._ended.wait()

    async def _take(self, reader: Any, writer: Any) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        self.waiting += 1
        await self._released.wait()
        self.waiting -= 1
        writer.write(REFUSAL)
        await writer.drain()
        writer.close()
