"""How a command ended, and the notes that one batch leaves until all of it has ended."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from connectors.moodle.faults import UnknownOutcome
from infra.calls import about
from schemas.events import EnrolmentStatus
from schemas.ids import CommandId, MoodleCourseId, MoodleUserId
from schemas.moodle import Action, MoodleCommand, MoodleResult, Outcome
from schemas.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How one command ended; the fields are those of `MoodleResult`."""

    outcome: Outcome
    action: Action = Action.NONE
    reason: Reason | None = None
    moodle_user_id: MoodleUserId | None = None
    moodle_course_id: MoodleCourseId | None = None
    other_moodle_user_id: MoodleUserId | None = None
    status: EnrolmentStatus | None = None


def made_for(commands: Iterable[MoodleCommand]) -> AbstractContextManager[None]:
    """Let the calls within, such as look-ups before a write, be logged as about those of ``commands``."""
    return about(command.entity for command in commands)


def rejected(
    reason: Reason,
    moodle_user_id: MoodleUserId | None = None,
    moodle_course_id: MoodleCourseId | None = None,
) -> Verdict:
    """Return the verdict on a command that Moodle does not take."""
    return Verdict(
        outcome=Outcome.REJECTED,
        reason=reason,
        moodle_user_id=moodle_user_id,
        moodle_course_id=moodle_course_id,
    )


SUPERSEDED = Verdict(outcome=Outcome.SUPERSEDED, reason=Reason.NEWER_COMMAND)


class Ledger:
    """What is known of the commands of a batch that is not wholly done yet.

    A batch that Moodle's trouble breaks off is given to the sink again; what had ended by then is not done
    again, and what a later look-up finds as wished is reported as done if an earlier try has or may have done
    it. A command of two parts, such as an enrolment and its groups, is held between them.
    """

    def __init__(self) -> None:
        self._verdicts: dict[CommandId, Verdict] = {}
        self._held: dict[CommandId, Verdict] = {}
        self._done: dict[CommandId, Action] = {}

    def settle(self, command: MoodleCommand, verdict: Verdict) -> None:
        """Note how ``command`` ended; of a held one, how its last part ended."""
        verdict, held = self._as_done(command, verdict), self._held.get(command.command_id)
        good = verdict.outcome in (Outcome.APPLIED, Outcome.UNCHANGED)
        self._verdicts[command.command_id] = _joined(held, verdict) if held and good else verdict

    def hold(self, command: MoodleCommand, verdict: Verdict) -> None:
        """Note how the first part of ``command`` ended; the rest is still to be done."""
        self._held[command.command_id] = self._as_done(command, verdict)

    def held(self, commands: Iterable[MoodleCommand]) -> list[tuple[MoodleCommand, Verdict]]:
        """Return those of ``commands`` whose last part is still to be done, with the verdicts so far."""
        waiting = [command for command in self.open(commands) if command.command_id in self._held]
        return [(command, self._held[command.command_id]) for command in waiting]

    def note(self, command: MoodleCommand, action: Action) -> None:
        """Note that some of ``command`` has been done, or may have been: it did not leave all unchanged."""
        self._done[command.command_id] = action

    def _as_done(self, command: MoodleCommand, verdict: Verdict) -> Verdict:
        action = self._done.get(command.command_id)
        unchanged = verdict.outcome is Outcome.UNCHANGED and verdict.reason is not Reason.NOT_ENROLLED
        if action is None or not unchanged:
            return verdict
        return replace(verdict, outcome=Outcome.APPLIED, action=action)

    def verdict(self, command: MoodleCommand) -> Verdict:
        """Return how ``command`` ended.

        Raises:
            KeyError: it has not ended.
        """
        return self._verdicts[command.command_id]

    def open(self, commands: Iterable[MoodleCommand]) -> list[MoodleCommand]:
        """Return those of ``commands`` that have not ended."""
        return [command for command in commands if command.command_id not in self._verdicts]

    def fresh(self, commands: Iterable[MoodleCommand]) -> list[MoodleCommand]:
        """Return those of ``commands`` that have neither ended nor are held."""
        return [command for command in self.open(commands) if command.command_id not in self._held]

    @contextmanager
    def doubting(self, actions: Iterable[tuple[MoodleCommand, Action]]) -> Iterator[None]:
        """Note, if the outcome of the call within is unknown, that it may have done ``actions``.

        The call is logged as one about the entities of these.
        """
        doubtful = list(actions)
        try:
            with made_for(command for command, _ in doubtful):
                yield
        except UnknownOutcome:
            for command, action in doubtful:
                self.note(command, action)
            raise

    def clear(self) -> None:
        """Forget all: the batch has ended."""
        self._verdicts.clear()
        self._held.clear()
        self._done.clear()


def _joined(first: Verdict, last: Verdict) -> Verdict:
    """Return how a command of two parts ended, both of them well."""
    leading = last if first.outcome is Outcome.UNCHANGED else first
    return replace(first, outcome=leading.outcome, action=leading.action, reason=last.reason or first.reason)


def winners(records: Sequence[MoodleCommand]) -> list[MoodleCommand]:
    """Return the last command for each entity, in the order of ``records``.

    What an earlier one did not know of its enrolment, the last one does not know either: that the state is
    known presumes that the earlier one was applied.
    """
    last = {command.entity: command.command_id for command in records}
    unknown = {one.entity for one in records if one.enrolment and not one.enrolment.state_is_known}
    unique = {command.command_id: command for command in records}
    chosen = [command for command in unique.values() if last[command.entity] == command.command_id]
    return [_unknown(command) if command.entity in unknown else command for command in chosen]


def _unknown(command: MoodleCommand) -> MoodleCommand:
    if command.enrolment is None:
        raise AssertionError
    return replace(command, enrolment=replace(command.enrolment, state_is_known=False))


def result(command: MoodleCommand, verdict: Verdict, completed_at: datetime) -> MoodleResult:
    """Return the record that tells how ``command`` ended."""
    user, course, enrolment = command.user, command.course, command.enrolment
    return MoodleResult(
        command_id=command.command_id,
        tenant=command.tenant,
        target=command.target,
        kind=command.kind,
        generation=command.generation,
        outcome=verdict.outcome,
        action=verdict.action,
        completed_at=completed_at,
        person_id=user.person_id if user else enrolment.person_id if enrolment else None,
        course_id=course.course_id if course else enrolment.course_id if enrolment else None,
        reason=verdict.reason,
        moodle_user_id=enrolment.moodle_user_id if enrolment else verdict.moodle_user_id,
        moodle_course_id=enrolment.moodle_course_id if enrolment else verdict.moodle_course_id,
        other_moodle_user_id=verdict.other_moodle_user_id,
        status=verdict.status,
    )
