"""Teachers of sections as enrolments of their classes: one for each teacher and class, naming the sections.

A SIS tells for each section who teaches it; Moodle enrols a teacher once in a course. So for every class is
kept who teaches which of its sections, and a change of a section changes the enrolments it touches.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import Engine, text

from infra.db.connect import database_trouble, raw
from infra.db.locks import lock_key
from producers import kept
from producers.candidates import Origin, State
from producers.sis.records import ENROLMENT, ROSTER, SECTION, Record, Refused
from schemas.version import Version

Roster = dict[str, list[str]]
"""Ids of the teachers by the id of the section."""

ROSTER_FIELD: Final = "teachers_by_section"
_TEACHING: Final = {"role": "teacher", "status": "ACTIVE"}
_TICK: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Kept:
    """A section as it is kept."""

    course: str | None
    version: Version


@contextmanager
def one_at_a_time(engine: Engine, origin: Origin) -> Iterator[None]:
    """Let one batch of sections of a source be taken at a time: each builds on what the last left."""
    key = lock_key(SECTION, origin.tenant, origin.source)
    with database_trouble(), engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
        yield


def following(
    engine: Engine, origin: Origin, records: Sequence[Record | Refused], received_at: datetime
) -> list[Record]:
    """Return the rosters and enrolments of teachers that the sections among ``records`` bring about.

    Call it, and take what it returns, inside `one_at_a_time`.
    """
    sections = [each for each in records if isinstance(each, Record) and each.kind == SECTION]
    if not sections:
        return []
    known = {
        name: Kept(_content(state).get("course"), state.version)
        for name, state in _read(engine, origin, SECTION, [each.id for each in sections]).items()
    }
    courses = {each.course for each in sections} | {each.course for each in known.values()}
    states = _read(engine, origin, ROSTER, sorted(name for name in courses if name))
    before = {name: _roster(state) for name, state in states.items()}
    after = changed(before, known, sections)
    latest = max((state.version.time for state in states.values()), default=received_at)
    return list(_records(before, after, max(received_at, latest + _TICK)))


def changed(
    before: Mapping[str, Roster], known: Mapping[str, Kept], sections: Sequence[Record]
) -> dict[str, Roster]:
    """Return the rosters, by course, after ``sections`` in their order; older versions change nothing."""
    after = {course: dict(roster) for course, roster in before.items()}
    latest = dict(known)
    for section in sections:
        own, version = latest.get(section.id), Version(section.time, 0)
        if own is not None and version < own.version:
            continue
        if own is not None and own.course is not None:
            after.get(own.course, {}).pop(section.id, None)
        course = section.course or (own.course if own else None)
        if course is not None:
            after.setdefault(course, {}).pop(section.id, None)
            if not section.deleted:
                after[course][section.id] = list(section.teachers)
        latest[section.id] = Kept(course, version)
    return after


def _records(before: Mapping[str, Roster], after: Mapping[str, Roster], time: datetime) -> Iterator[Record]:
    for course, roster in sorted(after.items()):
        old, new = _by_teacher(before.get(course, {})), _by_teacher(roster)
        if roster != before.get(course, {}):
            fields = {ROSTER_FIELD: msgspec.json.encode(roster, order="sorted").decode()}
            yield Record(kind=ROSTER, id=course, time=time, fields=fields)
        for teacher in sorted(old.keys() | new.keys()):
            if old.get(teacher) != new.get(teacher):
                yield Record(
                    kind=ENROLMENT,
                    id=f"{course}|{teacher}|teaching",
                    time=time,
                    deleted=teacher not in new,
                    person=teacher,
                    course=course,
                    sections=new.get(teacher, ()),
                    fields=dict(_TEACHING),
                )


def _by_teacher(roster: Roster) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for section, teachers in sorted(roster.items()):
        for teacher in teachers:
            found.setdefault(teacher, []).append(section)
    return {teacher: tuple(sections) for teacher, sections in found.items()}


def _read(engine: Engine, origin: Origin, kind: str, ids: Sequence[str]) -> dict[str, State]:
    keys = [(kind, name) for name in dict.fromkeys(ids)]
    with database_trouble(), engine.connect() as connection:
        found = kept.read(raw(connection), origin, keys, with_content=True)
    return {name: state for (_, name), state in found.items()}


def _content(state: State) -> dict[str, Any]:
    content: dict[str, Any] = msgspec.json.decode(state.content or "{}")
    return content


def _roster(state: State) -> Roster:
    return msgspec.json.decode(_content(state).get(ROSTER_FIELD, "{}"), type=Roster)
