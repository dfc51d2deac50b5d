"""The figures that Prometheus reads from the scheduler: how things stand in the database and in Kafka."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine

from infra import topics_admin
from infra.cli.figures import lag_figures
from infra.db.connect import engine, raw
from infra.db.migrate import migrate
from infra.figures import Figures, Part
from infra.registry import Registry
from infra.scan import Onlooker
from producers import figures
from schemas.topics import TICKS
from tests.databases import new_database
from tests.integration.admin_support import fill_read_model

pytestmark = pytest.mark.integration

TENANT = "school"
_ROWS = """
    INSERT INTO outbox (topic, key, event_id, source, record, error, created_at)
    VALUES ('hub.people', 'k', 'a', 's', '{}', NULL, now() - interval '100 s'),
        ('hub.people', 'k', 'b', 's', '{}', NULL, now()),
        ('hub.people', 'k', 'c', 's', '{}', 'too large', now() - interval '900 s');
    INSERT INTO invalid_records
        (tenant, source, kind, record_id, digest, content, field, reason, first_seen, last_seen, times_seen,
         solved_at)
    VALUES ('school', 'elm', 'enrolment', '1', '1', '{}', 'f', 'r', now(), now(), 1, NULL),
        ('school', 'elm', 'enrolment', '2', '2', '{}', 'f', 'r', now(), now(), 1, NULL),
        ('school', 'elm', 'enrolment', '3', '3', '{}', 'f', 'r', now(), now(), 1, now());
    INSERT INTO parked_records
        (tenant, source, kind, record_id, missing_kind, missing_id, reason, version_time, version_sequence,
         content, received_at, parked_at)
    VALUES ('school', 'sis', 'enrolment', '1', 'person', '9', 'r', now(), 1, '{}', now(), now());
    INSERT INTO source_runs (tenant, source, state, started_at, finished_at)
    VALUES ('school', 'elm', 'SUCCESS', now(), '2026-11-20 12:00Z'),
        ('school', 'elm', 'FAILED', now(), '2026-11-20 13:00Z'),
        ('school', 'elm', 'RUNNING', now(), NULL), ('school', 'zoho', 'SUCCESS', now(), '2026-11-20Z');
    INSERT INTO schedules (tenant, target, site, enabled, every_seconds, zone)
    VALUES ('school', 'RECONCILE', 'default', true, 60, 'UTC'), ('school', 'SIS', '', false, 60, 'UTC');
    INSERT INTO schedule_runs
        (tenant, target, site, state, trigger, started_at, finished_at, counts, lock_key)
    VALUES ('school', 'RECONCILE', 'default', 'SUCCESS', 'SCHEDULE', now(), '2026-11-20 00:00Z',
            '{"compared": 9, "drifts": 9, "drift_user_missing": 9}', 1),
        ('school', 'RECONCILE', 'default', 'SUCCESS', 'SCHEDULE', now(), '2026-11-20 01:00Z', '{"compared":
            40, "drifts": 5, "drift_enrolment_extra": 3, "drift_user_suspended_elsewhere": 2}', 1),
        ('school', 'RECONCILE', 'default', 'SKIPPED', 'SCHEDULE', now(), now(), '{}', 1),
        ('school', 'SIS', '', 'FAILED', 'SCHEDULE', now(), now(), '{}', 2);
"""
_STANDING = """
    INSERT INTO {model}.accounts (tenant, person_id, missing, blocked, since, place)
    VALUES ('school', 'P1', false, 'EMAIL_TAKEN', now(), 'x'), ('school', 'P2', false, 'INVALID_FIELD', now(),
        'x');
    INSERT INTO {model}.wishes (tenant, person_id, course_id, wanted, waits, waits_if_missing, since, place)
    VALUES ('school', 'P1', 'C1', 'ACTIVE', true, true, now(), 'x'),
        ('school', 'P1', 'C2', 'ACTIVE', true, true, now(), 'x');
    INSERT INTO {model}.course_needs (tenant, course_id, waits_for, since, place)
    VALUES ('school', 'C9', 'term', now(), 'x');
    INSERT INTO {model}.letters (place, role, topic, partition, message_offset, reason, failed_at)
    VALUES ('t/0/1', 'people', 't', 0, 5, 'UNREADABLE', now()),
        ('t/0/2', 'people', 't', 0, 6, 'UNREADABLE', now());
    INSERT INTO {model}.letter_decisions (subject, action, at, place)
    VALUES ('t/0/2', 'dlq.discard', now(), 'x');
    INSERT INTO {model}.offsets (topic, partition, next_offset) VALUES ('t', 0, 7);
