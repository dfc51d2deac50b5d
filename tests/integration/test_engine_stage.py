"""Stages on the real broker: what a worker does with records, tables, offsets and odd situations."""

from __future__ import annotations

import shutil
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from confluent_kafka import Producer

from infra.codec import schema_text
from infra.engine import EngineConfig
from infra.errors import Stop
from infra.metrics import TRANSACTIONS
from infra.partitioning import partition_of
from infra.settings import GroupProtocol
from infra.stage import Output, Stage, Table
from schemas.deadletters import Step
from schemas.events import Person
from schemas.ids import CommandId
from schemas.moodle import CommandKind, MoodleCommand, UserWish
from schemas.origin import CHANGED_AT
from schemas.reasons import Reason
from schemas.topics import COMMANDS, ENROLMENTS, PEOPLE
from tests.faults import counting
from tests.faults.world import PARTITIONS, World, assert_results, wait_for
from tests.integration.engine_support import engine_config, running_stage

pytestmark = pytest.mark.integration

PROTOCOLS = [pytest.param(protocol, id=protocol) for protocol in GroupProtocol]


@pytest.fixture
def world(kafka: str, registry_url: str, topic_prefix: str, tmp_path: Path) -> Iterator[World]:
    with World(kafka, registry_url, topic_prefix, tmp_path) as world:
        yield world.create()


@pytest.fixture
def config(world: World) -> EngineConfig:
    return engine_config(world.kafka, world.registry, world.prefix, world.folder / "state")


def send_people(world: World, *people: Person) -> None:
    for person in people:
        world.send(PEOPLE.prefixed(world.prefix), person)
    assert world.producer.flush(30) == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_outputs_and_table_follow_the_events_over_a_restart(world: World, protocol: GroupProtocol) -> None:
    config = engine_config(
        world.kafka, world.registry, world.prefix, world.folder / "state", protocol=protocol
    )
    for seed in (1, 2):
        world.load(500, 40, seed)
        with running_stage(counting.stage(world.prefix), config):
            world.wait_until_drained()
        world.assert_exact()


def test_a_message_that_cannot_be_read_becomes_a_dead_letter(world: World, config: EngineConfig) -> None:
    topic = PEOPLE.prefixed(world.prefix).name
    headers: list[tuple[str, str | bytes | None]] = [("traceparent", b"00-aa-bb-01"), ("x", b"\xff\x00")]
    world.producer.produce(topic, b"\x00\x00\x00\x00", b"t|p1", partition=2, headers=headers)
    world.producer.produce(topic, b"x" * 950_000, b"\xff", partition=2)
    world.producer.flush(10)
    world.load(20, 5, seed=1)
    with running_stage(counting.stage(world.prefix), config):
        world.wait_until_drained()
    world.assert_exact()
    small, large = sorted(world.letters(), key=lambda letter: letter.offset)
    assert (small.role, small.topic, small.partition, small.offset) == (counting.NAME, topic, 2, 0)
    assert small.reason is Reason.UNREADABLE
    assert (small.message_key, small.message_value) == (b"t|p1", b"\x00\x00\x00\x00")
    assert small.message_headers == tuple(headers)
    assert (large.offset, large.message_key, large.message_value) == (1, b"\xff", None)
    assert large.left_out == 950_000
    assert "950000 bytes" in large.error


def test_a_rejected_record_leaves_nothing_but_its_dead_letter(world: World, config: EngineConfig) -> None:
    send_people(world, counting.person(1), counting.special(1, counting.REJECT), counting.person(1))
    with running_stage(counting.stage(world.prefix), config):
        world.wait_until_drained()
    assert [record.generation for record in world.records(world.output)] == [1, 2]
    assert world.table() == {"count|people|t|p000001": {"events": 2}}
    (letter,) = world.letters()
    assert (letter.reason, letter.error) == (Reason.INVALID_FIELD, "rejected on purpose")
    assert (letter.tenant, letter.kind, letter.entity) == ("t", "person", "person/p000001")
    assert (letter.step, letter.error_class, letter.attempt) == (Step.TRANSFORMATION, "Rejected", 1)
    rejected = world.codec.decode(PEOPLE.prefixed(world.prefix), letter.message_value)
    assert rejected == counting.special(1, counting.REJECT)


