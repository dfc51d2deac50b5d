"""What is to be done about each dead letter that is redriven: decided here, done in `producers.redriving`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, NamedTuple, cast

from confluent_kafka import Message
from sqlalchemy import Engine

from infra.codec import Codec, UnreadableError
from infra.db.connect import reading
from infra.dead_letters import Found, read
from infra.fetch import Spot, fetch, spot_of
from infra.scan import Onlooker, scan
from infra.settings import KafkaConfig
from schemas.deadletters import DeadLetter, Header, without_ours
from schemas.directives import Directive
from schemas.elm import CompletionCallback
from schemas.ids import CourseId, PersonId, TenantId, split
from schemas.moodle import CommandKind, MoodleCommand
from schemas.topics import Record, Sites, Topic

_NEWER_CALLBACKS: Final = """
    SELECT asked.place
    FROM unnest(%s::text[], %s::text[], %s::text[], %s::timestamptz[])
        AS asked (place, tenant, enrolment_id, issued_at)
    WHERE EXISTS (
        SELECT FROM read_model.callbacks AS c
        WHERE c.tenant = asked.tenant AND c.enrolment_id = asked.enrolment_id
          AND c.issued_at > asked.issued_at
    )
"""
_NEWER_DIRECTIVES: Final = """
    SELECT asked.place
    FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::timestamptz[])
        AS asked (place, tenant, subject, person_id, course_id, issued_at)
    WHERE EXISTS (
        SELECT FROM read_model.directives AS d
        WHERE d.tenant = asked.tenant AND d.subject = asked.subject AND d.issued_at > asked.issued_at
          AND coalesce(d.person_id, '') = asked.person_id AND coalesce(d.course_id, '') = asked.course_id
    )
"""
_MEANT_BY_KEY: Final = """
    SELECT 'USER', person_id, NULL FROM read_model.people WHERE (tenant, person_id) = (%(tenant)s, %(id)s)
    UNION
    SELECT 'COURSE', NULL, course_id FROM read_model.courses WHERE (tenant, course_id) = (%(tenant)s, %(id)s)
    UNION
    SELECT 'COURSE', NULL, course_id FROM read_model.enrolments
    WHERE (tenant, course_id) = (%(tenant)s, %(id)s)
    UNION
    SELECT 'ENROLMENT', person_id, course_id FROM read_model.enrolment_snapshot
    WHERE (tenant, course_id) = (%(tenant)s, %(id)s) AND wanted IS DISTINCT FROM actual
"""
_TENANT_AND_ENTITY: Final = 2


class Remedy(StrEnum):
    """What is done about a dead letter."""

    AGAIN = "AGAIN"
    """Its message goes back to its topic."""
    REASSERTED = "REASSERTED"
    """What is wished now is issued as a new command."""
    OVERTAKEN = "OVERTAKEN"
    """Nothing: something newer has taken the place of the message."""
    UNREADABLE = "UNREADABLE"
    """It stays open: this release cannot read the message either."""
    GONE = "GONE"
    """It stays open: letter or message is not kept any more."""
    FOREIGN = "FOREIGN"
    """It stays open: its topic is none of this hub's."""
    DECIDED = "DECIDED"
    """Nothing: somebody has decided about it meanwhile."""


STAYS_OPEN: Final = frozenset({Remedy.UNREADABLE, Remedy.GONE, Remedy.FOREIGN})


