"""How traces go on: with spans off, with one trace in a batch, with several, and into a collector."""

from __future__ import annotations

import ast
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from infra import tracing
from infra.tracing import UNCHANGED, Kind
from infra.tracing_sdk import Sdk
from tests.architecture.test_imports import modules

ONE = f"00-{1:032x}-{1:016x}-01"
TWO = f"00-{2:032x}-{2:016x}-01"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    with tracing.making(Sdk(SimpleSpanProcessor(exporter), "test")):
        yield exporter


def test_a_context_is_passed_on_unchanged_while_spans_are_off() -> None:
    def read(_: int) -> str:
        raise AssertionError("headers are read though spans are off")

    with tracing.batch("people", Kind.CONSUMER, map(read, [1])) as passage:
        assert (passage, passage.of(ONE), passage.of(None)) == (UNCHANGED, ONE, None)
    with tracing.request("POST /v1/sync", ONE):
        assert tracing.current() == ONE
        tracing.called("MOODLE f", 0.1, "")
    assert tracing.current() is None


def imported_at_start(tree: ast.Module) -> Iterator[str]:
    """Yield what a module imports when it is imported, which is not what its functions import."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_the_sdk_is_not_imported_while_spans_are_off() -> None:
    texts = ((module, path.read_text("utf-8")) for module, path in modules())
    found = {
        module
        for module, text in texts
        if "opentelemetry" in text or "tracing_sdk" in text
        for name in imported_at_start(ast.parse(text))
        if name.startswith(("opentelemetry", "infra.tracing_sdk"))
    }
    assert found == {"infra.tracing_sdk"}


def test_a_batch_of_one_trace_is_a_part_of_it(spans: InMemorySpanExporter) -> None:
    with tracing.batch("sink", Kind.CONSUMER, [ONE, None, ONE.encode(), b"\xffnonsense"]) as passage:
        tracing.called("MOODLE f", 2.0, "http_503")
    call, batch = spans.get_finished_spans()
    assert batch.parent is not None
    assert batch.context.trace_id == call.context.trace_id == batch.parent.trace_id == 1
    assert call.parent is not None
    assert call.parent.span_id == batch.context.span_id
    assert passage.of(ONE) == f"00-{1:032x}-{batch.context.span_id:016x}-01"
    assert passage.of(None) is None, "what had no trace is not put into another's"
    assert call.end_time is not None
    assert call.start_time is not None
    assert 2e9 <= call.end_time - call.start_time < 3e9
    assert dict(call.attributes or {}) == {"error.type": "http_503"}


def test_a_batch_of_several_traces_has_links_to_all(spans: InMemorySpanExporter) -> None:
    with tracing.batch("sink", Kind.CONSUMER, [ONE, TWO, ONE]) as passage:
        tracing.called("MOODLE f", 0.0, "")
    call, batch = spans.get_finished_spans()
    assert batch.parent is None
    assert [link.context.trace_id for link in batch.links] == [1, 2]
    assert call.context.trace_id == batch.context.trace_id not in {1, 2}
    assert (passage.of(ONE), passage.of(TWO)) == (ONE, TWO)


def test_what_comes_without_a_trace_begins_one_at_the_intake_only(spans: InMemorySpanExporter) -> None:
    with tracing.batch("people", Kind.CONSUMER, [None]) as passage:
        assert passage == UNCHANGED
    with tracing.batch("intake", Kind.PRODUCER, [None], begins=True) as passage:
        begun = passage.of(None)
    (span,) = spans.get_finished_spans()
    assert begun is not None
    assert begun.startswith(f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-")


def test_a_failure_is_told_by_its_class_alone(spans: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="ann@"), tracing.batch("sink", Kind.CONSUMER, [ONE]):
        raise ValueError("ann@example.test")
    (span,) = spans.get_finished_spans()
    assert (dict(span.attributes or {}), span.events) == ({"error.type": "ValueError"}, ())
    assert span.status.description is None


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (ONE, True),
        ("", False),
        ("nonsense", False),
        (ONE.upper().replace("1", "A"), False),
        (f"00-{0:032x}-{1:016x}-01", False),
        (f"ff-{1:032x}-{1:016x}-01", False),
        (ONE + "-more", False),
    ],
)
def test_only_a_traceparent_is_taken_for_one(text: str, good: bool) -> None:
    assert (tracing.checked(text) is not None) is good


def test_records_have_the_contexts_of_their_requests() -> None:
    with tracing.of_records([ONE, TWO]):
        assert tracing.contexts(2) == [ONE, TWO]
        assert tracing.contexts(3) == (None,) * 3, "nobody knows which is whose"
    with tracing.of_records([ONE, ONE]):
        assert tracing.contexts(3) == (ONE,) * 3
    with tracing.within(TWO):
        assert tracing.contexts(2) == (TWO, TWO)


@contextmanager
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """Serve what takes spans by OTLP over HTTP; give its address and what it was sent."""
    taken: list[ExportTraceServiceRequest] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces":
                taken.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", taken
        finally:
            server.shutdown()
            thread.join()


def test_spans_are_sent_to_a_collector() -> None:
    with collector() as (address, taken), tracing.tracing(address, "people"):
        with tracing.batch("people", Kind.CONSUMER, [ONE]):
            pass
        assert tracing.current() is None
    (request,) = taken
    (sent,) = request.resource_spans
    facts = {one.key: one.value.string_value for one in sent.resource.attributes}
    assert (facts["service.name"], facts["service.namespace"]) == ("rosterhub-people", "rosterhub")
    assert [span.name for scope in sent.scope_spans for span in scope.spans] == ["people"]
