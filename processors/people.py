"""The people stage: who needs a Moodle account, and enrolments that wait for one. Keyed by person.

An account is asked for by the policy of the person's source; of the people that ELM sends only those with an
active enrolment get one, so a Suspend alone never makes an account. Enrolments wait here until the account is
known and undisputed, then go on to the course stage.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import msgspec

from infra.stage import Output, Table
from schemas.events import (
    AccountPolicy,
    Enrolment,
    EnrolmentByCourse,
    EnrolmentStatus,
    Operation,
    Person,
    Role,
)
from schemas.ids import (
    CommandId,
    CourseId,
    EnrolmentId,
    MoodleUserId,
    PersonId,
    Target,
    TenantId,
    deterministic_id,
    key,
    split,
)
from schemas.moodle import Action, CommandKind, MoodleCommand, MoodleResult, Outcome, UserWish
from schemas.reasons import Reason
from schemas.topics import TopicSet
from schemas.version import Version


class Profile(msgspec.Struct, frozen=True, array_like=True):
    """What the newest event of the person says."""

    version: Version
    deleted: bool
    policy: AccountPolicy
    username: str | None
    email: str | None
    first_name: str | None
    last_name: str | None
    auth: str | None


class PersonEntry(msgspec.Struct, frozen=True, array_like=True):
    """A person and the account: wished, asked for, known.

    Attributes:
        profile: none while only enrolments of the person have come.
        issued: the last command's wish; none before the first.
        generation: number of commands issued.
        moodle_user_id: the account, once known.
        missing: the last answer was that there is no account.
        blocked: why the account may not be used, until the source or a person changes something.
        other_moodle_user_id: of a conflict, the account that owns the e-mail address or username.
    """

    profile: Profile | None = None
    issued: UserWish | None = None
    generation: int = 0
    moodle_user_id: MoodleUserId | None = None
    missing: bool = False
    blocked: Reason | None = None
    other_moodle_user_id: MoodleUserId | None = None

    @property
    def usable_account(self) -> MoodleUserId | None:
        """The account with which enrolments may go on, or none."""
        return self.moodle_user_id if self.blocked is None else None


class EnrolmentEntry(msgspec.Struct, frozen=True, array_like=True):
    """The newest wish for a person in a course, and with which account it went on (none: it waits)."""

    version: Version
    enrolment_id: EnrolmentId
    status: EnrolmentStatus
    role: Role
    source_system: str
    recorded_at: datetime
    starts_at: datetime | None
    ends_at: datetime | None
    sent_with: MoodleUserId | None = None


def person_key(tenant: TenantId, person: PersonId) -> str:
    """Return the state key of a person."""
    return key("person", tenant, person)


def enrolment_key(tenant: TenantId, person: PersonId, course: CourseId | str) -> str:
    """Return the state key of a person's enrolment; with course "" the prefix of all of them."""
    return key("enrolment", tenant, person, course)


def waits(person: PersonEntry | None, enrolment: EnrolmentEntry) -> bool:
    """Whether ``enrolment`` is parked for want of an account.

    A suspend of somebody who has no account wishes what is already so; it does not wait.
    """
    if enrolment.sent_with is not None:
        return False
    return not (person and person.missing and enrolment.status is EnrolmentStatus.SUSPENDED)


