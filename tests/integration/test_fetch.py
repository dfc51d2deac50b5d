"""Messages at known places on the real broker, near each other and far apart."""

from __future__ import annotations

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from infra.fetch import Spot, fetch
from tests.integration.intake_support import until

pytestmark = pytest.mark.integration

COUNT = 5_000
"""Longer than what is rather read than leapt over."""


def test_each_message_is_found_where_it_lies_and_nothing_else(kafka: str, topic_prefix: str) -> None:
    topic = f"{topic_prefix}places"
    with AdminClient({"bootstrap.servers": kafka}) as admin:
        admin.create_topics([NewTopic(topic, 2, 1)])[topic].result(20)
        until(lambda: topic in admin.list_topics(timeout=10).topics)
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": topic})
    producer.init_transactions()
    for commits in (True, False, True):
        producer.begin_transaction()
        for number in range(COUNT):
            producer.produce(topic, str(number), partition=0)
        producer.produce(topic, "other", partition=1)
        assert producer.flush(30) == 0
        (producer.commit_transaction if commits else producer.abort_transaction)()
    # Each transaction ends with a mark of its own in each partition.
    third = 2 * (COUNT + 1)
    there = {Spot(topic, 0, 0): "0", Spot(topic, 0, 7): "7", Spot(topic, 0, COUNT - 1): str(COUNT - 1)}
    there |= {Spot(topic, 0, third): "0", Spot(topic, 0, third + COUNT - 1): str(COUNT - 1)}
    there |= {Spot(topic, 1, 0): "other", Spot(topic, 1, 4): "other"}
    aborted = [Spot(topic, 0, COUNT + 1), Spot(topic, 0, 2 * COUNT), Spot(topic, 1, 2)]
    nowhere = [Spot(topic, 0, COUNT), Spot(topic, 0, 10**6), Spot(topic, 7, 0), Spot(f"{topic}.none", 0, 0)]
    found = fetch({"bootstrap.servers": kafka}, [*there, *there, *aborted, *nowhere])
    assert {spot: (message.value() or b"").decode() for spot, message in found.items()} == there
    assert fetch({"bootstrap.servers": kafka}, nowhere) == {}
