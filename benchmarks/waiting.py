"""What callers notice while hundreds of generations wait for a provider: the time of a charge, and what each one weighs."""

import asyncio
import base64
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.load import request, run
from benchmarks.servers import PROJECT

WAITING = 300
CHARGERS = 4
FILL_SECONDS = 60


def as_answer(content: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    return head.encode() + content


class SlowProvider:
    """An OpenAI-compatible provider that draws for nobody until `release` is called, and whose videos take for ever."""

    def __init__(self, *, answers_at_once: bool = False) -> None:
        picture = BytesIO()
        Image.new("RGB", (8, 8)).save(picture, "PNG")
        content = json.dumps({"created": 1, "data": [{"b64_json": base64.b64encode(picture.getvalue()).decode()}]}).encode()
        self.answer = as_answer(content)
        self.waiting = 0
        self.videos = 0
        self.loop = asyncio.new_event_loop()
        self.released = asyncio.Event()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        started = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024), self.loop)
        url = f"http://127.0.0.1:{started.result(10).sockets[0].getsockname()[1]}/v1"
        self.settings = {"OPENAI_API_URL": url, "OPENAI_API_KEY": "sk-benchmark-0123456789", "UPSTREAM_READ_SECONDS": "300"}
        if answers_at_once:
            self.released.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
        await reader.readexactly(int(length.split(b":")[1]))
        if b"/videos" in head.split(b"\r\n")[0]:
            self.videos += head.startswith(b"POST")
            video = {"id": "video_1", "object": "video", "status": "in_progress", "progress": int(time.monotonic()) % 90}
            writer.write(as_answer(json.dumps(video).encode()))
            await writer.drain()
            writer.close()
            return
        self.waiting += 1
        await self.released.wait()
        self.waiting -= 1
        writer.write(self.answer)
        await writer.drain()
        writer.close()

    def release(self) -> None:
        """Return all who wait, and let the next ones wait again."""
        self.loop.call_soon_threadsafe(self.released.set)
        while self.waiting:
            time.sleep(0.05)
        self.loop.call_soon_threadsafe(self.released.clear)


@contextlib.contextmanager
def generations_waiting(port: int, key: str, provider: SlowProvider) -> Iterator[None]:
    """WAITING generations are in flight while the block runs, and have been answered when it ends."""
    headers = {"Authorization": f"Bearer {key}"}
    sent = request("POST", "/v1/images/generations", {"model": "waits", "prompt": "a bench"}, **headers)
    answers: list[Any] = []
    callers = threading.Thread(target=lambda: answers.append(run(port, WAITING, 0, [sent])))
    callers.start()
    deadline = time.monotonic() + FILL_SECONDS
    while provider.waiting < WAITING:
        if time.monotonic() > deadline:
            raise RuntimeError(f"only {provider.waiting} of {WAITING} generations reached the provider")
        time.sleep(0.05)
    try:
        yield
    finally:
        provider.release()
        callers.join()
    if answers[0].good != WAITING:
        raise RuntimeError(f"generations were answered so: {answers[0]}")


def resident_mib(pids: list[int]) -> float:
    """Return what the processes keep in memory."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def processes_on(port: int) -> list[int]:
    """Return the server processes that listen there."""
    first = subprocess.run(["pgrep", "-of", f"serve --port {port}"], capture_output=True, text=True, check=True).stdout.split()[0]
    below = subprocess.run(["pgrep", "-P", first], capture_output=True, text=True, check=True).stdout.split()
    return [int(pid) for pid in below]


def measure_waiting(
    port: int,
    seconds: float,
    seeded: dict[str, Any],
    charges: list[bytes],
    provider: SlowProvider,
    connections: Callable[[], int],
) -> dict[str, float]:
    """Return one repeat: p99 of a charge (ms) before and while they wait, MiB for each, and the database connections then."""
    pids = processes_on(port)
    idle = run(port, CHARGERS, seconds, charges).p99 * 1e3
    before = resident_mib(pids)
    with generations_waiting(port, seeded["key"], provider):
        weight = (resident_mib(pids) - before) / WAITING
        held = connections()
        busy = run(port, CHARGERS, seconds, charges).p99 * 1e3
    return {"idle_ms": idle, "busy_ms": busy, "mib_each": weight, "connections": held}


@contextlib.contextmanager
def videos_followed(port: int, key: str, provider: SlowProvider, env: dict[str, str]) -> Iterator[int]:
    """A worker follows WAITING videos while the block runs; its process id."""
    sent = request("POST", "/v1/videos", {"model": "film", "prompt": "a bench"}, Authorization=f"Bearer {key}")
    answered = run(port, WAITING, 0, [sent])
    if answered.good != WAITING:
        raise RuntimeError(f"videos were answered so: {answered}")
    command = [sys.executable, "manage.py", "worker", "--concurrency", str(WAITING)]
    worker = subprocess.Popen(command, cwd=PROJECT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + FILL_SECONDS
        while provider.videos < WAITING:
            if time.monotonic() > deadline:
                raise RuntimeError(f"only {provider.videos} of {WAITING} videos reached the provider")
            time.sleep(0.05)
        yield worker.pid
    finally:
        worker.kill()
        worker.wait()


def measure_following(
    port: int, seconds: float, seeded: dict[str, Any], charges: list[bytes], provider: SlowProvider, env: dict[str, str]
) -> dict[str, float]:
    """p99 of a charge (ms) before and while a worker follows WAITING videos, and MiB of that worker for each."""
    idle = run(port, CHARGERS, seconds, charges).p99 * 1e3
    with videos_followed(port, seeded["key"], provider, env) as worker:
        busy = run(port, CHARGERS, seconds, charges).p99 * 1e3
        weight = resident_mib([worker]) / WAITING
    return {"idle_ms": idle, "busy_ms": busy, "mib_each": weight}