class Wish(NamedTuple):
    """An account, course or enrolment whose wish is to be issued anew."""

    tenant: TenantId
    subject: CommandKind
    person_id: PersonId | None
    course_id: CourseId | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done about one dead letter.

    Attributes:
        found: the letter as it is listed.
        remedy: what is done.
        back: of `Remedy.AGAIN`: the letter whose message goes back, whole.
        wishes: of `Remedy.REASSERTED`.
    """

    found: Found
    remedy: Remedy
    back: DeadLetter | None = None
    wishes: tuple[Wish, ...] = ()


@dataclass(frozen=True, slots=True)
class Means:
    """What of the hub is needed to decide about dead letters and to redrive them.

    Attributes:
        pool: the hub's database, with the read model.
        kafka: how the brokers are reached.
        codec: reads the messages.
        sites: all topics of the hub.
    """

    pool: Engine
    kafka: KafkaConfig
    codec: Codec
    sites: Sites


def plans(means: Means, batch: Sequence[Found]) -> list[Plan]:
    """Return what is to be done about each dead letter of ``batch``, as things are now.

    Raises:
        RetryLater: Kafka, registry or database is away.
    """
    found = read(means.kafka, [spot_of(one.place) for one in batch])
    letters = {str(spot): letter for spot, letter in found.items()}
    whole = _whole(means.kafka, letters)
    topics = {topic.name: topic for topic in means.sites.all()}
    drafts = [_draft(means, one, letters.get(one.place), whole.get(one.place), topics) for one in batch]
    return _without_overtaken(means, drafts, topics)


def _whole(kafka: KafkaConfig, letters: Mapping[str, DeadLetter]) -> dict[str, DeadLetter]:
    """Return ``letters`` by place, with the messages that were too large for them; without those not kept."""
    large = {place: _origin(letter) for place, letter in letters.items() if letter.left_out is not None}
    messages = fetch(kafka, set(large.values()))
    whole = {place: letter for place, letter in letters.items() if place not in large}
    for place, origin in large.items():
        if (message := messages.get(origin)) is not None:
            whole[place] = _with(letters[place], message)
    return whole


def _with(letter: DeadLetter, message: Message) -> DeadLetter:
    headers = without_ours(cast(list[Header], message.headers() or []))
    return replace(letter, message_value=message.value(), message_headers=headers)


def _origin(letter: DeadLetter) -> Spot:
    return Spot(letter.topic, letter.partition, letter.offset)


class _Draft(NamedTuple):
    """A plan, and of one whose message is to go back the letter and its record."""

    plan: Plan
    letter: DeadLetter | None = None
    record: Record | None = None


def _draft(
    means: Means,
    found: Found,
    letter: DeadLetter | None,
    whole: DeadLetter | None,
    topics: Mapping[str, Topic],
) -> _Draft:
    if letter is None or (topic := topics.get(letter.topic)) is None:
        return _Draft(Plan(found, Remedy.GONE if letter is None else Remedy.FOREIGN))
    record = _record(means.codec, topic, whole)
    if topic.record is MoodleCommand:
        wishes = _wishes(means.pool, letter, record)
        return _Draft(Plan(found, Remedy.REASSERTED if wishes else Remedy.UNREADABLE, wishes=wishes))
    if whole is None or record is None:
        return _Draft(Plan(found, Remedy.GONE if whole is None else Remedy.UNREADABLE))
    return _Draft(Plan(found, Remedy.AGAIN, whole), whole, record)


def _record(codec: Codec, topic: Topic, letter: DeadLetter | None) -> Record | None:
    if letter is None:
        return None
    try:
        return codec.decode(topic, letter.message_value)
    except UnreadableError:
        return None


def _wishes(pool: Engine, letter: DeadLetter, command: Record | None) -> tuple[Wish, ...]:
    """Return what ``command`` was about; of one that cannot be read, all that its key may stand for."""
    if isinstance(command, MoodleCommand):
        body = command.user or command.course or command.enrolment
        person, course = getattr(body, "person_id", None), getattr(body, "course_id", None)
        if body is not None:
            return (Wish(command.tenant, command.kind, person, course),)
    parts = split(letter.key)
    if len(parts) != _TENANT_AND_ENTITY:
        return ()
    tenant, entity = parts
    with reading(pool) as connection:
        rows = connection.execute(_MEANT_BY_KEY, {"tenant": tenant, "id": entity}).fetchall()
    return tuple(
        Wish(TenantId(tenant), CommandKind(subject), person, course) for subject, person, course in rows
    )


def _without_overtaken(means: Means, drafts: Sequence[_Draft], topics: Mapping[str, Topic]) -> list[Plan]:
    """Return the plans, those changed whose message must not go back: something newer is there."""
    back = {
        draft.plan.found.place: (draft.letter, draft.record)
        for draft in drafts
        if draft.letter is not None and draft.record is not None
    }
    records = {place: record for place, (_, record) in back.items()}
    compacted = {place: letter for place, (letter, _) in back.items() if topics[letter.topic].compacted}
    overtaken = _newer_decided(means.pool, records) | _newer_in_topic(means.kafka, compacted)
    return [
        Plan(draft.plan.found, Remedy.OVERTAKEN) if draft.plan.found.place in overtaken else draft.plan
        for draft in drafts
    ]


def _newer_decided(pool: Engine, records: Mapping[str, Record]) -> set[str]:
    """Return the places of callbacks and directives after which a newer one was issued about the same."""
    callbacks = [
        (place, one.tenant, one.enrolment_id, one.issued_at)
        for place, one in records.items()
        if isinstance(one, CompletionCallback)
    ]
    directives = [
        (place, one.tenant, one.subject.value, one.person_id or "", one.course_id or "", one.issued_at)
        for place, one in records.items()
        if isinstance(one, Directive)
    ]
    return _asked(pool, _NEWER_CALLBACKS, callbacks) | _asked(pool, _NEWER_DIRECTIVES, directives)


def _asked(pool: Engine, query: str, rows: Sequence[tuple[Any, ...]]) -> set[str]:
    """Return the places (the first column of ``rows``) that ``query`` finds, which takes the columns."""
    if not rows:
        return set()
    columns = [list(column) for column in zip(*rows, strict=True)]
    with reading(pool) as connection:
        return {place for (place,) in connection.execute(query, columns).fetchall()}


def _newer_in_topic(kafka: KafkaConfig, letters: Mapping[str, DeadLetter]) -> set[str]:
    """Return the places of letters whose message is not the last of its key in its compacted topic.

    Readers of such a topic go by its last message, so an older one must not become that.
    """
    last: dict[tuple[str, bytes | None], int] = {}
    for topic in {letter.topic for letter in letters.values()}:
        since = [_origin(letter) for letter in letters.values() if letter.topic == topic]
        last |= {(topic, key): offset for key, offset in _last_offsets(kafka, topic, since).items()}
    return {
        place
        for place, letter in letters.items()
        if last.get((letter.topic, letter.message_key), -1) > letter.offset
    }


def _last_offsets(kafka: KafkaConfig, topic: str, since: Collection[Spot]) -> dict[bytes | None, int]:
    """Return the offset of the last message of each key, among those after the first of ``since``."""
    with Onlooker(kafka) as onlooker:
        start = onlooker.ends([topic])
    for _, partition, offset in since:
        start[topic, partition] = min(start.get((topic, partition), offset), offset)
    return {message.key(): message.offset() or 0 for message in scan(kafka, topic, start)}
