"""`hub import moodle`: accounts and courses of a Moodle that was there before, linked to the hub's people."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec
import typer
from rich.table import Table

from connectors.moodle.client import MoodleClient
from connectors.moodle_survey.reads import read_accounts, read_courses
from infra import collector
from infra.calls import OnCall, nobody
from infra.cli.operating import operating
from infra.cli.printing import print_table
from infra.cli.summary import tables
from infra.cli.surveys import STAGES, Where, noted, where
from infra.cli.systems import moodle_of
from processors.adoption import (
    Course,
    Found,
    Match,
    Person,
    State,
    Wanted,
    courses_of,
    matched,
    people_of,
)
from producers.decisions import Act, command_line_user, decide, new_id
from schemas.directives import Directive, DirectiveKind
from schemas.ids import CourseId, MoodleCourseId, MoodleUserId, PersonId
from schemas.moodle import CommandKind
from schemas.survey import AccountSeen, CourseSeen

ACTION: Final = "import.moodle"
SHOWN: Final = 20
_DOUBTFUL: Final = (State.AMBIGUOUS, State.CLAIMED, State.DIFFERENT)
_FRONT_PAGE: Final = 1
"""Moodle's own course with the site's front page."""


class AccountRule(StrEnum):
    """By what an account is found that does not carry the person's id number."""

    IDNUMBER = "idnumber"
    USERNAME = "username"
    EMAIL = "email"


class CourseRule(StrEnum):
    """By what a course is found that does not carry the course's id number."""

    IDNUMBER = "idnumber"
    SHORT_NAME = "shortname"


@dataclass(frozen=True, slots=True)
class Adoption:
    """What was found in Moodle of the people and courses of the hub."""

    people: tuple[Match, ...]
    courses: tuple[Match, ...]

    @property
    def links(self) -> int:
        """How many accounts and courses are to be linked."""
        return sum(one.state is State.LINK for one in (*self.people, *self.courses))


def find(
    place: Where, accounts_by: AccountRule, courses_by: CourseRule, on_call: OnCall = nobody
) -> Adoption:
    """Look for the people and courses of the hub in Moodle; only reads.

    Args:
        place: tenant and site.
        accounts_by: how accounts are looked for that are not found by id number.
        courses_by: the same of courses.
        on_call: told of every call to Moodle.

    Raises:
        RetryLater: Kafka or Moodle is away.
        HubError: Moodle does not let the hub read, or answers in an unknown form.
    """
    folded = tables(place.settings, STAGES)
    people = people_of(folded["people"], place.tenant, place.rules)
    courses = courses_of(folded["courses"], place.tenant, place.rules)
    return asyncio.run(_find(place, people, courses, accounts_by, courses_by, on_call))


async def _find(
    place: Where,
    people: Sequence[Person],
    courses: Sequence[Course],
    accounts_by: AccountRule,
    courses_by: CourseRule,
    on_call: OnCall,
) -> Adoption:
    async with MoodleClient(moodle_of(place.settings), on_call) as moodle:
        in_moodle = [one for one in await read_courses(moodle) if one.id != _FRONT_PAGE]
        owners = {one.known: one.person_id for one in people if one.known is not None}
        found = await _accounts(moodle, people, AccountRule.IDNUMBER, owners)
        if (left := _left(found)) and accounts_by is not AccountRule.IDNUMBER:
            others = [one for one in people if one.person_id in left]
            found |= await _accounts(moodle, others, accounts_by, owners)
    matches = _courses(courses, in_moodle, CourseRule.IDNUMBER)
    left = _left(matches)
    matches |= _courses([one for one in courses if one.course_id in left], in_moodle, courses_by)
    return Adoption(tuple(found.values()), tuple(matches.values()))


def _left(matches: dict[str, Match]) -> set[str]:
    return {name for name, match in matches.items() if match.state is State.NONE}


async def _accounts(
    moodle: MoodleClient, people: Sequence[Person], by: AccountRule, owners: Mapping[MoodleUserId, PersonId]
) -> dict[str, Match]:
    wanted = [Wanted(one.person_id, _value(one, by), one.known) for one in people]
    values = {one.value for one in wanted if one.value} | _as_written(people, by)
    seen = await read_accounts(moodle, by.value, sorted(values))
    found = [Found(one.id, _value_of(one, by), one.idnumber or owners.get(one.id, "")) for one in seen]
    return {match.id: match for match in matched(wanted, found)}


def _as_written(people: Iterable[Person], by: AccountRule) -> set[str]:
    """Return addresses as their sources write them: Moodle finds them with regard to case only."""
    return {one.email for one in people if one.email} if by is AccountRule.EMAIL else set()


def _value(person: Person, by: AccountRule) -> str | None:
    if by is AccountRule.IDNUMBER:
        return person.person_id
    value = person.username if by is AccountRule.USERNAME else person.email
    return value.strip().lower() if value else None


