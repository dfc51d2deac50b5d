"""A few lines that answer commands as a Moodle with a sink would, for tests of the stages alone."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from infra.stage import Output
from schemas.events import EnrolmentStatus
from schemas.ids import CourseId, MoodleCourseId, MoodleUserId, PersonId
from schemas.moodle import Action, CommandKind, MoodleCommand, MoodleResult, Outcome
from schemas.reasons import Reason
from schemas.topics import TopicSet

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@dataclass(slots=True)
class MoodleModel:
    """Accounts by person, courses by id number, enrolments by both; and how often commands came."""

    topics: TopicSet
    courses: dict[str, int] = field(default_factory=dict)
    accounts: dict[str, int] = field(default_factory=dict)
    mixed_up: set[str] = field(default_factory=set)
    enrolments: dict[tuple[str, str], EnrolmentStatus] = field(default_factory=dict)
    commands: list[MoodleCommand] = field(default_factory=list)

    def answer(self, outputs: list[Output]) -> list[Output]:
        """Return a result for every command among ``outputs``."""
        commands = [o.record for o in outputs if isinstance(o.record, MoodleCommand)]
        self.commands += commands
        return [Output(self.topics.results, self._apply(command)) for command in commands]

    def _apply(self, command: MoodleCommand) -> MoodleResult:
        if command.user is not None:
            person = command.user.person_id
            if person in self.mixed_up:
                return self._result(command, Outcome.CONFLICT, person=person, reason=Reason.EMAIL_MISMATCH)
            if person not in self.accounts and not command.user.create:
                return self._result(command, Outcome.NOT_FOUND, person=person, reason=Reason.USER_NOT_FOUND)
            action = Action.NONE if person in self.accounts else Action.CREATED
            user = self.accounts.setdefault(person, 100 + len(self.accounts))
            return self._result(command, Outcome.APPLIED, action, person=person, user=user)
        if command.course is not None:
            course = command.course.course_id
            if course not in self.courses and command.course.create:
                self.courses[course] = 10 + len(self.courses)
            if course not in self.courses:
                return self._result(command, Outcome.NOT_FOUND, course=course, reason=Reason.COURSE_NOT_FOUND)
            return self._result(command, Outcome.APPLIED, course=course, moodle_course=self.courses[course])
        assert command.enrolment is not None
        wish = command.enrolment
        assert self.accounts[wish.person_id] == wish.moodle_user_id
        assert self.courses[wish.course_id] == wish.moodle_course_id
        pair = (str(wish.person_id), str(wish.course_id))
        if wish.status is EnrolmentStatus.REMOVED:
            self.enrolments.pop(pair, None)
        elif wish.status is EnrolmentStatus.ACTIVE or pair in self.enrolments:
            self.enrolments[pair] = wish.status
        return self._result(
            command,
            Outcome.APPLIED,
            person=wish.person_id,
            course=wish.course_id,
            status=self.enrolments.get(pair),
        )

    def _result(
        self,
        command: MoodleCommand,
        outcome: Outcome,
        action: Action = Action.NONE,
        *,
        person: str | None = None,
        course: str | None = None,
        user: int | None = None,
        moodle_course: int | None = None,
        reason: Reason | None = None,
        status: EnrolmentStatus | None = None,
    ) -> MoodleResult:
        return MoodleResult(
            command_id=command.command_id,
            tenant=command.tenant,
            target=command.target,
            kind=CommandKind(command.kind),
            generation=command.generation,
            outcome=outcome,
            action=action,
            completed_at=NOW,
            person_id=None if person is None else PersonId(person),
            course_id=None if course is None else CourseId(course),
            reason=reason,
            moodle_user_id=None if user is None else MoodleUserId(user),
            moodle_course_id=None if moodle_course is None else MoodleCourseId(moodle_course),
            status=status,
        )
