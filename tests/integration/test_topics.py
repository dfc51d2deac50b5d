"""`hub topics`: topics and subjects on the real broker and registry; the codec on the real registry."""

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from infra import topics_admin
from infra.codec import Codec, UnreadableError, schema_text
from infra.errors import HubError
from infra.registry import Registry
from infra.settings import KafkaConfig
from schemas.events import AccountPolicy, Operation, Person
from schemas.ids import PersonId, Target, TenantId
from schemas.topics import PEOPLE, TOPICS, Topic, changelog, topic_set
from tests.faults.world import wait_for

pytestmark = pytest.mark.integration
HISTORY = Path(__file__).resolve().parents[2] / "schemas" / "history"


@pytest.fixture
def topics(topic_prefix: str) -> tuple[Topic, ...]:
    return (*topic_set(Target("default"), topic_prefix).all(), changelog("people").prefixed(topic_prefix))


@pytest.fixture
def config(kafka: str) -> KafkaConfig:
    return {"bootstrap.servers": kafka}


@pytest.fixture
def registry(registry_url: str) -> Registry:
    return Registry(registry_url)


def apply(
    config: KafkaConfig, registry: Registry, topics: tuple[Topic, ...]
) -> list[topics_admin.Difference]:
    return topics_admin.apply(config, registry, topics, partitions=3, replication_factor=1)


def test_apply_makes_everything_and_a_second_time_changes_nothing(
    config: KafkaConfig, registry: Registry, topics: tuple[Topic, ...]
) -> None:
    missing = topics_admin.diff(config, registry, topics, 3)
    assert {d.subject for d in missing} >= {topic.name for topic in topics}
    assert apply(config, registry, topics) == missing
    assert apply(config, registry, topics) == []


def test_two_hubs_may_apply_at_the_same_moment(
    config: KafkaConfig, registry: Registry, topics: tuple[Topic, ...]
) -> None:
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(apply, config, registry, topics) for _ in range(4)]:
            done.result()
    assert topics_admin.diff(config, registry, topics, 3) == []


def test_changed_settings_of_a_topic_are_shown_and_mended(
    config: KafkaConfig, registry: Registry, topics: tuple[Topic, ...]
) -> None:
    people = topics[0]
    changed = NewTopic(people.name, 3, 1, config={"retention.ms": "1000"})
    with AdminClient(config) as admin:
        admin.create_topics([changed])[people.name].result()
        wait_for(lambda: people.name in admin.list_topics(timeout=10).topics, 10)
    found = topics_admin.diff(config, registry, [people], 3)
    assert "retention.ms is 1000, not -1" in [d.what for d in found]
    apply(config, registry, (people,))
    assert topics_admin.diff(config, registry, [people], 3) == []


def test_another_number_of_partitions_blocks(
    config: KafkaConfig, registry: Registry, topics: tuple[Topic, ...]
) -> None:
    apply(config, registry, topics[:1])
    (found,) = topics_admin.diff(config, registry, topics[:1], 4)
    assert found.blocking
    with pytest.raises(HubError, match="has 3 partitions, not 4"):
        topics_admin.apply(config, registry, topics[:1], partitions=4, replication_factor=1)


def test_an_incompatible_schema_blocks_and_names_the_reason(
    config: KafkaConfig, registry: Registry, topic_prefix: str
) -> None:
    people = PEOPLE.prefixed(topic_prefix)
    schema = json.loads(schema_text(people))
    schema["fields"].append({"name": "shoe_size", "type": "int"})
    registry.register(people.subject, json.dumps(schema))
    registry.set_compatibility(people.subject, "FULL_TRANSITIVE")
    (found,) = [d for d in topics_admin.diff(config, registry, [people], 3) if d.subject == people.subject]
    assert found.blocking
    assert "not compatible" in found.what


@pytest.mark.parametrize("topic", [one for one in TOPICS if one.record], ids=lambda topic: topic.name)
def test_every_version_in_the_history_is_compatible_with_those_before(
    registry: Registry, topic_prefix: str, topic: Topic
) -> None:
    """An incompatible change of a schema fails here, before it can reach anybody's registry."""
    subject = topic.of(Target("default")).prefixed(topic_prefix).subject
    folder = HISTORY / str(topic.schema).removesuffix(".avsc")
    versions = sorted(folder.glob("*.avsc"), key=lambda path: int(path.stem))
    first, *later = [path.read_text("utf-8") for path in versions]
    registry.register(subject, first)
    registry.set_compatibility(subject, "FULL_TRANSITIVE")
    for text in later:
        assert registry.compatible(subject, text) == []
        registry.register(subject, text)


def test_a_required_new_field_would_be_found_incompatible(registry: Registry, topic_prefix: str) -> None:
    subject = PEOPLE.prefixed(topic_prefix).subject
    schema = json.loads(schema_text(PEOPLE))
    registry.register(subject, json.dumps(schema))
    registry.set_compatibility(subject, "FULL_TRANSITIVE")
    schema["fields"].append({"name": "shoe_size", "type": "int"})
    assert registry.compatible(subject, json.dumps(schema))
    schema["fields"][-1] |= {"type": ["null", "int"], "default": None}
    assert registry.compatible(subject, json.dumps(schema)) == []


PERSON = Person(
    tenant=TenantId("default"),
    person_id=PersonId("0A1B"),
    operation=Operation.UPSERT,
    source_system="elm",
    source_record_id="1",
    version_time=datetime(2026, 11, 21, 5, 13, tzinfo=UTC),
    version_sequence=7,
    recorded_at=datetime(2026, 11, 21, 5, 14, tzinfo=UTC),
    account_policy=AccountPolicy.ALWAYS,
    first_name="សុខា",
)


def test_the_codec_needs_the_schema_registered_and_then_reads_what_it_wrote(
    registry: Registry, topic_prefix: str
) -> None:
    people = PEOPLE.prefixed(topic_prefix)
    with pytest.raises(HubError, match="hub topics apply"):
        Codec(registry).encode(people, PERSON)
    schema_id = registry.register(people.subject, schema_text(people))
    value = Codec(registry).encode(people, PERSON)
    assert value[:5] == b"\x00" + schema_id.to_bytes(4, "big")
    assert Codec(registry).decode(people, value) == PERSON


def test_the_codec_names_the_field_that_does_not_fit(registry: Registry, topic_prefix: str) -> None:
    people = PEOPLE.prefixed(topic_prefix)
    registry.register(people.subject, schema_text(people))
    with pytest.raises(HubError, match="first_name"):
        Codec(registry).encode(people, dataclasses.replace(PERSON, first_name=5))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: None,
        lambda _: b"",
        lambda _: b"{}",
        lambda value: value[:20],
        lambda value: b"\x00\x7f\xff\xff\xff" + value[5:],
        lambda value: b"\x01" + value[1:],
        lambda value: value[:5] + b"\xff" * 40,
    ],
    ids=["none", "empty", "json", "cut", "unknown schema", "other magic", "garbage"],
)
def test_the_codec_refuses_what_it_cannot_read(registry: Registry, topic_prefix: str, damage: object) -> None:
    people = PEOPLE.prefixed(topic_prefix)
    registry.register(people.subject, schema_text(people))
    codec = Codec(registry)
    assert callable(damage)
    with pytest.raises(UnreadableError):
        codec.decode(people, damage(codec.encode(people, PERSON)))