def _value_of(account: AccountSeen, by: AccountRule) -> str:
    if by is AccountRule.IDNUMBER:
        return account.idnumber
    return (account.username if by is AccountRule.USERNAME else account.email).lower()


def _courses(courses: Iterable[Course], seen: Sequence[CourseSeen], by: CourseRule) -> dict[str, Match]:
    is_idnumber = by is CourseRule.IDNUMBER
    wanted = [Wanted(c.course_id, c.course_id if is_idnumber else c.short_name, c.known) for c in courses]
    found = [Found(c.id, c.idnumber if is_idnumber else c.short_name, c.idnumber) for c in seen]
    return {match.id: match for match in matched(wanted, found)}


def directives(place: Where, adoption: Adoption, by: str, why: str) -> list[Directive]:
    """Return what has the hub remember every account and course that is to be linked."""
    made = [
        _link(place, CommandKind.USER, by, why, person_id=PersonId(one.id), user=one.moodle_ids[0])
        for one in adoption.people
        if one.state is State.LINK
    ]
    return made + [
        _link(place, CommandKind.COURSE, by, why, course_id=CourseId(one.id), course=one.moodle_ids[0])
        for one in adoption.courses
        if one.state is State.LINK
    ]


def _link(
    place: Where,
    subject: CommandKind,
    by: str,
    why: str,
    *,
    person_id: PersonId | None = None,
    course_id: CourseId | None = None,
    user: int | None = None,
    course: int | None = None,
) -> Directive:
    return Directive(
        directive_id=new_id(),
        tenant=place.tenant,
        kind=DirectiveKind.LINK,
        subject=subject,
        issued_at=datetime.now(UTC),
        person_id=person_id,
        course_id=course_id,
        moodle_user_id=None if user is None else MoodleUserId(user),
        moodle_course_id=None if course is None else MoodleCourseId(course),
        by=by,
        why=why,
    )


def moodle(
    tenant: Annotated[
        str | None, typer.Option(help="Whose people and courses. Default: DEFAULT_TENANT_ID.")
    ] = None,
    site: Annotated[str | None, typer.Option(help="Moodle site, in place of a tenant.")] = None,
    rule: Annotated[
        AccountRule, typer.Option(help="How to find accounts that do not carry the person's id number.")
    ] = AccountRule.IDNUMBER,
    course_rule: Annotated[
        CourseRule, typer.Option(help="How to find courses that do not carry the course's id number.")
    ] = CourseRule.IDNUMBER,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be linked.")] = False,
    why: Annotated[str, typer.Option(help="The reason, for the audit.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print every match as JSON.")] = False,
) -> None:
    """Link accounts and courses of an existing Moodle to people and courses of the hub.

    What is found twice, or belongs to somebody else, is shown and left alone. Moodle is only read. It can be
    repeated: what is linked already stays. Exit status: 0 done, 4 a service is away.
    """
    collector.calm()
    with operating("import") as (settings, pool):
        place = where(settings, tenant, site)
        with noted(place, "import") as note:
            adoption = find(place, rule, course_rule, note)
        if not dry_run and adoption.links:
            by = command_line_user()
            counts = _counts(adoption)
            act = Act(by, ACTION, f"site/{place.target}", place.tenant, why, _as_details(counts))
            decide(pool, [act], directives(place, adoption, by, why))
    if as_json:
        typer.echo(msgspec.json.encode(_as_object(adoption)).decode())
    else:
        _tell(adoption, dry_run)


def _counts(adoption: Adoption) -> dict[str, Counter[State]]:
    parts = {"accounts": adoption.people, "courses": adoption.courses}
    return {name: Counter(one.state for one in matches) for name, matches in parts.items()}


def _as_details(counts: dict[str, Counter[State]]) -> dict[str, str]:
    return {name: str(count[State.LINK]) for name, count in counts.items()}


def _as_object(adoption: Adoption) -> dict[str, Any]:
    parts = {"accounts": adoption.people, "courses": adoption.courses}
    return {name: [msgspec.to_builtins(one) for one in matches] for name, matches in parts.items()}


def _tell(adoption: Adoption, dry_run: bool) -> None:
    for name, count in _counts(adoption).items():
        told = ", ".join(f"{count[state]:,} {state.value.lower()}" for state in State)
        typer.echo(f"{name:9} {told}")
    doubtful = [("account", one) for one in adoption.people if one.state in _DOUBTFUL]
    doubtful += [("course", one) for one in adoption.courses if one.state in _DOUBTFUL]
    if doubtful:
        table = Table("what", "id", "state", "in moodle", "claimed by", box=None, pad_edge=False)
        for what, one in doubtful[:SHOWN]:
            ids = " ".join(map(str, one.moodle_ids))
            table.add_row(what, one.id, one.state.value, ids, " ".join(one.rivals))
        print_table(table)
    if len(doubtful) > SHOWN:
        typer.echo(f"and {len(doubtful) - SHOWN:,} more: see --json")
    linked = "would be linked" if dry_run else "are linked"
    typer.echo(f"{adoption.links:,} {linked}; nothing was changed in Moodle")
