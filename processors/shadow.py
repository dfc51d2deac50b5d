"""A rehearsal: the real stages fold history into tables of their own, and nothing leaves them. Pure.

What the running hub knows of Moodle, its accounts and courses, holds in the shadow too, so that enrolments go
on as they did. Where history by today's code and rules asks for an account or a course that nobody has asked
for yet, the shadow takes it as made.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import msgspec

from infra.mapping import Mapping as Rules
from infra.stage import Output, S, Stage, Table
from processors import courses, people
from processors.accounts import AccountEntry, PersonEntry
from processors.catalogue import CatalogueEntry, is_gone
from processors.topology import topology
from schemas.ids import (
    CommandId,
    CourseId,
    MoodleCourseId,
    MoodleUserId,
    PersonId,
    Target,
    TenantId,
    key,
    split,
)
from schemas.joins import Tick
from schemas.moodle import Action, CommandKind, MoodleResult, Outcome
from schemas.topics import Record, Sites, Topic

STAGES: Final = ("people", "references", "courses")
"""Those that lead to commands for Moodle."""
NEW_USER, NEW_COURSE = MoodleUserId(0), MoodleCourseId(0)
"""Stand for what would be made."""
_KNOWN: Final = (key("account", ""), key("course", ""))


@dataclass(frozen=True, slots=True)
class Overlay:
    """A `infra.stage.Table` that knows of Moodle what another table knows, until it is told otherwise."""

    own: Table
    live: Table

    def get(self, key: str, kind: type[S]) -> S | None:
        """Return the entry at ``key``, or none."""
        found = self.own.get(key, kind)
        if found is None and key.startswith(_KNOWN):
            return self.live.get(key, kind)
        return found

    def put(self, key: str, value: msgspec.Struct) -> None:
        """Write the entry at ``key``."""
        self.own.put(key, value)

    def delete(self, key: str) -> None:
        """Remove the entry at ``key``."""
        self.own.delete(key)

    def scan(self, prefix: str, kind: type[S]) -> Iterator[tuple[str, S]]:
        """Yield the entries that history has made, in the order of their keys."""
        return self.own.scan(prefix, kind)


@dataclass(frozen=True, slots=True)
class Shadow:
    """The stages at work in the shadow.

    Attributes:
        stages: those of `STAGES`.
        sites: the topics.
        tables: by the name of the stage; see `shadow`.
        live: the tables of the running hub.
    """

    stages: Sequence[Stage]
    sites: Sites
    tables: Mapping[str, Table]
    live: Mapping[str, Table]

    def rehearse(self, read: Callable[[Topic], Iterable[Record]], now: datetime) -> None:
        """Fold history.

        Courses and what they refer to come first: whether a course takes part says what becomes of its
        enrolments, and how that has changed on the way is of no interest.

        Args:
            read: gives the records of each of the topics that are `replayable`, in their order.
            now: the time to which time passes.
        """
        for topic in replayable(self.sites).values():
            if topic == self.sites.shared.people:
                self.settle(now)
            for record in read(topic):
                self.feed(Output(topic, record))
        self.settle(now)

    def feed(self, output: Output) -> None:
        """Fold one record, and what follows from it; commands end here."""
        queue = deque([output])
        while queue:
            topic, record, _ = queue.popleft()
            for stage in self.stages:
                if (handler := stage.handlers.get(topic)) is not None:
                    made = handler(record, self.tables[stage.name])
                    queue.extend(one for one in made if one.dead is None)

    def settle(self, now: datetime) -> None:
        """Let time pass to ``now``, and answer that what is new is there.

        Not before: what was asked for on the way, and was no longer wished in the end, is not made. Courses
        that no source has any more stay as the running hub has them.
        """
        self.feed(Output(self.sites.shared.ticks, Tick(partition=0, at=now)))
        table = self.tables["courses"]
        for tenant, course, entry in self._rows("courses", "catalogue", CatalogueEntry):
            if is_gone(entry):
                at = courses.course_key(tenant, CourseId(course))
                table.put(at, self.live["courses"].get(at, courses.CourseEntry) or courses.CourseEntry())
        for tenant, person, told in self._rows("people", "person", PersonEntry):
            self._answer_account(tenant, PersonId(person), told, now)
        for tenant, course, known in self._rows("courses", "course", courses.CourseEntry):
            self._answer_course(tenant, CourseId(course), known, now)

    def _rows(self, stage: str, kind_of_entry: str, kind: type[S]) -> Iterator[tuple[TenantId, str, S]]:
        for at, entry in self.tables[stage].scan(key(kind_of_entry, ""), kind):
            _, tenant, name = split(at)
            yield TenantId(tenant), name, entry

    def _answer_account(self, tenant: TenantId, person: PersonId, told: PersonEntry, now: datetime) -> None:
        """Take an account as made that nobody has asked for in earnest."""
        account = self.tables["people"].get(people.account_key(tenant, person), AccountEntry)
        if told.issued is None or not told.issued.create or account is None:
            return
        live = self.live["people"].get(people.person_key(tenant, person), PersonEntry)
        if account.moodle_user_id is None and account.blocked is None and not _asked(live):
            made = replace(
                _made(tenant, CommandKind.USER, account.generation, now),
                person_id=person,
                moodle_user_id=NEW_USER,
            )
            self.feed(Output(self.sites.shared.results, made))

    def _answer_course(
        self, tenant: TenantId, course: CourseId, known: courses.CourseEntry, now: datetime
    ) -> None:
        """Take a course as found or made that nobody has asked for in earnest."""
        if not known.asked or known.moodle_course_id is not None:
            return
        at = courses.catalogue_key(tenant, course)
        told = self.tables["courses"].get(at, CatalogueEntry)
        live = self.live["courses"].get(courses.course_key(tenant, course), courses.CourseEntry)
        creates = _asked(told) and not _asked(self.live["courses"].get(at, CatalogueEntry))
        if told is not None and is_gone(told):
            creates = False
        if creates or live is None or not live.asked:
            made = replace(
                _made(tenant, CommandKind.COURSE, known.generation, now),
                course_id=course,
                moodle_course_id=NEW_COURSE,
            )
            self.feed(Output(self.sites.shared.results, made))


def shadow(rules: Rules, sites: Sites, tables: Mapping[str, Table], live: Mapping[str, Table]) -> Shadow:
    """Return the stages under ``rules``.

    Args:
        rules: to be rehearsed.
        sites: topics of the hub.
        tables: empty ones, by the names of `STAGES`.
        live: those of the running hub, by the same names; only read.
    """
    stages = [stage for stage in topology(rules, sites) if stage.name in STAGES]
    return Shadow(stages, sites, {name: Overlay(tables[name], live[name]) for name in STAGES}, live)


def replayable(sites: Sites) -> Mapping[str, Topic]:
    """Return the topics of history that a shadow folds, by name, in the order in which it folds them."""
    topics = sites.shared
    ordered = (
        topics.terms,
        topics.programs,
        topics.courses,
        topics.sections,
        topics.people,
        topics.payments,
        topics.enrolments,
    )
    return {topic.name: topic for topic in ordered}


def _asked(entry: PersonEntry | CatalogueEntry | None) -> bool:
    """Tell whether the last command was to make it."""
    return entry is not None and entry.issued is not None and entry.issued.create


def _made(tenant: TenantId, kind: CommandKind, generation: int, now: datetime) -> MoodleResult:
    return MoodleResult(
        command_id=CommandId(""),
        tenant=tenant,
        target=Target(""),
        kind=kind,
        generation=generation,
        outcome=Outcome.APPLIED,
        action=Action.CREATED,
        completed_at=now,
    )
