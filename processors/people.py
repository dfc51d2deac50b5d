"""The people stage: who needs a Moodle account, and enrolments that wait for one. Keyed by person.

An account is asked for by the policy of the person's source; of the people that ELM sends only those with an
active enrolment get one, so a Suspend alone never makes an account. Enrolments wait here until the account is
known and undisputed, then go on to the course stage.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter

import msgspec

from infra.mapping import Mapping, Waiting
from infra.stage import Output, Table
from processors.accounts import AccountEntry, PersonEntry, profile_of, takes_over, wanted, with_profile
from processors.debts import DebtEntry, PaymentEntry, debt_key, judge, payment_key, payment_of
from processors.expiry import late, letter, renewed
from processors.renewal import are_new
from processors.rulings import commands, ruled
from processors.statuses import status_of
from processors.timers import due
from processors.wishes import Wish, is_same, outdone, parted, wish_of
from schemas.academics import Payment
from schemas.directives import Directive, DirectiveKind
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
    MoodleUserId,
    PersonId,
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
    """What is wished for a person in a course.

    Attributes:
        wish: the one that counts.
        sent_with: the account with which it went on; none: it waits.
        others: those of further enrolments, and of deleted ones.
        expired: it has waited too long and waits no more; see `processors.expiry`.
        renewed_at: since when it waits again after that.
    """

    wish: Wish
    sent_with: MoodleUserId | None = None
    others: tuple[Wish, ...] = ()
    expired: bool = False
    renewed_at: datetime | None = None

    @property
    def version(self) -> Version:
        """The newest of all: a wish that counts again is news, however old it is itself."""
        if not self.others:
            return self.wish.version
        return max(self.wish.version, *(one.version for one in self.others))


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
    if enrolment.sent_with is not None or enrolment.expired:
        return False
    return not (account and account.missing and enrolment.wish.status is not EnrolmentStatus.ACTIVE)


def may_be_held(enrolment: EnrolmentEntry) -> bool:
    """Whether a payment that is overdue suspends ``enrolment``."""
    return enrolment.wish.status is EnrolmentStatus.ACTIVE and enrolment.wish.role is Role.STUDENT


@dataclass(frozen=True, slots=True)
class PeopleStage:
    """The handlers, bound to the rules and to the topics of each Moodle site."""

    mapping: Mapping
    sites: Sites

    def on_person(self, event: Person, table: Table) -> Iterable[Output]:
        """Take the newest profile of the record; ask for the account if that changes what is wished."""
        at = person_key(event.tenant, event.person_id)
        known = table.get(at, PersonEntry) or PersonEntry()
        entry = with_profile(known, event.source_system, profile_of(event))
        if entry is None:
            return ()
        table.put(at, entry)
        return self._ask(event.tenant, event.person_id, entry, event.recorded_at, table)

    def on_enrolment(self, event: Enrolment, table: Table) -> Iterable[Output]:
        """Take the newest wish; send on the one that counts if the account is known, else ask for it."""
        at = enrolment_key(event.tenant, event.person_id, event.course_id)
        known = table.get(at, EnrolmentEntry)
        wishes = self._wishes(event, known)
        if not wishes:
            return ()
        wish, others = parted(wishes, self.mapping.of(event.tenant))
        if known and wish is known.wish:
            table.put(at, msgspec.structs.replace(known, others=others))
            return ()
        account = table.get(account_key(event.tenant, event.person_id), AccountEntry)
        entry = EnrolmentEntry(wish, account.usable if account else None, others)
        table.put(at, entry)
        if entry.sent_with is not None:
            return [self._send(event.tenant, event.person_id, event.course_id, entry, table)]
        person = table.get(person_key(event.tenant, event.person_id), PersonEntry)
        return self._ask(event.tenant, event.person_id, person or PersonEntry(), event.recorded_at, table)

    def _wishes(self, event: Enrolment, known: EnrolmentEntry | None) -> list[Wish]:
        """Return all wishes for the person in the course after ``event``; none if it changes nothing."""
        wishes = [known.wish, *known.others] if known else []
        old = outdone(event, wishes, self.mapping.of(event.tenant)) if wishes else wishes
        newest = max(old, key=attrgetter("version")) if old else None
        if newest and event.version < newest.version:
            return []
        status = status_of(event, self.mapping, _status_before(event, known, newest))
        if status is None:
            return []
        wish = wish_of(event, status)
        if newest and is_same(wish, newest):
            return []
        return [wish, *[one for one in wishes if one not in old]]

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
            return self._take_over(result, result.person_id, table)
        is_new = result.action is Action.CREATED
        return self._send_waiting(result.tenant, result.person_id, account.usable, table, is_new)

    def _take_over(self, result: MoodleResult, person: PersonId, table: Table) -> Iterable[Output]:
        """Link the account that stands in the way, where by the rules it is the person's."""
        at = person_key(result.tenant, person)
        entry, other = table.get(at, PersonEntry), result.other_moodle_user_id
        if entry is None or other is None or result.moodle_user_id is not None:
            return ()
        if not takes_over(entry, result.reason, self.mapping.of(result.tenant)):
            return ()
        ruling = msgspec.structs.replace(entry.ruling, linked=other)
        entry = msgspec.structs.replace(entry, ruling=ruling)
        table.put(at, entry)
        return self._ask(result.tenant, person, entry, result.completed_at, table, is_repeat=True)

    def on_directive(self, directive: Directive, table: Table) -> Iterable[Output]:
        """Obey what was decided about an account, and keep it, also where the person is not known yet."""
        person = directive.person_id
        if directive.subject is not CommandKind.USER or person is None:
            return ()
        sent = self._renew(directive, person, table) if directive.kind is DirectiveKind.REASSERT else []
        return [*sent, *self._obey(directive, person, table)]

    def _renew(self, directive: Directive, person: PersonId, table: Table) -> list[Output]:
        """Let enrolments that have expired go on or wait again: the one that is named, or all."""
        tenant = directive.tenant
        account = table.get(account_key(tenant, person), AccountEntry)
        outputs = []
        for at, enrolment in table.scan(enrolment_key(tenant, person, ""), EnrolmentEntry):
            course = CourseId(split(at)[-1])
            if not enrolment.expired or directive.course_id not in (None, course):
                continue
            entry = msgspec.structs.replace(
                enrolment,
                sent_with=account.usable if account else None,
                expired=False,
                renewed_at=renewed(directive.issued_at, table),
            )
            table.put(at, entry)
            if entry.sent_with is not None:
                outputs.append(self._send(tenant, person, course, entry, table))
        return outputs

    def _obey(self, directive: Directive, person: PersonId, table: Table) -> Iterable[Output]:
        tenant, at = directive.tenant, person_key(directive.tenant, person)
        entry = table.get(at, PersonEntry)
        if entry is None and directive.kind is DirectiveKind.REASSERT:
            return ()
        entry = entry or PersonEntry()
        if entry.ruling.directive_id == directive.directive_id:
            return ()
        entry = msgspec.structs.replace(entry, ruling=ruled(entry.ruling, directive))
        table.put(at, entry)
        if not commands(directive):
            return ()
        return self._ask(tenant, person, entry, directive.issued_at, table, is_repeat=True)

    def on_tick(self, tick: Tick, table: Table) -> Iterable[Output]:
        """Suspend who has payments overdue; end what waits too long; bring all in line with new rules."""
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
        return [*outputs, *self._expire(tick.at, table)]

    def _expire(self, now: datetime, table: Table) -> Iterator[Output]:
        def since(at: str, enrolment: EnrolmentEntry) -> datetime | None:
            if enrolment.sent_with is not None:
                return None  # spares a look into the table
            _, tenant, person, _ = split(at)
            account = table.get(account_key(TenantId(tenant), PersonId(person)), AccountEntry)
            began = enrolment.renewed_at or enrolment.wish.recorded_at
            return began if waits(account, enrolment) else None

        for at, enrolment, began in late(Waiting.ENROLMENT, since, EnrolmentEntry, self.mapping, now, table):
            table.put(at, msgspec.structs.replace(enrolment, expired=True))
            _, tenant, person, course = split(at)
            place = TenantId(tenant), PersonId(person), CourseId(course)
            yield letter(self.sites.shared.directives, CommandKind.USER, place, "account", began, now)

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
        self,
        tenant: TenantId,
        person: PersonId,
        entry: PersonEntry,
        now: datetime,
        table: Table,
        *,
        is_repeat: bool = False,
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
            is_repeat=is_repeat,
        )
        if wish is None or (wish == entry.issued and not is_repeat):
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
            if enrolment.sent_with != account and not enrolment.expired:
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
        wish, version = enrolment.wish, enrolment.version
        is_held = may_be_held(enrolment) and self._is_overdue(tenant, person, table)
        event = EnrolmentByCourse(
            tenant=tenant,
            enrolment_id=wish.enrolment_id,
            person_id=person,
            course_id=course,
            moodle_user_id=enrolment.sent_with,
            account_is_new=is_new,
            status=EnrolmentStatus.SUSPENDED if is_held else wish.status,
            role=wish.role,
            source_system=wish.source_system,
            version_time=version.time,
            version_sequence=version.sequence,
            recorded_at=wish.recorded_at,
            starts_at=wish.starts_at,
            ends_at=wish.ends_at,
            section_ids=wish.section_ids,
        )
        return Output(self.sites.shared.enrolments_by_course, event)


def _statuses(tenant: TenantId, person: PersonId, entry: PersonEntry, table: Table) -> set[EnrolmentStatus]:
    """Return the statuses of the person's enrolments, if they decide on the account."""
    if all(profile.policy is AccountPolicy.ALWAYS for profile in entry.profiles.values()):
        return set()
    return {one.wish.status for _, one in table.scan(enrolment_key(tenant, person, ""), EnrolmentEntry)}


def _status_before(
    event: Enrolment, known: EnrolmentEntry | None, newest: Wish | None
) -> EnrolmentStatus | None:
    """Return the status that a policy to leave things as they are keeps."""
    if newest:
        return newest.status
    return known.wish.status if known and event.operation is Operation.DELETE else None


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
