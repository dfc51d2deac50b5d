"""The relay on a real broker: order, headers, takeover, outages, and its death at any moment."""

from __future__ import annotations

import random
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from typing import Any

import psycopg
import pytest
from confluent_kafka import Message
from sqlalchemy import Engine

from infra.codec import Codec
from infra.db.connect import driver_connection, engine
from infra.db.locks import try_lock
from infra.registry import Registry
from producers import outbox
from producers.intake import Intake
from producers.outbox import Backlog
from producers.relay import ROLE, RelaySettings, run_relay
from schemas.events import Person
from schemas.origin import CHANGED_AT
from schemas.topics import PEOPLE
from tests.integration import intake_support as support
from tests.integration.intake_support import ORIGIN, person, rows
from tests.integration.intake_worker import worker

pytestmark = pytest.mark.integration


@pytest.fixture
def pool(fresh_database: str) -> Iterator[Engine]:
    made = engine(fresh_database)
    yield made
    made.dispose()


@pytest.fixture
def settings(
    pool: Engine, fresh_database: str, kafka: str, registry_url: str, topic_prefix: str
) -> RelaySettings:
    support.make_topics(kafka, registry_url, topic_prefix)
    return support.relay_settings(fresh_database, kafka, registry_url, topic_prefix)


def fill(pool: Engine, people: int, versions: int) -> None:
    intake = Intake(pool)
    for version in range(1, versions + 1):
        intake.take(ORIGIN, [person(f"p{number}", version, v=version) for number in range(people)])


def published(settings: RelaySettings) -> list[Message]:
    return support.messages(str(settings.kafka["bootstrap.servers"]), PEOPLE.prefixed(settings.prefix).name)


def ids(messages: list[Message]) -> list[str]:
    return [support.headers(message)["ce_id"].decode() for message in messages]


def assert_in_order(messages: list[Message], settings: RelaySettings) -> None:
    """Check that each key's events, at their first appearance, come in the order of their versions."""
    codec, topic = Codec(settings.registry), PEOPLE.prefixed(settings.prefix)
    seen: set[str] = set()
    last: dict[str, int] = {}
    for message, event_id in zip(messages, ids(messages), strict=True):
        if event_id not in seen:
            seen.add(event_id)
            event = codec.decode(topic, message.value())
            assert isinstance(event, Person)
            assert last.get(event.key, 0) < event.version_sequence
            last[event.key] = event.version_sequence


def test_events_are_published_in_order_with_their_headers(
    settings: RelaySettings, pool: Engine, fresh_database: str
) -> None:
    fill(pool, people=30, versions=5)
    stored = rows(fresh_database, "SELECT event_id FROM outbox")
    with support.relaying(settings):
        support.until_relayed(fresh_database)
    found = published(settings)
    assert sorted(ids(found)) == sorted(row[0] for row in stored)
    assert_in_order(found, settings)
    head = support.headers(found[0])
    key = found[0].key()
    assert head.pop("ce_id")
    taken_in = datetime.fromisoformat(head.pop("ce_time").decode())
    assert abs(float(head.pop(CHANGED_AT)) / 1000 - taken_in.timestamp()) < 0.002
    assert head == {
        "ce_specversion": b"1.0",
        "ce_type": b"rosterhub.person",
        "ce_source": b"rosterhub/intake/sis",
        "ce_subject": key,
        "content-type": b"application/avro",
    }
    assert outbox.backlog(pool) == Backlog(0, 0)


def test_an_event_is_relayed_as_soon_as_it_is_taken_in(
    settings: RelaySettings, pool: Engine, fresh_database: str
) -> None:
    """With the look into the outbox an hour away, only the wake-up call can be what moves it."""
    with support.relaying(replace(settings, look_seconds=3600.0)):
        for number in range(5):
            threading.Event().wait(0.3)  # the relay has looked once more and gone to sleep
            Intake(pool).take(ORIGIN, [person("p", number + 1, v=number)])
            support.until_relayed(fresh_database, 20)
    assert len(published(settings)) == 5


def test_nothing_is_lost_or_out_of_order_while_many_write(
    settings: RelaySettings, pool: Engine, fresh_database: str
) -> None:
    """Numbers of the outbox are drawn before the commit, so lower ones may become visible later."""
    intake = Intake(pool)

    def write(seed: int) -> int:
        mixed, events = random.Random(seed), 0
        for version in range(1, 30):
            batch = [person(f"p{number}", version, v=version) for number in mixed.sample(range(60), 25)]
            events += sum(answer.events for answer in intake.take(ORIGIN, batch))
        return events

    with support.relaying(replace(settings, batch_size=50)):
        with ThreadPoolExecutor(6) as threads:
            written = sum(threads.map(write, range(6)))
        support.until_relayed(fresh_database)
    found = published(settings)
    assert len(found) == len(set(ids(found))) == written
    assert_in_order(found, settings)