@dataclass(frozen=True, slots=True)
class PeopleStage:
    """The handlers, bound to the topics of one Moodle site."""

    target: Target
    topics: TopicSet

    def on_person(self, event: Person, table: Table) -> Iterable[Output]:
        """Take the newest profile; ask for the account if that changes what is wished."""
        at = person_key(event.tenant, event.person_id)
        entry = table.get(at, PersonEntry) or PersonEntry()
        if entry.profile and event.version < entry.profile.version:
            return ()
        profile = _profile(event)
        if profile == entry.profile:
            return ()
        entry = msgspec.structs.replace(entry, profile=profile)
        table.put(at, entry)
        return self._ask(event.tenant, event.person_id, entry, event.recorded_at, table)

    def on_enrolment(self, event: Enrolment, table: Table) -> Iterable[Output]:
        """Take the newest wish; send it on if the account is known, else see that it is asked for."""
        at = enrolment_key(event.tenant, event.person_id, event.course_id)
        known = table.get(at, EnrolmentEntry)
        if known and event.version < known.version:
            return ()
        person = table.get(person_key(event.tenant, event.person_id), PersonEntry) or PersonEntry()
        entry = _enrolment(event, person.usable_account)
        if known and _is_same(entry, known):
            return ()
        table.put(at, entry)
        if entry.sent_with is not None:
            return [self._send(event.tenant, event.person_id, event.course_id, entry)]
        return self._ask(event.tenant, event.person_id, person, event.recorded_at, table)

    def on_result(self, result: MoodleResult, table: Table) -> Iterable[Output]:
        """Take the account from the result of a user command, and let waiting enrolments go on."""
        if result.kind is not CommandKind.USER or result.person_id is None:
            return ()
        at = person_key(result.tenant, result.person_id)
        entry = table.get(at, PersonEntry)
        if entry is None or result.outcome is Outcome.SUPERSEDED or result.generation < entry.generation:
            return ()
        entry = _answered(entry, result)
        table.put(at, entry)
        if entry.usable_account is None:
            return ()
        is_new = result.action is Action.CREATED
        return self._send_waiting(result.tenant, result.person_id, entry.usable_account, table, is_new)

    def _ask(
        self, tenant: TenantId, person: PersonId, entry: PersonEntry, now: datetime, table: Table
    ) -> Iterable[Output]:
        wish = _wish(tenant, person, entry, table)
        if wish is None or wish == entry.issued:
            return ()
        generation = entry.generation + 1
        entry = msgspec.structs.replace(entry, issued=wish, generation=generation)
        table.put(person_key(tenant, person), entry)
        command_id = deterministic_id(self.target, CommandKind.USER, tenant, person, str(generation))
        command = MoodleCommand(
            command_id=CommandId(command_id),
            tenant=tenant,
            target=self.target,
            kind=CommandKind.USER,
            generation=generation,
            issued_at=now,
            user=wish,
        )
        return [Output(self.topics.commands, command)]

    def _send_waiting(
        self, tenant: TenantId, person: PersonId, account: MoodleUserId, table: Table, is_new: bool
    ) -> list[Output]:
        outputs = []
        for at, enrolment in table.scan(enrolment_key(tenant, person, ""), EnrolmentEntry):
            if enrolment.sent_with != account:
                sent = msgspec.structs.replace(enrolment, sent_with=account)
                table.put(at, sent)
                outputs.append(self._send(tenant, person, CourseId(split(at)[-1]), sent, is_new))
        return outputs

    def _send(
        self,
        tenant: TenantId,
        person: PersonId,
        course: CourseId,
        enrolment: EnrolmentEntry,
        is_new: bool = False,
    ) -> Output:
        if enrolment.sent_with is None:
            raise ValueError("an enrolment goes on with an account only")
        event = EnrolmentByCourse(
            tenant=tenant,
            enrolment_id=enrolment.enrolment_id,
            person_id=person,
            course_id=course,
            moodle_user_id=enrolment.sent_with,
            account_is_new=is_new,
            status=enrolment.status,
            role=enrolment.role,
            source_system=enrolment.source_system,
            version_time=enrolment.version.time,
            version_sequence=enrolment.version.sequence,
            recorded_at=enrolment.recorded_at,
            starts_at=enrolment.starts_at,
            ends_at=enrolment.ends_at,
        )
        return Output(self.topics.enrolments_by_course, event)


def _profile(event: Person) -> Profile:
    return Profile(
        version=event.version,
        deleted=event.operation is Operation.DELETE,
        policy=event.account_policy,
        username=event.username,
        email=event.email,
        first_name=event.first_name,
        last_name=event.last_name,
        auth=event.auth,
    )


def _enrolment(event: Enrolment, sent_with: MoodleUserId | None) -> EnrolmentEntry:
    deleted = event.operation is Operation.DELETE
    return EnrolmentEntry(
        version=event.version,
        enrolment_id=event.enrolment_id,
        status=EnrolmentStatus.SUSPENDED if deleted else event.status,
        role=event.role,
        source_system=event.source_system,
        recorded_at=event.recorded_at,
        starts_at=event.starts_at,
        ends_at=event.ends_at,
        sent_with=sent_with,
    )


def _is_same(entry: EnrolmentEntry, known: EnrolmentEntry) -> bool:
    """Whether ``entry`` wishes what ``known`` does, whenever recorded and with whatever account."""
    return entry == msgspec.structs.replace(known, sent_with=entry.sent_with, recorded_at=entry.recorded_at)


def _wish(tenant: TenantId, person: PersonId, entry: PersonEntry, table: Table) -> UserWish | None:
    """Return the account as it shall be now, or none while nothing needs one."""
    profile = entry.profile
    if profile is None or profile.deleted:
        return None
    create = profile.policy is AccountPolicy.ALWAYS
    wanted = create
    if not create:
        enrolments = [e for _, e in table.scan(enrolment_key(tenant, person, ""), EnrolmentEntry)]
        wanted = bool(enrolments)
        create = any(e.status is EnrolmentStatus.ACTIVE for e in enrolments)
    if not wanted:
        return None
    if entry.moodle_user_id is not None and entry.issued is not None:
        create = entry.issued.create  # the account is there; that alone is no reason to ask again
    return UserWish(
        person_id=person,
        create=create,
        username=profile.username,
        email=profile.email,
        first_name=profile.first_name,
        last_name=profile.last_name,
        auth=profile.auth,
    )


def _answered(entry: PersonEntry, result: MoodleResult) -> PersonEntry:
    if result.outcome in (Outcome.APPLIED, Outcome.UNCHANGED):
        return msgspec.structs.replace(
            entry,
            moodle_user_id=result.moodle_user_id,
            missing=False,
            blocked=None,
            other_moodle_user_id=None,
        )
    if result.outcome is Outcome.NOT_FOUND:
        return msgspec.structs.replace(
            entry, moodle_user_id=None, missing=True, blocked=None, other_moodle_user_id=None
        )
    return msgspec.structs.replace(
        entry,
        missing=False,
        blocked=result.reason or Reason.REFUSED,
        other_moodle_user_id=result.other_moodle_user_id,
    )
