"""Optional OpenTelemetry traces of requests, jobs and calls to others (OTEL_EXPORTER_OTLP_ENDPOINT).

Off by default: then `begin` does nothing, no OpenTelemetry package is imported, `span` gives one object that does nothing, and
no middleware is installed. An attribute says what a span was about, never what somebody wrote, sent or kept secret.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse
    from opentelemetry.sdk.trace import TracerProvider

Kind = Literal["internal", "server", "client", "consumer"]
Value = str | int | bool
HEADER = "traceparent"
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
EXPORT_SECONDS = 5  # for one batch, its repetitions included
END_SECONDS = 2.0  # for what is not sent yet when a process ends
_provider: "TracerProvider | None" = None


class Span:
    """One step of a trace. This one is of no trace: traces are off, or nobody asked for this step."""

    traceparent = ""  # what the next system is told, as W3C Trace Context writes it

    def set(self, name: str, value: Value) -> None:
        """Note a fact."""

    def fail(self, code: str) -> None:
        """Note that the step failed, and with which code. Never a message: that may hold what somebody wrote."""


_NONE = Span()
_OFF: AbstractContextManager[Span] = nullcontext(_NONE)


class _Recorded(Span):
    def __init__(self, span: Any, traceparent: str) -> None:
        self._span, self.traceparent = span, traceparent

    def set(self, name: str, value: Value) -> None:
        self._span.set_attribute(name, value)

    def fail(self, code: str) -> None:
        from opentelemetry.trace import Status, StatusCode

        self._span.set_attribute("error.type", code)
        self._span.set_status(Status(StatusCode.ERROR))


def begin() -> None:
    """Start tracing in this process, where settings ask for it. After a fork: a thread sends the spans."""
    global _provider
    from django.conf import settings  # which read this module for their list of processors

    if not settings.OTEL_EXPORTER_OTLP_ENDPOINT or _provider is not None:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    exporter = OTLPSpanExporter(
        endpoint=f"{settings.OTEL_EXPORTER_OTLP_ENDPOINT}/v1/traces",
        headers=settings.OTEL_EXPORTER_OTLP_HEADERS,
        timeout=EXPORT_SECONDS,
    )
    made = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(settings.OTEL_TRACES_SAMPLER_ARG)),
        resource=Resource.create({"service.name": settings.OTEL_SERVICE_NAME}),
        shutdown_on_exit=False,  # `end` does it, and does not wait for long
    )
    made.add_span_processor(BatchSpanProcessor(exporter))
    _provider = made


def end() -> None:
    """Send what is not sent yet, for END_SECONDS at most: a process that is to stop waits for no collector."""
    if (provider := _provider) is None:
        return
    sending = threading.Thread(target=provider.shutdown, name="traces-end", daemon=True)
    sending.start()
    sending.join(END_SECONDS)


def is_on() -> bool:
    return _provider is not None


def span(
    name: str,
    kind: Kind = "internal",
    *,
    parent: str = "",
    is_root: bool = True,
    attributes: Mapping[str, Value] | None = None,
) -> AbstractContextManager[Span]:
    """Return a step that lasts as long as the `with` block. Its parent is `parent` (a traceparent) if given, else the step around
    it.

    `is_root`: without a parent it begins a trace; else it is not recorded then.
    """
    return _OFF if _provider is None else _recorded(name, kind, parent, is_root, attributes)


@contextmanager
def _recorded(name: str, kind: Kind, parent: str, is_root: bool, attributes: Mapping[str, Value] | None) -> Iterator[Span]:
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    assert _provider is not None
    if not is_root and not trace.get_current_span().get_span_context().is_valid:
        yield _NONE
        return
    propagator = TraceContextTextMapPropagator()
    context = propagator.extract({HEADER: parent}) if parent else None
    tracer = _provider.get_tracer("waule")
    with tracer.start_as_current_span(
        name,
        context,
        trace.SpanKind[kind.upper()],
        attributes,
        record_exception=False,  # its text may hold what is nobody's business
        set_status_on_exception=False,
    ) as begun:
        carrier: dict[str, str] = {}
        propagator.inject(carrier)
        step = _Recorded(begun, carrier.get(HEADER, ""))
        try:
            yield step
        except Exception as error:
            step.fail(getattr(error, "code", "") or type(error).__name__)
            raise


def traceparent() -> str:
    """Where this thread is in a trace, for whoever goes on with the work later; empty where it is in none."""
    if _provider is None:
        return ""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get(HEADER, "")


def add_trace_id(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return the structlog processor that puts the trace's and the span's id into every line. Installed where traces are on."""
    if _provider is not None:
        from opentelemetry import trace

        if (context := trace.get_current_span().get_span_context()).is_valid:
            event["trace_id"] = trace.format_trace_id(context.trace_id)
            event["span_id"] = trace.format_span_id(context.span_id)
    return event


class TraceRequests:
    """The middleware that makes a span of each request. Installed where traces are on."""

    def __init__(self, get_response: "Callable[[HttpRequest], HttpResponse]") -> None:
        self.get_response = get_response

    def __call__(self, request: "HttpRequest") -> "HttpResponse":
        method = request.method if request.method in METHODS else "_OTHER"
        sent = request.META.get("HTTP_TRACEPARENT", "")
        attributes: dict[str, Value] = {"http.request.method": str(method)}
        with span(str(method), "server", parent=sent, attributes=attributes) as step:
            response = self.get_response(request)
            _describe(step, request, response)
        return response


def _describe(step: Span, request: "HttpRequest", response: "HttpResponse") -> None:
    """What is known of a request when it is answered: its route instead of its path, which may name things."""
    if (match := request.resolver_match) is not None:
        step.set("http.route", f"/{match.route}")
    step.set("http.response.status_code", response.status_code)
    step.set("waule.request_id", getattr(request, "request_id", ""))
    code = getattr(request, "failure_code", None)
    if code is not None:
        step.set("error.type", code)
    if response.status_code >= 500:
        step.fail(code or str(response.status_code))