def test_an_exception_of_a_handler_ends_the_worker_and_commits_nothing(
    world: World, config: EngineConfig
) -> None:
    send_people(world, counting.person(1), counting.special(1, counting.FAIL))
    with running_stage(counting.stage(world.prefix), config) as running:
        assert isinstance(running.ended(), ZeroDivisionError)
    assert world.read(world.output.name) == []
    assert world.table() == {}


def test_messages_are_cloud_events_with_trace_and_route(world: World, config: EngineConfig) -> None:
    people = PEOPLE.prefixed(world.prefix)
    commands = COMMANDS.of(counting.TARGET).prefixed(world.prefix)
    world.codec.registry.register(commands.subject, schema_text(commands))
    world.make(commands.name)

    def issue(person: Person, _table: Table) -> list[Output]:
        wish = UserWish(person_id=person.person_id, create=True)
        command = MoodleCommand(
            command_id=CommandId("c"),
            tenant=person.tenant,
            target=counting.TARGET,
            kind=CommandKind.USER,
            generation=1,
            issued_at=counting.EPOCH,
            user=wish,
        )
        result = counting.result("people", person.person_id, 1)
        return [Output(commands, command), Output(world.output, result)]

    value = world.codec.encode(people, counting.person(7))
    trace: list[tuple[str, str | bytes | None]] = [
        ("x", b"stays behind"),
        ("traceparent", b"00-aa-bb-01"),
        (CHANGED_AT, b"1795176000000"),
    ]
    world.producer.produce(people.name, value, b"t|p000007", partition=3, headers=trace)
    world.producer.flush(10)
    stage = Stage(counting.NAME, {people: issue}, (commands, world.output))
    with running_stage(stage, config):
        wait_for(lambda: len(world.read(world.output.name)) == 1, 20)
    (command,), (result,) = world.read(commands.name), world.read(world.output.name)
    headers = dict(command.headers() or [])
    assert headers.pop("ce_time")
    assert headers == {
        "ce_specversion": b"1.0",
        "ce_source": b"counting",
        "ce_id": f"{people.name}-3-0-0".encode(),
        "ce_type": b"rosterhub.moodle.command",
        "ce_subject": b"t|p000007",
        "content-type": b"application/avro",
        "traceparent": b"00-aa-bb-01",
        CHANGED_AT: b"1795176000000",
    }
    assert (command.key(), command.partition()) == (b"t|p000007", partition_of("t", PARTITIONS))
    assert result.partition() == partition_of("t|p000007", PARTITIONS)  # librdkafka agrees with ours


