"""Where a survey of a Moodle site is made, what the hub has asked of it, how far its commands have come."""

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Engine

from connectors.moodle.client import MoodleClient
from connectors.moodle_source.observed_topic import ObservedTopic
from connectors.moodle_survey.observe import (
    WRITERS,
    Observed,
    Site,
    observe_enrolments,
    observe_grades,
    observe_users,
)
from connectors.moodle_survey.reads import read_accounts, read_courses, read_members
from infra.call_log import Caller, call_log
from infra.calls import Call, OnCall, nobody
from infra.cli.parts import (
    check_sites,
    kafka_of,
    mapping_of,
    registry_of,
    sites_of,
    tenant_at_site,
    tenant_of,
)
from infra.cli.summary import tables
from infra.cli.systems import moodle_of
from infra.codec import Codec
from infra.engine import EngineConfig
from infra.errors import BadArgument
from infra.mapping import TenantRules
from infra.scan import Onlooker, Place, scan
from infra.settings import Settings
from processors.asked import Asked, AskedAccount, Subject, asked
from processors.comparison import Kind, Progress, Seen
from processors.drift import Accounts
from producers.held import read_model
from schemas.calls import System
from schemas.events import Role
from schemas.ids import MoodleCourseId, Target, TenantId
from schemas.moodle import CommandKind, MoodleCommand, ObservedKind
from schemas.survey import CourseSeen
from schemas.topics import TopicSet

STAGES: Final = ("people", "courses")
"""The stages that issue commands to Moodle."""
_BEFORE: Final = 20_000
"""So many commands before the end are read too: a transaction that is still open may have written them."""
_GENERATIONS: Final = """
    SELECT kind, NULLIF(person_id, ''), NULLIF(course_id, ''), generation FROM read_model.standing
    WHERE (tenant, target) = (%s, %s)
"""


@dataclass(frozen=True, slots=True)
class Where:
    """A tenant and the Moodle site that holds its people and courses.

    Attributes:
        settings: resolved, and those at the site.
        tenant: whose.
        target: name of the site.
    """

    settings: Settings
    tenant: TenantId
    target: Target

    @property
    def rules(self) -> TenantRules:
        """The rules of the tenant."""
        return mapping_of(self.settings).of(self.tenant)

    @property
    def topics(self) -> TopicSet:
        """The topics of the hub and of the site."""
        return sites_of(self.settings).of(self.target)

    @property
    def roles(self) -> dict[Role, int]:
        """Moodle's role ids of the hub's roles."""
        return {
            Role.STUDENT: self.settings.moodle_student_role_id,
            Role.TEACHER: self.settings.moodle_teacher_role_id,
            Role.NON_EDITING_TEACHER: self.settings.moodle_non_editing_teacher_role_id,
        }


def where(settings: Settings, tenant: str | None, site: str | None) -> Where:
    """Return the place that the arguments of a command name.

    Args:
        settings: resolved.
        tenant: none: the one at ``site``, or without that the default tenant.
        site: name of the site; none: the tenant's.

    Raises:
        BadArgument: there is no such site, or it is not the tenant's.
        Stop: the mapping file names a site that no setting knows.
    """
    check_sites(settings)
    known = (settings.first_target, *settings.moodle_sites)
    if site is not None and site not in known:
        msg = f"--site: there is no Moodle site {site!r}; there are {', '.join(known)}"
        raise BadArgument(msg)
    if tenant is None and site is not None:
        at_site = _at(settings, Target(site))
        return Where(at_site, tenant_at_site(at_site), Target(site))
    whose = tenant_of(settings, tenant)
    target = mapping_of(settings).of(whose).target
    if site not in (None, target):
        msg = f"--site: tenant {whose!r} is at the site {target!r}, not at {site!r}"
        raise BadArgument(msg)
    return Where(_at(settings, target), whose, target)


def _at(settings: Settings, target: Target) -> Settings:
    return settings if target == settings.first_target else settings.at_site(target)


def asked_of(place: Where) -> Asked:
    """Return what the site was asked for, from the changelogs of the stages as they are now.

    Raises:
        RetryLater: Kafka does not answer.
    """
    folded = tables(place.settings, STAGES)
    return asked(folded["people"], folded["courses"], place.tenant, place.rules)


def command_ends(place: Where) -> dict[Place, int]:
    """Return where the topic of commands is to be read from by `progress_of` later; raises as `asked_of`."""
    with Onlooker(kafka_of(place.settings)) as onlooker:
        ends = onlooker.ends([place.topics.commands.name])
    return {one: max(0, end - _BEFORE) for one, end in ends.items()}


def progress_of(place: Where, answered: Mapping[Subject, int], ends: Mapping[Place, int]) -> Progress:
    """Return how far commands have come, after the site was read.

    Args:
        place: where.
        answered: as `answered_by` gave it before the site was read.
        ends: as `command_ends` gave it before the tables were read.

    Raises:
        RetryLater: Kafka or the registry does not answer.
    """
    topic, codec = place.topics.commands, Codec(registry_of(place.settings))
    issued: dict[Subject, int] = {}
    for message in scan(kafka_of(place.settings), topic.name, ends):
        command = codec.decode(topic, message.value())
        if isinstance(command, MoodleCommand) and command.tenant == place.tenant:
            subject = _subject(command)
            issued[subject] = max(command.generation, issued.get(subject, 0))
    return Progress(issued, answered)


