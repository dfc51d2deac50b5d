from __future__ import annotations

import http.client
from urllib.parse import urlsplit

import psycopg
import pytest
from confluent_kafka.admin import AdminClient, NewTopic

pytestmark = pytest.mark.integration


def test_a_topic_can_be_made_on_the_session_broker(kafka: str, topic_prefix: str) -> None:
    topic = f"{topic_prefix}people"
    with AdminClient({"bootstrap.servers": kafka}) as admin:
        admin.create_topics([NewTopic(topic, 3, 1)])[topic].result(10)
        assert len(admin.list_topics(topic, timeout=10).topics[topic].partitions) == 3


def test_the_session_registry_answers(registry_url: str) -> None:
    parts = urlsplit(registry_url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    try:
        connection.request("GET", f"{parts.path}/subjects")
        assert connection.getresponse().status == 200
    finally:
        connection.close()


@pytest.mark.parametrize("round_number", [1, 2])
def test_every_test_has_an_empty_database(empty_database: str, round_number: int) -> None:
    with psycopg.connect(empty_database) as connection:
        connection.execute("CREATE TABLE once (id int)")
        found = connection.execute("SELECT count(*) FROM pg_tables WHERE tablename = 'once'").fetchone()
        assert found == (1,)