def test_lag_is_nothing_after_transactional_inputs_and_no_more_is_committed(
    world: World, config: EngineConfig
) -> None:
    people = PEOPLE.prefixed(world.prefix)
    producer = Producer({"bootstrap.servers": world.kafka, "transactional.id": f"{world.prefix}source"})
    producer.init_transactions(20)
    for outcome in (producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        for number in range(PARTITIONS):
            value = world.codec.encode(people, counting.person(number))
            producer.produce(people.name, value, b"k", partition=number)
        producer.flush(10)
        outcome(10)
    with running_stage(counting.stage(world.prefix), config):
        world.wait_until_drained()
        count = TRANSACTIONS.labels(counting.NAME, "committed")
        before = count._value.get()
        threading.Event().wait(1.5)
        assert count._value.get() <= before + 1
    assert len(world.records(world.output)) == PARTITIONS


def test_an_operator_holds_and_resumes_a_worker(world: World, config: EngineConfig) -> None:
    with running_stage(counting.stage(world.prefix), config) as running:
        wait_for(lambda: running.status.payload()["ready"], 20)
        world.wait_until_drained()
        running.status.paused.set()
        threading.Event().wait(0.6)
        world.load(50, 5, seed=1)
        threading.Event().wait(1.0)
        assert world.read(world.output.name) == []
        running.status.paused.clear()
        world.wait_until_drained()
    world.assert_exact()


class TestRefusals:
    def test_a_topic_that_is_missing(self, world: World, config: EngineConfig) -> None:
        with running_stage(counting.stage(world.prefix, "elsewhere."), config) as running:
            error = running.ended()
        assert isinstance(error, Stop)
        assert "elsewhere.moodle.m.results" in str(error)
        assert "hub topics apply" in str(error)

    def test_inputs_with_different_numbers_of_partitions(self, world: World, config: EngineConfig) -> None:
        odd = ENROLMENTS.prefixed(world.prefix + "odd.")
        world.make(odd.name, partitions=PARTITIONS + 1)
        people, handler = next(iter(counting.stage(world.prefix).handlers.items()))
        stage = Stage(counting.NAME, {people: handler, odd: handler}, (world.output,))
        with running_stage(stage, config) as running:
            error = running.ended()
        assert isinstance(error, Stop)
        assert f"{odd.name}: {PARTITIONS + 1}" in str(error)

    def test_a_table_without_committed_offsets(self, world: World, config: EngineConfig) -> None:
        self._run_once(world, config)
        with world.admin() as admin:
            for future in admin.delete_consumer_groups([world.group]).values():
                future.result(20)
        with running_stage(counting.stage(world.prefix), config) as running:
            error = running.ended()
        assert isinstance(error, Stop)
        assert "no committed offset for" in str(error)
        assert world.group in str(error)

    def test_committed_offsets_without_a_changelog(self, world: World, config: EngineConfig) -> None:
        self._run_once(world, config)
        with world.admin() as admin:
            admin.delete_topics([world.changelog.name])[world.changelog.name].result(20)
            wait_for(lambda: world.changelog.name not in admin.list_topics(timeout=10).topics, 20)
        world.make(world.changelog.name, config={"cleanup.policy": "compact"})
        with running_stage(counting.stage(world.prefix), config) as running:
            error = running.ended()
        assert isinstance(error, Stop)
        assert "changelog is lost" in str(error)

    def test_a_state_folder_in_use(self, world: World, config: EngineConfig) -> None:
        stage = counting.stage(world.prefix)
        with running_stage(stage, config) as first:
            wait_for(lambda: first.status.payload()["ready"], 20)
            with running_stage(stage, config) as second:
                error = second.ended()
        assert isinstance(error, Stop)
        assert "in use by another process" in str(error)

    def _run_once(self, world: World, config: EngineConfig) -> None:
        world.load(50, 10, seed=1)
        with running_stage(counting.stage(world.prefix), config):
            world.wait_until_drained()
        wait_for(lambda: not world.has_members(), 20)


def test_an_input_that_is_added_later_is_read_from_its_beginning(world: World, config: EngineConfig) -> None:
    world.load(100, 10, seed=1)
    whole = counting.stage(world.prefix)
    people, handler = next(iter(whole.handlers.items()))
    with running_stage(Stage(counting.NAME, {people: handler}, whole.outputs), config):
        wanted = sum(count for (kind, _), count in world.sent.items() if kind == "people")
        wait_for(lambda: len(world.read(world.output.name)) == wanted, 20)
    with running_stage(whole, config):
        world.wait_until_drained()
    world.assert_exact()


def test_a_table_is_restored_where_its_folder_was_deleted(world: World, config: EngineConfig) -> None:
    for seed in (1, 2):
        world.load(300, 30, seed)
        with running_stage(counting.stage(world.prefix), config) as running:
            world.wait_until_drained()
            restored = running.status.payload()["restore"]["records"]
        shutil.rmtree(config.state_folder)
    assert restored > 0
    world.assert_exact()


def test_a_registry_that_is_away_is_waited_for(world: World) -> None:
    with ailing_registry(world.registry, failures=9) as url:
        config = engine_config(world.kafka, url, world.prefix, world.folder / "state")
        world.load(50, 10, seed=1)
        with running_stage(counting.stage(world.prefix), config) as running:
            wait_for(lambda: "schema registry" in running.status.reason, 20)
            world.wait_until_drained()
            wait_for(lambda: not running.status.reason, 20)
    assert_results(world.records(world.output), world.sent)


@contextmanager
def ailing_registry(url: str, failures: int) -> Iterator[str]:
    """Pass requests on to a registry, after as many answers of 503."""
    left = [failures]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._pass_on(None)

        def do_POST(self) -> None:
            self._pass_on(self.rfile.read(int(self.headers["Content-Length"])))

        def _pass_on(self, body: bytes | None) -> None:
            left[0] -= 1
            if left[0] >= 0:
                self.send_error(503)
                return
            kind = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
            request = urllib.request.Request(url + self.path, body, kind)
            with urllib.request.urlopen(request, timeout=10) as answer:
                content = answer.read()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
