"""Rehearses history: what the stages would make of it now, beside what the running hub has made of it."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final

import msgspec

from infra.cli.history import Reach, Request, Source, among, chosen_by, of_tenant, reach_of
from infra.engine.tables import PartitionTable
from infra.scan import scan
from infra.scratch import Scratch
from infra.settings import KafkaConfig
from processors.differences import compare
from processors.shadow import STAGES, shadow
from processors.verdicts import Choice, Compared
from schemas.events import Course, Enrolment, Person
from schemas.ids import TenantId, key
from schemas.moodle import CommandKind
from schemas.topics import Record, Topic, changelog
from schemas.version import Version

_SAVED: Final = 2_000
"""Messages between two moves from memory to disk."""
Progress = Callable[[str, int], None]
"""Told what is being done, and how many messages that has taken since the last time."""


class Heard(msgspec.Struct, frozen=True, array_like=True):
    """The newest event of a record: its version and its place."""

    version: Version
    place: str


def rehearse(
    source: Source, request: Request, scratch: Scratch, now: datetime, progress: Progress
) -> Iterator[Compared]:
    """Rehearse, and yield what would become of all that ``request`` chooses.

    Args:
        source: where history is.
        request: whom it is about.
        scratch: empty; afterwards `places_of` tells where the events of an entity are.
        now: the time to which the rehearsal lets time pass.
        progress: told how far it is.

    Raises:
        RetryLater: Kafka or the registry is away.
    """
    chosen = None if request.is_whole else chosen_by(source, request)
    reach = Reach(None, None) if chosen is None else reach_of(source, chosen)
    live = _live(source, scratch, progress)
    own = {name: scratch.table(f"shadow-{name}") for name in STAGES}
    rehearsed = shadow(source.rules, source.sites, own, live)
    rehearsed.rehearse(_reader(source, request.tenant, reach, scratch, progress), now)
    scratch.save()
    choice = Choice(request.tenant, request.kinds, chosen)
    return compare(rehearsed.tables, live, source.rules, choice)


def places_of(scratch: Scratch, compared: Compared) -> tuple[str, ...]:
    """Return where the newest events of an entity's records are, if they are to be published again."""
    if not compared.is_told_otherwise:
        return ()
    ids = [one for one in (compared.person_id, compared.course_id) if one is not None]
    prefix = key("heard", compared.kind, compared.tenant, *ids, "")
    return tuple(heard.place for _, heard in scratch.table("heard").scan(prefix, Heard))


def _live(source: Source, scratch: Scratch, progress: Progress) -> dict[str, PartitionTable]:
    """Return the tables of the running hub, as their changelogs tell them now."""
    for name in STAGES:
        topic = changelog(name).prefixed(source.prefix).name
        _load(source.kafka, topic, f"live-{name}", scratch, progress)
    return {name: scratch.table(f"live-{name}") for name in STAGES}


def _load(kafka: KafkaConfig, topic: str, name: str, scratch: Scratch, progress: Progress) -> None:
    rows: dict[bytes, bytes | None] = {}
    for message in scan(kafka, topic):
        rows[message.key() or b""] = message.value()
        if len(rows) >= _SAVED:
            scratch.fill(name, rows)
            progress("reading what the hub holds", len(rows))
            rows = {}
    scratch.fill(name, rows)


def _reader(
    source: Source, tenant: TenantId, reach: Reach, scratch: Scratch, progress: Progress
) -> Callable[[Topic], Iterator[Record]]:
    """Return what reads a topic within ``reach``, and moves what was folded to disk now and then."""
    topics = source.topics
    keys = {
        topics.people: reach.people,
        topics.payments: reach.people,
        topics.enrolments: reach.people,
        topics.courses: reach.courses,
        topics.sections: reach.courses,
    }

    def read(topic: Topic) -> Iterator[Record]:
        wanted = keys.get(topic)
        takes = of_tenant(tenant) if wanted is None else among(wanted)
        for count, (message, record) in enumerate(source.records(topic, takes), 1):
            _note(scratch, record, f"{topic.name}/{message.partition()}/{message.offset()}")
            yield record
            if count % _SAVED == 0:
                scratch.save()
                progress("rehearsing", _SAVED)
        scratch.save()

    return read


def _note(scratch: Scratch, record: Record, place: str) -> None:
    """Remember where the newest event of a record is."""
    names: tuple[str, ...]
    match record:
        case Enrolment():
            names = (CommandKind.ENROLMENT, record.tenant, record.person_id, record.course_id)
        case Person():
            names = (CommandKind.USER, record.tenant, record.person_id)
        case Course():
            names = (CommandKind.COURSE, record.tenant, record.course_id)
        case _:
            return
    one = record.enrolment_id if isinstance(record, Enrolment) else record.source_record_id
    at = key("heard", *names, record.source_system, one)
    table = scratch.table("heard")
    known = table.get(at, Heard)
    if known is None or record.version >= known.version:
        table.put(at, Heard(record.version, place))
