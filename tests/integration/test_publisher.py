"""Publishing events on a real broker: acknowledged, as the relay sends them, nothing when one is bad."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from infra.errors import HubError, RetryLater
from infra.registry import Registry
from producers.publisher import EventPublisher, InvalidEventError
from schemas.events import Person
from schemas.ids import PersonId
from schemas.topics import PEOPLE
from tests.integration.intake_support import headers, make_topics, messages, records
from tests.unit.test_publisher import ADA, MATHS

pytestmark = pytest.mark.integration


@pytest.fixture
def publisher(kafka: str, registry_url: str, topic_prefix: str) -> EventPublisher:
    make_topics(kafka, registry_url, topic_prefix)
    return EventPublisher(
        {"bootstrap.servers": kafka}, Registry(registry_url), source="school", prefix=topic_prefix
    )


def people(count: int) -> list[Person]:
    return [
        replace(ADA, person_id=PersonId(str(number % 7)), version_sequence=number) for number in range(count)
    ]


def test_events_are_there_when_the_call_returns(
    publisher: EventPublisher, kafka: str, registry_url: str, topic_prefix: str
) -> None:
    sent = people(500)
    with publisher:
        ids = publisher.publish(sent)
        found: list[Any] = records(kafka, registry_url, topic_prefix, PEOPLE)
    assert len(set(ids)) == len(found) == 500
    for person in {event.person_id for event in sent}:
        assert [event for event in found if event.person_id == person] == [
            event for event in sent if event.person_id == person
        ]


async def test_headers_are_those_of_cloudevents(
    publisher: EventPublisher, kafka: str, topic_prefix: str
) -> None:
    with publisher:
        (event_id,) = await publisher.publish_async([ADA])
        (again,) = publisher.publish([ADA])
    assert again == event_id
    first, _ = messages(kafka, topic_prefix + PEOPLE.name)
    told = headers(first)
    assert first.key() == b"t|7"
    assert datetime.fromisoformat(told.pop("ce_time").decode()) <= datetime.now(UTC)
    assert int(told.pop("rosterhub.changed-at")) <= datetime.now(UTC).timestamp() * 1000
    assert told == {
        "ce_specversion": b"1.0",
        "ce_id": event_id.encode(),
        "ce_type": b"rosterhub.person",
        "ce_source": b"rosterhub/publisher/school",
        "ce_subject": b"t|7",
        "content-type": b"application/avro",
    }


def test_one_bad_event_keeps_the_whole_batch_back(
    publisher: EventPublisher, kafka: str, topic_prefix: str
) -> None:
    wrong: Mapping[str, Any] = {"email": 5}
    batch = [*people(3), replace(ADA, **wrong), ADA]
    with publisher, pytest.raises(InvalidEventError) as refused:
        publisher.publish(batch)
    assert (refused.value.position, refused.value.field) == (3, "email")
    assert messages(kafka, topic_prefix + PEOPLE.name) == []


def test_a_topic_that_was_never_made_is_named(publisher: EventPublisher, topic_prefix: str) -> None:
    with publisher, pytest.raises(HubError, match=f"{topic_prefix}hub.programs.*hub topics apply"):
        publisher.publish([MATHS])


def test_brokers_that_are_away_are_told_as_such(registry_url: str, kafka: str, topic_prefix: str) -> None:
    make_topics(kafka, registry_url, topic_prefix)
    away = EventPublisher(
        {"bootstrap.servers": "127.0.0.1:1"},
        Registry(registry_url),
        source="school",
        prefix=topic_prefix,
        timeout=1.0,
    )
    with away, pytest.raises(RetryLater, match="did not acknowledge 1 of 1"):
        away.publish([ADA])


def test_a_forked_process_connects_by_itself(
    publisher: EventPublisher, kafka: str, registry_url: str, topic_prefix: str
) -> None:
    with publisher:
        publisher.publish([ADA])
        with warnings.catch_warnings():
            # Newer Pythons warn of forking beside threads; application servers do it all the same.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if not child:
            try:
                publisher.publish([replace(ADA, version_sequence=2)])
            finally:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        publisher.publish([replace(ADA, version_sequence=3)])
    found: list[Any] = records(kafka, registry_url, topic_prefix, PEOPLE)
    assert [event.version_sequence for event in found] == [1, 2, 3]
