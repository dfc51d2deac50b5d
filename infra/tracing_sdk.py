"""Spans by the SDK of OpenTelemetry. Nothing imports this module while traces are off."""

import logging
import time
from collections.abc import Sequence
from typing import Final

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace import NonRecordingSpan as Remote
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace import set_span_in_context as in_context
from opentelemetry.trace.status import Status, StatusCode

from infra.tracing import Kind

_EXPORT_SECONDS: Final = 3
"""A collector that is away holds up nobody, at the end of a process no longer than this."""
_KINDS: Final = {kind: SpanKind[kind.value] for kind in Kind}
_log = structlog.get_logger()


class Made:
    """One span that has begun; see `infra.tracing.Span`."""

    def __init__(self, span: OtelSpan) -> None:
        """Wrap the SDK's ``span``."""
        self._span = span

    @property
    def traceparent(self) -> str:
        """By which others go on from it."""
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def end(self, error: str = "") -> None:
        """End it now."""
        if error:
            self._span.set_attribute("error.type", error)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


class Sdk:
    """Makes spans and hands them to a processor; see `infra.tracing.Spans`."""

    def __init__(self, processor: SpanProcessor, role: str) -> None:
        """Say in every span that it is of ``role``."""
        resource = Resource.create({"service.namespace": "rosterhub", "service.name": f"rosterhub-{role}"})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("rosterhub")

    def begin(
        self, name: str, kind: Kind, parent: str | None, links: Sequence[str], seconds_ago: float = 0.0
    ) -> Made:
        """Begin a span: within the trace of ``parent``, or, without one, of a new trace."""
        context = None if parent is None else in_context(Remote(_context(parent)))
        started = time.time_ns() - round(seconds_ago * 1e9)
        linked = [Link(_context(link)) for link in links]
        return Made(self._tracer.start_span(name, context, _KINDS[kind], links=linked, start_time=started))

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def to_collector(endpoint: str, role: str) -> Sdk:
    """Return what sends the spans of ``role`` to a collector, by OTLP over HTTP.

    The further settings of OpenTelemetry's environment variables hold, such as ``OTEL_EXPORTER_OTLP_HEADERS``
    and ``OTEL_TRACES_SAMPLER``.
    """
    library = logging.getLogger("opentelemetry")
    library.addHandler(_Told())
    library.propagate = False
    exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=_EXPORT_SECONDS)
    return Sdk(BatchSpanProcessor(exporter), role)


class _Told(logging.Handler):
    """Makes log events of the library's own lines, without their texts, which may hold headers."""

    def emit(self, record: logging.LogRecord) -> None:
        """Tell that there was something."""
        if record.levelno >= logging.WARNING:
            _log.warning("tracing_trouble", part=record.name)


def _context(traceparent: str) -> SpanContext:
    _, trace, span, flags = traceparent.split("-")
    return SpanContext(int(trace, 16), int(span, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
