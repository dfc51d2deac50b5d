"""The people stage: who needs a Moodle account, and enrolments that wait for one. Keyed by person.

An account is asked for by the policy of the person's source; of the people that ELM sends only those with an
active enrolment get one, so a Suspend alone never makes an account. Enrolments wait here until the account is
known and undisputed, then go on to the course stage.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import msgspec

from infra.mapping import Mapping
from infra.stage import Output, Table
from processors.accounts import AccountEntry, PersonEntry, profile_of, wanted
from processors.debts import DebtEntry, PaymentEntry, debt_key, judge, payment_key, payment_of
from processors.renewal import are_new
from processors.statuses import status_of
from processors.timers import due
from schemas.academics import Payment
from schemas.events import AccountPolicy, Enrolment, EnrolmentByCourse, EnrolmentStatus, Person, Role
from schemas.ids import (
    CommandId,
    CourseId,
    EnrolmentId,
    MoodleUserId,
    PersonId,
    SectionId,
    TenantId,
    deterministic_id,
    key,
    split,
)
from schemas.joins import Tick
from schemas.moodle import Action, CommandKind, MoodleCommand, MoodleResult, Outcome
from schemas.reasons import Reason
from schemas.topics import Sites
from schemas.version import Version


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
    section_ids: tuple[SectionId, ...] = ()


def person_key(tenant: TenantId, person: PersonId) -> str:
    """Return the state key of a person."""
    return key("person", tenant, person)


def account_key(tenant: TenantId, person: PersonId) -> str:
    """Return the state key of a person's account, kept apart: enrolments need only that."""
    return key("account", tenant, person)


def enrolment_key(tenant: TenantId, person: PersonId, course: CourseId | str) -> str:
    """Return the state key of a person's enrolment; with course "" the prefix of all of them."""
    return key("enrolment", tenant, person, course)


def waits(account: AccountEntry | None, enrolment: EnrolmentEntry) -> bool:
    """Whether ``enrolment`` is parked for want of an account.

    To suspend or remove somebody who has no account wishes what is already so; it does not wait.
    """
    if enrolment.sent_with is not None:
        return False
    return not (account and account.missing and enrolment.status is not EnrolmentStatus.ACTIVE)


def may_be_held(enrolment: EnrolmentEntry) -> bool:
    """Whether a payment that is overdue suspends ``enrolment``."""
    return enrolment.status is EnrolmentStatus.ACTIVE and enrolment.role is Role.STUDENT