def test_an_event_that_fits_no_schema_is_set_aside_and_the_others_go_on(
    settings: RelaySettings, pool: Engine, fresh_database: str
) -> None:
    fill(pool, people=3, versions=1)
    broken = {
        "t1|p0": "UPDATE outbox SET record = '{\"tenant\": 5}' WHERE key = %s",
        "t1|p1": "UPDATE outbox SET topic = 'hub.unheard-of' WHERE key = %s",
    }
    with psycopg.connect(fresh_database) as connection:
        for key, statement in broken.items():
            connection.execute(statement, [key])
    with support.relaying(settings):
        support.until_relayed(fresh_database)
    assert [message.key() for message in published(settings)] == [b"t1|p2"]
    assert outbox.backlog(pool) == Backlog(0, 2)
    assert all(row[0] for row in rows(fresh_database, "SELECT error FROM outbox"))


def test_an_event_too_large_for_the_broker_is_set_aside(
    settings: RelaySettings, pool: Engine, fresh_database: str
) -> None:
    text = random.Random(1).randbytes(2_000_000).hex()
    Intake(pool).take(ORIGIN, [person("big", text=text), person("small", text="x")])
    with support.relaying(settings):
        support.until_relayed(fresh_database)
    assert [message.key() for message in published(settings)] == [b"t1|small"]
    assert outbox.backlog(pool) == Backlog(0, 1)


def test_a_second_relay_stands_by_and_takes_over(
    settings: RelaySettings, pool: Engine, fresh_database: str
) -> None:
    fill(pool, people=5, versions=1)
    stop = threading.Event()
    with driver_connection(fresh_database) as holder:
        assert try_lock(holder, ROLE, settings.prefix)
        thread = threading.Thread(target=run_relay, args=(settings, stop))
        thread.start()
        thread.join(2.0)
        assert outbox.backlog(pool) == Backlog(5, 0)
    try:
        support.until_relayed(fresh_database)
    finally:
        stop.set()
        thread.join(15)
    assert len(published(settings)) == 5


@pytest.mark.parametrize("away", ["kafka", "registry", "topic"])
def test_what_cannot_be_published_now_waits_and_goes_on_by_itself(
    settings: RelaySettings, pool: Engine, fresh_database: str, away: str, registry_url: str
) -> None:
    """Intake needs neither Kafka nor the registry; the relay keeps trying until they are there."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = "{}:{}".format(*closed.getsockname())
    broken: dict[str, RelaySettings] = {
        "kafka": replace(settings, kafka={"bootstrap.servers": address}),
        "registry": replace(settings, registry=Registry(f"http://{address}", timeout=0.5)),
        "topic": replace(settings, prefix=f"{settings.prefix}none."),
    }
    stop = threading.Event()
    thread = threading.Thread(target=run_relay, args=(broken[away], stop))
    thread.start()
    fill(pool, people=5, versions=3)
    thread.join(1.5)
    assert outbox.backlog(pool) == Backlog(15, 0)
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
    with support.relaying(settings):
        support.until_relayed(fresh_database)
    found = published(settings)
    assert len(set(ids(found))) == 15
    assert_in_order(found, settings)


@pytest.mark.faults
def test_a_relay_killed_at_any_moment_loses_nothing_and_keeps_the_order(
    settings: RelaySettings, pool: Engine, fresh_database: str, kafka: str, registry_url: str
) -> None:
    fill(pool, people=500, versions=16)
    stored = {row[0] for row in rows(fresh_database, "SELECT event_id FROM outbox")}
    arguments = ("relay", fresh_database, kafka, registry_url, settings.prefix, "1000")
    kills, left = 0, len(stored)
    while left:
        with worker(*arguments) as process:
            # Killed when the broker has acknowledged some of a batch and others are under way.
            support.until(lambda: _count(fresh_database) < left or not left, 30)  # noqa: B023
            threading.Event().wait(random.Random(kills).uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
            process.wait(10)
        kills, left = kills + 1, _count(fresh_database)
    found = published(settings)
    assert set(ids(found)) == stored
    assert_in_order(found, settings)
    assert kills >= 3
    assert len(found) > len(stored), "no kill came between acknowledgement and removal"


def _count(database: str) -> int:
    counted: Any = rows(database, "SELECT count(*) FROM outbox")[0][0]
    return int(counted)


def test_a_relay_ends_soon_after_it_was_told_to(
    settings: RelaySettings, pool: Engine, fresh_database: str, kafka: str, registry_url: str
) -> None:
    fill(pool, people=5, versions=1)
    arguments = ("relay", fresh_database, kafka, registry_url, settings.prefix, "1000")
    with worker(*arguments) as process:
        support.until_relayed(fresh_database)
        process.terminate()
        assert process.wait(10) == 0
