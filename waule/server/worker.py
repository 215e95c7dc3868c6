"""A server process on granian.

granian's WSGI worker gives each request a Python thread before its body has arrived, and keeps one while a streamed
answer is being taken: a few hundred slow sockets stop the process. Its RSGI worker receives bodies in Rust, but hands
every request to an event loop, at six times the CPU per request. So the RSGI worker is used without an event loop:
`InlineLoop` runs what granian would schedule there immediately, in the thread of granian's pool that brings it
(docs/adr/0010-slow-clients.md has the figures).
"""

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any, cast

from granian._granian import CallbackScheduler, RSGIWorker
from granian._signals import set_sync_signals
from granian.server.common import WORKERS_METHODS
from granian.server.mp import WorkerProcess

from waule.core import tracing
from waule.server.connections import watch_connections
from waule.server.exchange import Exchange, end_late_bodies

logger = logging.getLogger(__name__)
Application = Callable[..., Iterable[bytes]]


class InlineLoop:
    """What granian needs of an event loop: it calls back when a body, or a part of it, has arrived."""

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> None:
        callback(*args)

    call_soon_threadsafe = call_soon


class _Scheduler(CallbackScheduler):
    """Takes requests from granian. (The base class reads its arguments in `__new__`.)"""

    __slots__ = ()

    def __init__(self, loop: InlineLoop, schedule: Callable[[Any], None], *_tasks: None) -> None:
        super().__init__()
        self._schedule_fn = schedule


@cast(Any, WorkerProcess).wrap_target  # by this name a process that starts from scratch finds it
def run(  # the signature is granian's
    worker_id: int,
    application: Application,
    sock: Any,
    ipc: Any,
    loop: Any,
    runtime_mode: Any,
    runtime_threads: int,
    runtime_blocking_threads: int,
    blocking_threads: int,
    blocking_threads_idle_timeout: int,
    backpressure: int,
    task_impl: Any,
    http_mode: Any,
    http1_settings: Any,
    http2_settings: Any,
    websockets: bool,
    static_path: Any,
    log_access_format: Any,
    ssl_context: tuple[Any, ...],
    scope_options: dict[str, Any],
    metrics: Any,
) -> None:
    """Serve `application` in this process until it is told to stop."""
    stopped, stop = threading.Event(), cast(Any, set_sync_signals)()
    stop.add_cb(stopped.set)
    worker = cast(Any, RSGIWorker)(
        worker_id,
        sock,
        ipc,
        runtime_threads,
        runtime_blocking_threads,
        blocking_threads,
        blocking_threads_idle_timeout,
        backpressure,
        http_mode,
        http1_settings,
        http2_settings,
        False,
        static_path,
        *ssl_context,
        metrics,
    )
    Exchange.application = staticmethod(application)
    Exchange.max_busy = blocking_threads

    def schedule(watcher: Any) -> None:
        try:
            Exchange(watcher.scope, watcher.proto).begin()
        except BaseException:
            logger.exception("a request could not be read")
            watcher.proto.response_empty(400, [])

    inline = InlineLoop()
    serve = getattr(worker, WORKERS_METHODS[runtime_mode][(sock[0] or sock[1]).is_uds()])
    serve(_Scheduler(inline, schedule, None, None, None), inline, stop)
    end_late_bodies()
    watch_connections()
    stopped.wait()
    tracing.end()
