"""Which part of history a rehearsal is about, and what has to be folded for it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from confluent_kafka import Message

from infra.cli.moments import Point
from infra.codec import Codec, UnreadableError
from infra.errors import BadArgument
from infra.mapping import Mapping as Rules
from infra.scan import scan
from infra.settings import KafkaConfig
from processors.shadow import replayable
from producers.entities import Entity
from schemas.academics import Program, Term
from schemas.events import Course, Enrolment
from schemas.ids import TenantId, key, split
from schemas.joins import ReferenceKind
from schemas.moodle import CommandKind
from schemas.topics import Sites, Topic, TopicSet


@dataclass(frozen=True, slots=True)
class Request:
    """Whom a rehearsal is about.

    Attributes:
        topic: whose events choose them, named as in the cluster; one of `replayable`.
        tenant: whose.
        start: the first event that chooses; none: from the beginning.
        end: the first one that does not any more; none: to the end.
        kinds: of what is compared.
        entity: only this.
    """

    topic: Topic
    tenant: TenantId
    start: Point | None = None
    end: Point | None = None
    kinds: tuple[CommandKind, ...] = tuple(CommandKind)
    entity: Entity | None = None

    @property
    def is_whole(self) -> bool:
        """Whether everything of the tenant is chosen."""
        return self.start is None and self.end is None and self.entity is None

    def has(self, message: Message) -> bool:
        """Tell whether ``message`` is within the range."""
        spot = (message.partition() or 0, message.offset() or 0, stored_at(message))
        if self.start is not None and not self.start.is_before(*spot):
            return False
        return self.end is None or not self.end.is_before(*spot)


@dataclass(frozen=True, slots=True)
class Source:
    """Where history is.

    Attributes:
        kafka: how librdkafka reaches the brokers.
        codec: reads the records.
        sites: the topics.
        prefix: before the names of topics.
        rules: to be rehearsed.
    """

    kafka: KafkaConfig
    codec: Codec
    sites: Sites
    prefix: str
    rules: Rules

    @property
    def topics(self) -> TopicSet:
        """The topics that all sites have in common."""
        return self.sites.shared

    def records(self, topic: Topic, takes: Callable[[Message], bool]) -> Iterator[tuple[Message, Any]]:
        """Yield the messages of ``topic`` that ``takes`` lets in, with their records.

        What cannot be read is passed by: the stage has made a dead letter of it.
        """
        for message in scan(self.kafka, topic.name):
            if takes(message):
                try:
                    record = self.codec.decode(topic, message.value())
                except UnreadableError:
                    continue
                yield message, record


class Reach(NamedTuple):
    """Message keys of what is folded; none: everything."""

    people: set[str] | None
    courses: set[str] | None


def stored_at(message: Message) -> datetime:
    """Return the time of ``message``."""
    return datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)


def topic_of(sites: Sites, prefix: str, name: str) -> Topic:
    """Return the topic of history that ``name`` (with or without the hub's prefix) names.

    Raises:
        BadArgument: there is none, or it is not one that sources write.
    """
    known = replayable(sites)
    if topic := known.get(name) or known.get(prefix + name):
        return topic
    names = ", ".join(one.removeprefix(prefix) for one in known)
    problem = f"topic: {name} cannot be replayed; these can: {names}"
    raise BadArgument(problem)


def check_entity(request: Request) -> None:
    """See that the events of the topic tell of the entity.

    Raises:
        BadArgument: they do not.
    """
    told, entity = getattr(request.topic.record, "__dataclass_fields__", {}), request.entity
    needed = (("person_id", entity and entity.person_id), ("course_id", entity and entity.course_id))
    if any(value is not None and name not in told for name, value in needed):
        problem = f"entity: topic {request.topic.name} does not tell of {entity}"
        raise BadArgument(problem)


def chosen_by(source: Source, request: Request) -> set[str]:
    """Return the state keys of what the events in the range are about; see `Choice`."""
    found: set[str] = set()
    takes = of_tenant(request.tenant)
    for _, record in source.records(request.topic, lambda one: takes(one) and request.has(one)):
        if request.entity is None or _is_about(record, request.entity):
            found.update(_names(record))
    if request.topic in (source.topics.terms, source.topics.programs):
        return {
            key("course", record.tenant, record.course_id)
            for _, record in source.records(source.topics.courses, takes)
            if found.intersection(_references(record))
        }
    return found


def of_tenant(tenant: TenantId) -> Callable[[Message], bool]:
    """Return what tells by its key whether a message is of ``tenant``."""
    start = key(tenant, "").encode()
    return lambda message: (message.key() or b"").startswith(start)


def _is_about(record: Any, entity: Entity) -> bool:
    return all(
        wanted is None or getattr(record, name) == wanted
        for name, wanted in (("person_id", entity.person_id), ("course_id", entity.course_id))
    )


def _names(record: Any) -> Iterable[str]:
    if isinstance(record, Enrolment):
        account = key("account", record.tenant, record.person_id)
        return account, key("enrolment", record.tenant, record.person_id, record.course_id)
    if isinstance(record, Term):
        return (key("reference", record.tenant, record.source_system, ReferenceKind.TERM, record.term_id),)
    if isinstance(record, Program):
        name = key("reference", record.tenant, record.source_system, ReferenceKind.PROGRAM, record.program_id)
        return (name,)
    kind = "person" if hasattr(record, "person_id") else "course"
    return (key(kind, record.tenant, getattr(record, f"{kind}_id")),)


def _references(course: Course) -> Iterator[str]:
    for kind, one in ((ReferenceKind.TERM, course.term_id), (ReferenceKind.PROGRAM, course.program_id)):
        if one is not None:
            yield key("reference", course.tenant, course.source_system, kind, one)


def reach_of(source: Source, chosen: set[str]) -> Reach:
    """Return what has to be folded so that what is ``chosen`` comes out as it does in the whole."""
    people: set[str] = set()
    courses: set[str] = set()
    for name in chosen:
        kind, tenant, *ids = split(name)
        (courses if kind == "course" else people).add(key(tenant, ids[0]))
    if courses:
        for _, record in source.records(source.topics.enrolments, lambda _: True):
            if key(record.tenant, record.course_id) in courses:
                people.add(record.key)
    for _, record in source.records(source.topics.enrolments, among(people)):
        courses.add(key(record.tenant, record.course_id))
    return Reach(people, courses)


def among(keys: set[str]) -> Callable[[Message], bool]:
    """Return what tells whether a message has one of ``keys``."""
    encoded = {one.encode() for one in keys}
    return lambda message: message.key() in encoded