@dataclass(frozen=True, slots=True)
class PeopleStage:
    """The handlers, bound to the rules and to the topics of each Moodle site."""

    mapping: Mapping
    sites: Sites

    def on_person(self, event: Person, table: Table) -> Iterable[Output]:
        """Take the newest profile of the source; ask for the account if that changes what is wished."""
        at = person_key(event.tenant, event.person_id)
        entry = table.get(at, PersonEntry) or PersonEntry()
        known = entry.profiles.get(event.source_system)
        if known and event.version < known.version:
            return ()
        profile = profile_of(event)
        if profile == known:
            return ()
        entry = msgspec.structs.replace(entry, profiles={**entry.profiles, event.source_system: profile})
        table.put(at, entry)
        return self._ask(event.tenant, event.person_id, entry, event.recorded_at, table)

    def on_enrolment(self, event: Enrolment, table: Table) -> Iterable[Output]:
        """Take the newest wish; send it on if the account is known, else see that it is asked for."""
        at = enrolment_key(event.tenant, event.person_id, event.course_id)
        known = table.get(at, EnrolmentEntry)
        if known and event.version < known.version:
            return ()
        status = status_of(event, self.mapping, known.status if known else None)
        if status is None:
            return ()
        account = table.get(account_key(event.tenant, event.person_id), AccountEntry)
        entry = _enrolment(event, status, account.usable if account else None)
        if known and _is_same(entry, known):
            return ()
        table.put(at, entry)
        if entry.sent_with is not None:
            return [self._send(event.tenant, event.person_id, event.course_id, entry, table)]
        person = table.get(person_key(event.tenant, event.person_id), PersonEntry)
        return self._ask(event.tenant, event.person_id, person or PersonEntry(), event.recorded_at, table)

    def on_result(self, result: MoodleResult, table: Table) -> Iterable[Output]:
        """Take the account from the result of a user command, and let waiting enrolments go on."""
        if result.kind is not CommandKind.USER or result.person_id is None:
            return ()
        at = account_key(result.tenant, result.person_id)
        account = table.get(at, AccountEntry)
        if account is None or result.outcome is Outcome.SUPERSEDED or result.generation < account.generation:
            return ()
        account = _answered(account, result)
        table.put(at, account)
        if account.usable is None:
            return ()
        is_new = result.action is Action.CREATED
        return self._send_waiting(result.tenant, result.person_id, account.usable, table, is_new)

    def on_tick(self, tick: Tick, table: Table) -> Iterable[Output]:
        """Suspend those whose payments are overdue; bring all in line with the rules, if these are new."""
        outputs: list[Output] = []
        if are_new(self.mapping.digest, table):
            for at, entry in table.scan(key("person", ""), PersonEntry):
                _, tenant, person = split(at)
                outputs += self._ask(TenantId(tenant), PersonId(person), entry, tick.at, table)
            owing = {tuple(split(at)[1:3]) for at, _ in table.scan(key("payment", ""), PaymentEntry)}
            for tenant, person in sorted(owing):
                outputs += self._hold_or_release(TenantId(tenant), PersonId(person), tick.at, table)
        for tenant_id, person in due(tick.at, table):
            outputs += self._hold_or_release(tenant_id, PersonId(person), tick.at, table)
        return outputs

    def on_payment(self, event: Payment, table: Table) -> Iterable[Output]:
        """Keep the payment; if by it the person comes into debt or out of it, send the enrolments on anew."""
        at = payment_key(event.tenant, event.person_id, event.payment_id)
        known = table.get(at, PaymentEntry)
        if known and event.version < known.version:
            return ()
        table.put(at, payment_of(event))
        return self._hold_or_release(event.tenant, event.person_id, event.recorded_at, table)

    def _hold_or_release(
        self, tenant: TenantId, person: PersonId, now: datetime, table: Table
    ) -> list[Output]:
        if not judge(tenant, person, self.mapping.of(tenant), now, table):
            return []
        return [
            self._send(tenant, person, CourseId(split(at)[-1]), enrolment, table)
            for at, enrolment in table.scan(enrolment_key(tenant, person, ""), EnrolmentEntry)
            if enrolment.sent_with is not None and may_be_held(enrolment)
        ]

    def _is_overdue(self, tenant: TenantId, person: PersonId, table: Table) -> bool:
        if not self.mapping.of(tenant).suspends_debtors:
            return False  # spares a look into the table for each enrolment
        debt = table.get(debt_key(tenant, person), DebtEntry)
        return debt is not None and debt.is_overdue

    def _ask(
        self, tenant: TenantId, person: PersonId, entry: PersonEntry, now: datetime, table: Table
    ) -> Iterable[Output]:
        if not entry.profiles:
            return ()
        account = table.get(account_key(tenant, person), AccountEntry) or AccountEntry()
        statuses = _statuses(tenant, person, entry, table)
        wish = wanted(
            person,
            entry,
            self.mapping.of(tenant),
            is_enrolled=EnrolmentStatus.ACTIVE in statuses,
            has_enrolments=bool(statuses),
            has_account=account.moodle_user_id is not None,
        )
        if wish is None or wish == entry.issued:
            return ()
        generation = account.generation + 1
        table.put(person_key(tenant, person), msgspec.structs.replace(entry, issued=wish))
        table.put(account_key(tenant, person), msgspec.structs.replace(account, generation=generation))
        target = self.mapping.of(tenant).target
        command_id = deterministic_id(target, CommandKind.USER, tenant, person, str(generation))
        command = MoodleCommand(
            command_id=CommandId(command_id),
            tenant=tenant,
            target=target,
            kind=CommandKind.USER,
            generation=generation,
            issued_at=now,
            user=wish,
        )
        return [Output(self.sites.of(target).commands, command)]

    def _send_waiting(
        self, tenant: TenantId, person: PersonId, account: MoodleUserId, table: Table, is_new: bool
    ) -> list[Output]:
        outputs = []
        for at, enrolment in table.scan(enrolment_key(tenant, person, ""), EnrolmentEntry):
            if enrolment.sent_with != account:
                sent = msgspec.structs.replace(enrolment, sent_with=account)
                table.put(at, sent)
                outputs.append(self._send(tenant, person, CourseId(split(at)[-1]), sent, table, is_new))
        return outputs

    def _send(
        self,
        tenant: TenantId,
        person: PersonId,
        course: CourseId,
        enrolment: EnrolmentEntry,
        table: Table,
        is_new: bool = False,
    ) -> Output:
        if enrolment.sent_with is None:
            raise ValueError("an enrolment goes on with an account only")
        is_held = may_be_held(enrolment) and self._is_overdue(tenant, person, table)
        event = EnrolmentByCourse(
            tenant=tenant,
            enrolment_id=enrolment.enrolment_id,
            person_id=person,
            course_id=course,
            moodle_user_id=enrolment.sent_with,
            account_is_new=is_new,
            status=EnrolmentStatus.SUSPENDED if is_held else enrolment.status,
            role=enrolment.role,
            source_system=enrolment.source_system,
            version_time=enrolment.version.time,
            version_sequence=enrolment.version.sequence,
            recorded_at=enrolment.recorded_at,
            starts_at=enrolment.starts_at,
            ends_at=enrolment.ends_at,
            section_ids=enrolment.section_ids,
        )
        return Output(self.sites.shared.enrolments_by_course, event)


def _statuses(tenant: TenantId, person: PersonId, entry: PersonEntry, table: Table) -> set[EnrolmentStatus]:
    """Return the statuses of the person's enrolments, if they decide on the account."""
    if all(profile.policy is AccountPolicy.ALWAYS for profile in entry.profiles.values()):
        return set()
    return {one.status for _, one in table.scan(enrolment_key(tenant, person, ""), EnrolmentEntry)}


def _enrolment(event: Enrolment, status: EnrolmentStatus, sent_with: MoodleUserId | None) -> EnrolmentEntry:
    return EnrolmentEntry(
        version=event.version,
        enrolment_id=event.enrolment_id,
        status=status,
        role=event.role,
        source_system=event.source_system,
        recorded_at=event.recorded_at,
        starts_at=event.starts_at,
        ends_at=event.ends_at,
        sent_with=sent_with,
        section_ids=event.section_ids,
    )


def _is_same(entry: EnrolmentEntry, known: EnrolmentEntry) -> bool:
    """Whether ``entry`` wishes what ``known`` does, whenever recorded and with whatever account."""
    return entry == msgspec.structs.replace(known, sent_with=entry.sent_with, recorded_at=entry.recorded_at)


def _answered(entry: AccountEntry, result: MoodleResult) -> AccountEntry:
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
