"""How things stood at a moment: history up to it, folded by today's code and rules. Pure.

What Moodle answered then is taken as it was, whatever today's code would have asked for by that time.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NamedTuple

from infra.mapping import Mapping as Rules
from infra.memory import MemoryHub, MemoryTable
from infra.stage import Output, Table
from processors import courses, people
from processors.accounts import AccountEntry, PersonEntry
from processors.catalogue import CatalogueEntry
from processors.shadow import STAGES
from processors.topology import topology
from schemas.ids import CourseId, PersonId, TenantId, split
from schemas.joins import Tick
from schemas.moodle import CourseWish, MoodleResult, UserWish
from schemas.topics import Sites

_ANY_GENERATION: Final = 2**31 - 1
"""Of every answer: today's code may count its commands otherwise than the code of then."""


class Stood(NamedTuple):
    """An enrolment as it stood.

    Attributes:
        wished: the sources' wish by the rules.
        issued: what was to be asked of Moodle; none: it waited.
        waits_for: "account" or "course"; none: it did not wait.
        entry: the course's side of it, with what Moodle held; none while the account was unknown.
    """

    wished: people.EnrolmentEntry
    issued: courses.Issued | None
    waits_for: str | None
    entry: courses.EnrolmentEntry | None


@dataclass(frozen=True, slots=True)
class Past:
    """The tables of the stages as they stood.

    Attributes:
        tables: by the name of the stage.
    """

    tables: Mapping[str, Table]

    def account(self, tenant: TenantId, person: PersonId) -> tuple[UserWish | None, AccountEntry]:
        """Return the account that was wished, and what was known of it."""
        table = self.tables["people"]
        entry = table.get(people.person_key(tenant, person), PersonEntry) or PersonEntry()
        known = table.get(people.account_key(tenant, person), AccountEntry) or AccountEntry()
        return entry.issued, known

    def course(self, tenant: TenantId, course: CourseId) -> tuple[CourseWish | None, courses.CourseEntry]:
        """Return the course that was wished, and what was known of it."""
        table = self.tables["courses"]
        entry = table.get(courses.catalogue_key(tenant, course), CatalogueEntry) or CatalogueEntry()
        known = table.get(courses.course_key(tenant, course), courses.CourseEntry) or courses.CourseEntry()
        return entry.issued, known

    def enrolments(self, tenant: TenantId, person: PersonId) -> dict[CourseId, Stood]:
        """Return the person's enrolments by course."""
        prefix = people.enrolment_key(tenant, person, "")
        return {
            (course := CourseId(split(at)[-1])): self._stood(tenant, person, course, wished)
            for at, wished in self.tables["people"].scan(prefix, people.EnrolmentEntry)
        }

    def _stood(
        self, tenant: TenantId, person: PersonId, course: CourseId, wished: people.EnrolmentEntry
    ) -> Stood:
        table = self.tables["courses"]
        account = self.tables["people"].get(people.account_key(tenant, person), AccountEntry)
        entry = table.get(courses.enrolment_key(tenant, course, person), courses.EnrolmentEntry)
        known = table.get(courses.course_key(tenant, course), courses.CourseEntry)
        waits_for = None
        if people.waits(account, wished):
            waits_for = "account"
        elif entry is not None and courses.waits(known, entry):
            waits_for = "course"
        return Stood(wished, entry.issued if entry else None, waits_for, entry)


def as_of(rules: Rules, sites: Sites, history: Iterable[Output], at: datetime) -> Past:
    """Fold ``history`` and let time pass to ``at``.

    Args:
        rules: of the mapping.
        sites: topics of the hub.
        history: what went into the stages up to ``at``, in the order of time; what they themselves passed on
            is left out, for they do so again.
        at: the moment.
    """
    hub = MemoryHub([stage for stage in topology(rules, sites) if stage.name in STAGES])
    passed_on = {topic for stage in hub.stages for topic in stage.outputs}
    for topic, record, _ in history:
        if topic in passed_on:
            continue
        if isinstance(record, MoodleResult):
            record = replace(record, generation=_ANY_GENERATION)
        hub.feed([Output(topic, record)])
        hub.outputs.clear()
    hub.feed([Output(sites.shared.ticks, Tick(partition=0, at=at))])
    return Past({name: hub.tables.get(name, MemoryTable()) for name in STAGES})
