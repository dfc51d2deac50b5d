"""The messages that are about an entity, in the order of time: found by the read model, read from Kafka."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Engine

from infra.codec import Codec, UnreadableError
from infra.fetch import Spot, fetch
from infra.settings import KafkaConfig
from producers.entities import Entity
from producers.held import read_model
from schemas.moodle import CommandKind
from schemas.topics import Record, Sites, Topic

_SELECT: Final = "SELECT topic, partition, message_offset, at FROM read_model.history"
_OF_PERSON: Final = f"{_SELECT} WHERE tenant = %(tenant)s AND person_id = %(person)s"
_OF_COURSE: Final = (
    f"{_SELECT} WHERE tenant = %(tenant)s AND course_id = %(course)s AND coalesce(person_id, '') = ''"
)
_OF_BOTH: Final = f"{_OF_PERSON} AND course_id = %(course)s"
_OF_PERSON_ALONE: Final = f"{_OF_PERSON} AND coalesce(course_id, '') = ''"
_QUERIES: Final = {
    CommandKind.USER: _OF_PERSON,
    CommandKind.COURSE: _OF_COURSE,
    CommandKind.ENROLMENT: f"{_OF_BOTH} UNION {_OF_PERSON_ALONE} UNION {_OF_COURSE}",
}


class Told(NamedTuple):
    """A message that is about an entity.

    Attributes:
        at: when it was stored.
        spot: where it lies.
        topic: its topic.
        record: what it says; none where the topic does not keep it any more, or it cannot be read.
    """

    at: datetime
    spot: Spot
    topic: Topic
    record: Record | None


@dataclass(frozen=True, slots=True)
class Archive:
    """Where messages are found and read.

    Attributes:
        pool: of the database with the read model.
        kafka: how librdkafka reaches the brokers.
        codec: reads the records.
        sites: the topics.
    """

    pool: Engine
    kafka: KafkaConfig
    codec: Codec
    sites: Sites

    def about(self, entity: Entity, limit: int | None = None, until: datetime | None = None) -> list[Told]:
        """Return the messages about ``entity`` stored up to ``until``, in the order of time.

        Of an enrolment those of the person's account and of the course are among them.

        Args:
            entity: an account, a course, or an enrolment.
            limit: the newest so many; none: all.
            until: none: all.

        Raises:
            RetryLater: Kafka, the registry or the database is away, or there is no read model yet.
        """
        rows = self._rows(entity, limit, until)
        known = {topic.name: topic for topic in self.sites.all()}
        places = [(Spot(*row[:3]), row[3]) for row in rows if row[0] in known]
        found = fetch(self.kafka, (spot for spot, _ in places))
        told = [
            Told(at, spot, known[spot.topic], self._read(known[spot.topic], found, spot))
            for spot, at in places
        ]
        return sorted(told, key=lambda one: (one.at, one.spot.offset))

    def _rows(self, entity: Entity, limit: int | None, until: datetime | None) -> Sequence[Any]:
        query = (
            f"SELECT * FROM ({_QUERIES[entity.kind]}) AS told"  # noqa: S608 - texts of ours
            " WHERE %(until)s::timestamptz IS NULL OR at <= %(until)s"
            " ORDER BY at DESC LIMIT %(limit)s"
        )
        asked: Mapping[str, Any] = {
            "tenant": entity.tenant,
            "person": entity.person_id,
            "course": entity.course_id,
            "until": until,
            "limit": limit,
        }
        with read_model(self.pool) as connection:
            return connection.execute(query, asked).fetchall()

    def _read(self, topic: Topic, found: Mapping[Spot, Any], spot: Spot) -> Record | None:
        message = found.get(spot)
        if message is None:
            return None
        try:
            return self.codec.decode(topic, message.value())
        except UnreadableError:
            return None