def _subject(command: MoodleCommand) -> Subject:
    if command.enrolment is not None:
        return command.kind, command.enrolment.person_id, command.enrolment.course_id
    if command.user is not None:
        return command.kind, command.user.person_id, None
    return command.kind, None, command.course.course_id if command.course is not None else None


def answered_by(place: Where, pool: Engine) -> dict[Subject, int]:
    """Return the generation of the newest result about everything.

    Raises:
        RetryLater: the database is away, or there is no read model yet.
    """
    with read_model(pool) as connection:
        rows = connection.execute(_GENERATIONS, (place.tenant, place.target)).fetchall()
    return {(CommandKind(kind), person, course): generation for kind, person, course, generation in rows}


@contextmanager
def noted(place: Where, role: str) -> Iterator[OnCall]:
    """Give what keeps the calls of the command ``role`` to Moodle in the log of calls."""
    settings, topic = place.settings, place.topics.calls
    caller = Caller(System.MOODLE, place.target, role, place.tenant)
    with call_log(kafka_of(settings), Codec(registry_of(settings)), topic, caller) as log:
        yield log.note


@dataclass(slots=True)
class Counted:
    """Notes of calls, counted and passed on."""

    on_call: OnCall = nobody
    calls: int = 0

    def __call__(self, call: Call) -> None:
        """Take the note of a call."""
        self.calls += 1
        self.on_call(call)


async def look(
    place: Where, wanted: Asked, kinds: Collection[Kind], on_call: OnCall, *, every_course: bool = False
) -> Seen:
    """Read from the site what ``wanted`` is to be compared with.

    Args:
        place: where.
        wanted: what the site was asked for.
        kinds: what is compared.
        on_call: told of every call.
        every_course: read the members of courses too in which the hub wants nobody.

    Raises:
        RetryLater, Stop, HubError: Moodle did not answer as it should; see `MoodleClient.call`.
    """
    accounts, courses = Accounts(), dict[MoodleCourseId, CourseSeen]()
    async with MoodleClient(moodle_of(place.settings), on_call) as moodle:
        if Kind.USERS in kinds:
            await _accounts(moodle, wanted.accounts, accounts)
        if Kind.COURSES in kinds or Kind.ENROLMENTS in kinds:
            courses = {one.id: one for one in await read_courses(moodle)}
        sizes: Counter[MoodleCourseId] = Counter()
        if Kind.ENROLMENTS in kinds:
            sizes.update(one.issued.moodle_course_id for one in wanted.enrolments)
            sizes.update(one.moodle_course_id for one in wanted.courses if every_course)
        members = await read_members(moodle, {one: n for one, n in sizes.items() if one in courses})
    return Seen(datetime.now(UTC), accounts, courses, members)


async def _accounts(moodle: MoodleClient, wanted: Iterable[AskedAccount], found: Accounts) -> None:
    people = list(wanted)
    found.add(await read_accounts(moodle, "idnumber", [str(one.person_id) for one in people]))
    known = (one.moodle_user_id for one in people)
    strays = [str(one) for one in known if one is not None and one not in found.by_id]
    found.add(await read_accounts(moodle, "id", strays))


def tell_users(place: Where, on_call: OnCall = nobody) -> Observed:
    """Observe the accounts of all people that the hub has asked an account for (target USER_DIRECTORY).

    Raises:
        RetryLater: Moodle, Kafka or the registry is away; it can be begun anew.
        HubError: something is set up wrongly, or another process observes the same.
    """
    people = [one.person_id for one in asked_of(place).accounts]
    return asyncio.run(_observe(place, ObservedKind.USER, on_call, lambda site: observe_users(site, people)))


def tell_enrolments(place: Where, on_call: OnCall = nobody) -> Observed:
    """Observe the members of all courses that the hub uses (target ENROLLMENTS); raises as `tell_users`."""
    courses = {one.moodle_course_id: one.course_id for one in asked_of(place).courses}
    return asyncio.run(
        _observe(place, ObservedKind.ENROLMENT, on_call, lambda site: observe_enrolments(site, courses))
    )


def tell_grades(place: Where, on_call: OnCall = nobody) -> Observed:
    """Observe the grades of whole courses, of the people and courses of the hub (target GRADES).

    Raises:
        RetryLater, HubError: as for `tell_users`.
    """
    asked = asked_of(place)
    people = {one.moodle_user_id: one.person_id for one in asked.accounts if one.moodle_user_id is not None}
    courses = {one.moodle_course_id: one.course_id for one in asked.courses}
    return asyncio.run(
        _observe(place, ObservedKind.GRADE, on_call, lambda site: observe_grades(site, people, courses))
    )


async def _observe(
    place: Where, kind: ObservedKind, on_call: OnCall, observe: Callable[[Site], Awaitable[Observed]]
) -> Observed:
    settings = place.settings
    config = EngineConfig(
        kafka=kafka_of(settings),
        codec=Codec(registry_of(settings)),
        state_folder=settings.data_dir / "state",
        prefix=settings.topic_prefix,
    )
    stop = threading.Event()
    topic = ObservedTopic(config, place.topics.observed, stop, role=WRITERS[kind])
    try:
        async with MoodleClient(moodle_of(settings), on_call) as moodle:
            return await observe(Site(place.tenant, place.target, moodle, topic))
    finally:
        stop.set()  # interrupted, Kafka is not waited for
        await topic.close()
