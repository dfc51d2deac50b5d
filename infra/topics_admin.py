"""Makes topics and subjects as the table of topics says, and tells where a cluster differs from it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from infra.codec import schema_text
from infra.errors import HubError, RetryLater
from infra.registry import Registry
from infra.settings import KafkaConfig
from schemas.topics import Topic

COMPATIBILITY = "FULL_TRANSITIVE"
_TIMEOUT = 10.0
_PAUSE = 0.05


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is not as the table says.

    Attributes:
        subject: topic or subject.
        what: what differs, in one sentence.
        blocking: `apply` cannot mend it.
    """

    subject: str
    what: str
    blocking: bool = False


def topic_config(topic: Topic) -> dict[str, str]:
    """Return the broker's settings of ``topic``."""
    if topic.compacted and topic.days is None:
        return {"cleanup.policy": "compact"}
    retention = -1 if topic.days is None else topic.days * 86_400_000
    policy = "compact,delete" if topic.compacted else "delete"
    return {"cleanup.policy": policy, "retention.ms": str(retention)}


def diff(
    kafka: KafkaConfig, registry: Registry, topics: Sequence[Topic], partitions: int
) -> list[Difference]:
    """Return what `apply` would change, and what it could not.

    Raises:
        RetryLater: the brokers or the registry do not answer.
    """
    with AdminClient(kafka) as admin:
        return _topic_differences(admin, topics, partitions) + _subject_differences(registry, topics)


def apply(
    kafka: KafkaConfig,
    registry: Registry,
    topics: Sequence[Topic],
    *,
    partitions: int,
    replication_factor: int,
) -> list[Difference]:
    """Make missing topics and subjects; return what was changed. Nothing is changed if something blocks.

    Raises:
        HubError: a topic or schema is such that it cannot be mended without losing something.
        RetryLater: the brokers or the registry do not answer.
    """
    found = diff(kafka, registry, topics, partitions)
    blocking = [f"{item.subject}: {item.what}" for item in found if item.blocking]
    if blocking:
        raise HubError("; ".join(blocking))
    with AdminClient(kafka) as admin:  # closed here: its own thread must not be the one to end it
        existing = _existing(admin)
        missing = [topic for topic in topics if topic.name not in existing]
        _create(admin, missing, partitions, replication_factor)
        _wait_until_known(admin, {topic.name for topic in missing})
        _configure(admin, topics)
    for topic in topics:
        if topic.schema is not None:
            registry.register(topic.subject, schema_text(topic))
            if registry.compatibility(topic.subject) != COMPATIBILITY:
                registry.set_compatibility(topic.subject, COMPATIBILITY)
    return found


def _wait_until_known(admin: AdminClient, names: set[str]) -> None:
    """Wait until the brokers name the new topics too, which their controller has made."""
    deadline = time.monotonic() + _TIMEOUT
    while not names <= _existing(admin).keys():
        if time.monotonic() > deadline:
            raise RetryLater("the Kafka brokers do not know the new topics yet")
        time.sleep(_PAUSE)


def _existing(admin: AdminClient) -> dict[str, int]:
    try:
        metadata = admin.list_topics(timeout=_TIMEOUT)
    except KafkaException as error:
        message = f"the Kafka brokers do not answer: {error.args[0].str()}"
        raise RetryLater(message) from None
    return {name: len(topic.partitions) for name, topic in metadata.topics.items()}


def _topic_differences(admin: AdminClient, topics: Sequence[Topic], partitions: int) -> list[Difference]:
    existing = _existing(admin)
    found = [Difference(t.name, "topic is missing") for t in topics if t.name not in existing]
    present = [topic for topic in topics if topic.name in existing]
    for topic in present:
        if existing[topic.name] != partitions:
            what = f"has {existing[topic.name]} partitions, not {partitions}; keys would move"
            found.append(Difference(topic.name, what, blocking=True))
    settings = _describe(admin, [topic.name for topic in present])
    for topic in present:
        for name, value in topic_config(topic).items():
            if settings[topic.name].get(name) != value:
                found.append(
                    Difference(topic.name, f"{name} is {settings[topic.name].get(name)}, not {value}")
                )
    return found


def _subject_differences(registry: Registry, topics: Sequence[Topic]) -> list[Difference]:
    found = []
    for topic in topics:
        if topic.schema is None:
            continue
        text = schema_text(topic)
        if registry.lookup(topic.subject, text) is None:
            reasons = registry.compatible(topic.subject, text) if registry.versions(topic.subject) else []
            what = "schema is not registered"
            if reasons:
                what = f"schema is not compatible ({COMPATIBILITY}): {'; '.join(reasons)}"
            found.append(Difference(topic.subject, what, blocking=bool(reasons)))
        elif registry.compatibility(topic.subject) != COMPATIBILITY:
            found.append(Difference(topic.subject, f"compatibility is not {COMPATIBILITY}"))
    return found


def _describe(admin: AdminClient, names: Sequence[str]) -> dict[str, dict[str, str | None]]:
    if not names:
        return {}
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    futures = admin.describe_configs(resources, request_timeout=_TIMEOUT)
    return {
        resource.name: {name: entry.value for name, entry in future.result().items()}
        for resource, future in futures.items()
    }


def _create(admin: AdminClient, topics: Sequence[Topic], partitions: int, replication_factor: int) -> None:
    new = [
        NewTopic(topic.name, partitions, replication_factor, config=topic_config(topic)) for topic in topics
    ]
    if not new:
        return
    for name, future in admin.create_topics(new, operation_timeout=_TIMEOUT).items():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                message = f"topic {name} cannot be made: {error.args[0].str()}"
                raise HubError(message) from None


def _configure(admin: AdminClient, topics: Sequence[Topic]) -> None:
    resources = [
        ConfigResource(
            ResourceType.TOPIC,
            topic.name,
            incremental_configs=[
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                for name, value in topic_config(topic).items()
            ],
        )
        for topic in topics
    ]
    for future in admin.incremental_alter_configs(resources, request_timeout=_TIMEOUT).values():
        future.result()