"""


@pytest.fixture(scope="module")
def pool(database_url: str) -> Iterator[Engine]:
    with new_database(database_url) as database:
        migrate(database)
        made = engine(database, pool_size=1)
        yield made
        made.dispose()


def shown(*parts: Part) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(Figures(parts))
    return registry


def test_how_things_stand_is_read_from_the_database(pool: Engine) -> None:
    with pool.begin() as connection:
        raw(connection).execute(_ROWS)
    found = shown(figures.parts(pool)[0])

    def value(name: str, **labels: str) -> float | None:
        return found.get_sample_value(name, labels)

    assert value("hub_outbox_events") == 2
    assert value("hub_outbox_set_aside") == 1
    assert 100 <= (value("hub_outbox_oldest_seconds") or 0) < 200
    assert value("hub_invalid_records", source="elm", kind="enrolment") == 2
    assert value("hub_waiting_records", source="sis", kind="enrolment") == 1
    elm, zoho = ({"tenant": TENANT, "source": source} for source in ("elm", "zoho"))
    assert (value("hub_source_failing", **elm), value("hub_source_failing", **zoho)) == (1, 0)
    assert value("hub_source_last_success_timestamp_seconds", **elm) == 1795176000
    site = {"tenant": TENANT, "site": "default"}
    assert value("hub_schedule_failing", target="RECONCILE", **site) == 0
    assert value("hub_schedule_last_success_timestamp_seconds", target="RECONCILE", **site) == 1795136400
    assert value("hub_schedule_failing", tenant=TENANT, target="SIS", site="") is None, "it is switched off"
    assert value("hub_reconciled", **site) == 40
    assert value("hub_drift", subject="ENROLMENT", kind="EXTRA", **site) == 3
    assert value("hub_drift", subject="USER", kind="SUSPENDED_ELSEWHERE", **site) == 2
    assert value("hub_drift", subject="USER", kind="MISSING", **site) is None, "it was of an earlier run"
    assert value("hub_figures_up", part="database") == 1


def test_what_waits_and_what_needs_a_person_is_read_from_the_read_model(pool: Engine) -> None:
    empty = shown(figures.parts(pool)[1])
    assert empty.get_sample_value("hub_figures_up", {"part": "read_model"}) == 1, "there is none yet"
    fill_read_model(pool, _STANDING)
    found = shown(figures.parts(pool)[1])
    expected: list[tuple[str, Mapping[str, str], int]] = [
        ("hub_parked", {"kind": "enrolment", "waits_for": "account"}, 2),
        ("hub_parked", {"kind": "course", "waits_for": "term"}, 1),
        ("hub_conflicts", {"kind": "USER", "reason": "EMAIL_TAKEN"}, 1),
        ("hub_refused", {"kind": "account", "reason": "INVALID_FIELD"}, 1),
        ("hub_dead_letters_open", {"role": "people", "reason": "UNREADABLE"}, 1),
    ]
    for name, labels, value in expected:
        assert found.get_sample_value(name, dict(labels)) == value, (name, labels)
    assert figures.positions(pool) == {("t", 0): 7}


def test_lag_is_told_for_each_role_and_topic(kafka: str, registry_url: str) -> None:
    prefix = f"t{uuid.uuid4().hex[:8]}."
    topic = TICKS.prefixed(prefix)
    config: dict[str, str | int | float | bool] = {"bootstrap.servers": kafka}
    topics_admin.apply(config, Registry(registry_url), [topic], partitions=2, replication_factor=1)
    producer = Producer(config)
    for number in range(10):
        producer.produce(topic.name, b"x", b"k", partition=number % 2)
    assert producer.flush(10) == 0
    reader = Consumer({**config, "group.id": f"{prefix}people", "enable.auto.commit": False})
    reader.commit(offsets=[TopicPartition(topic.name, 0, 4)], asynchronous=False)
    reader.close()
    with Onlooker(config) as onlooker:
        groups = {f"{prefix}people": [topic.name], f"{prefix}courses": [topic.name]}
        found = lag_figures(onlooker, groups, {(topic.name, 0): 5, (topic.name, 1): 2}, prefix)
    lags = {figure.labels: figure.value for figure in found}
    assert lags == {
        ("people", topic.name): 6,  # all of partition 1, where nothing is committed
        ("courses", topic.name): 10,
        ("projector", topic.name): 3,
    }
