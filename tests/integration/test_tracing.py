"""One trace from a request to the hub's API to the call of Moodle that comes of it."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from infra import tracing
from infra.db.connect import engine
from infra.embedded.ports import free_port
from infra.simulators.moodle import Seed
from infra.tracing_sdk import Sdk
from producers.web import keys
from producers.web.routes import Scope
from tests.integration.intake_support import until
from tests.integration.operations_support import TENANT, World, running_hub

pytestmark = pytest.mark.integration

TRACE, CALLER = 0xABCDEF, 0x1234
ROLES = ("api", "relay", "people", "moodle-sink", "projector")


def post(world: World, port: int, record: dict[str, str]) -> None:
    pool = engine(world.database, pool_size=1)
    key = keys.create(pool, "test", [TENANT], [Scope.SYNC])[0]
    pool.dispose()
    headers = {
        "X-API-Key": key,
        "Content-Type": "application/json",
        "traceparent": f"00-{TRACE:032x}-{CALLER:016x}-01",
    }
    address = f"http://127.0.0.1:{port}/v1/sync/students"
    request = urllib.request.Request(address, json.dumps([record]).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200


def way_of(spans: dict[int, ReadableSpan], last: ReadableSpan) -> list[str]:
    """Return the names of the spans that lead from the caller to ``last``."""
    names = [last.name]
    while last.parent is not None and last.parent.span_id != CALLER:
        last = spans[last.parent.span_id]
        names.append(last.name)
    assert last.parent is not None, "the way does not begin at the caller"
    return names[::-1]


def test_the_trace_of_a_request_goes_on_to_the_call_of_moodle(
    kafka: str, registry_url: str, database_url: str, tmp_path: Path
) -> None:
    exporter, port = InMemorySpanExporter(), free_port()
    with (
        tracing.making(Sdk(SimpleSpanProcessor(exporter), "test")),
        running_hub(
            kafka, registry_url, database_url, tmp_path, Seed(), roles=ROLES, env={"API_PORT": str(port)}
        ) as world,
    ):
        until(lambda: _listens(port), 30)
        post(world, port, {"id": "s1", "Name": "Ada Example", "Academic_Email": "ada@learn.example"})
        world.until("SELECT outcome FROM read_model.standing WHERE kind = 'USER'", ("APPLIED",))
    ours = [one for one in exporter.get_finished_spans() if one.context and one.context.trace_id == TRACE]
    spans = {one.context.span_id: one for one in ours if one.context}
    (made,) = (one for one in ours if one.name == "MOODLE core_user_create_users")
    assert way_of(spans, made) == [
        "POST /v1/sync/{kind}",
        "intake",
        "relay",
        "people",
        "moodle-sink.default",
        "MOODLE core_user_create_users",
    ]


def _listens(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=5):
            return True
    except OSError:
        return False
