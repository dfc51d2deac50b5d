"""Enrolment commands: enrol, suspend, re-activate and remove manual enrolments, keeping their dates.

What roles a person has besides is known only from the look-up; so a change of the role is a command whose
state is not known.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from connectors.moodle.client import MoodleClient
from connectors.moodle.faults import Refused
from connectors.moodle.form import FRAME
from connectors.moodle_sink.batches import halves, isolate, lanes, together
from connectors.moodle_sink.members import Members, read_members
from connectors.moodle_sink.surplus_roles import Surplus, surplus_of, take_away
from connectors.moodle_sink.verdicts import Ledger, Verdict, made_for, rejected
from schemas.events import EnrolmentStatus, Role
from schemas.ids import CommandId, MoodleCourseId
from schemas.moodle import Action, EnrolmentWish, MoodleCommand, Outcome
from schemas.reasons import Reason

ENROL: Final = "enrol_manual_enrol_users"
UNENROL: Final = "enrol_manual_unenrol_users"
USERS: Final = "core_user_get_users_by_field"
COURSES: Final = "core_course_get_courses"
FIELDS: Final = 6
"""Variables of one enrolment; none is ever left out, because Moodle would reset it."""
UNENROL_FIELDS: Final = 2
COURSES_A_CALL: Final = 5
"""Courses whose members are read together: at most some 5,000 rows in one answer."""

REFUSALS: Final = {
    "wsusercannotassign": Reason.ROLE_NOT_ASSIGNABLE,
    "codingerror": Reason.USER_NOT_FOUND,
    "invalidparameter": Reason.INVALID_FIELD,
}
"""Why Moodle refuses one enrolment; every other code is a plain refusal."""


class EnrolmentWriter:
    """Applies the enrolment commands of one batch, at most one for each person and course."""

    def __init__(
        self, moodle: MoodleClient, ledger: Ledger, roles: Mapping[Role, int], groups: bool = False
    ) -> None:
        """Note every outcome in ``ledger``.

        Args:
            moodle: the client of the site.
            ledger: holds an enrolment that has to do with groups, until those are done.
            roles: Moodle's role ids; whoever has another of these than the wished one loses it.
            groups: whether every enrolment has to do with groups, not only one with sections.
        """
        self._moodle = moodle
        self._ledger = ledger
        self._roles = roles
        self._groups = groups
        self._surplus: dict[CommandId, list[Surplus]] = {}
        self._placed: dict[CommandId, Verdict] = {}

    async def write(self, commands: Sequence[MoodleCommand]) -> None:
        """Apply ``commands``.

        Raises:
            RetryLater, Stop: for the batch; what had ended is in the ledger.
        """
        for command in commands:
            if not _leaves(command) and _wish(command).role not in self._roles:
                self._ledger.settle(command, rejected(Reason.ROLE_NOT_ASSIGNABLE))
        await self._look_up(self._ledger.fresh(commands))
        todo = [one for one in self._ledger.fresh(commands) if one.command_id not in self._placed]
        await self._in_lanes([command for command in todo if not _leaves(command)], FIELDS)
        await self._in_lanes([command for command in todo if _leaves(command)], UNENROL_FIELDS)
        # Only now: nobody is without a role in between.
        await self._take_roles(commands)

    async def _take_roles(self, commands: Sequence[MoodleCommand]) -> None:
        """Settle those whose enrolment is there, after taking the roles that are not wished."""
        placed = [command for command in commands if command.command_id in self._placed]
        surplus = [one for command in placed for one in self._surplus[command.command_id]]
        await take_away(self._moodle, self._ledger, surplus)
        for command in self._ledger.open(placed):
            self._settle_or_hold(command, self._placed[command.command_id])

    async def _in_lanes(self, commands: Sequence[MoodleCommand], fields: int) -> None:
        room = min(self._moodle.settings.batch_size, (self._moodle.max_input_vars - FRAME) // fields)
        packed = lanes(commands, lambda command: _wish(command).moodle_course_id, room)
        await together(map(self._lane, packed))

    async def _look_up(self, commands: Sequence[MoodleCommand]) -> None:
        """Settle what needs nothing, of the commands for enrolments whose state nobody knows."""
        courses: dict[MoodleCourseId, list[MoodleCommand]] = {}
        for command in commands:
            if not _wish(command).state_is_known:
                courses.setdefault(_wish(command).moodle_course_id, []).append(command)
        groups = list(courses.items())
        parts = [groups[at : at + COURSES_A_CALL] for at in range(0, len(groups), COURSES_A_CALL)]
        await together(map(self._look_up_courses, parts))

    async def _look_up_courses(
        self, courses: Sequence[tuple[MoodleCourseId, Sequence[MoodleCommand]]]
    ) -> None:
        with made_for(command for _, commands in courses for command in commands):
            answers = await read_members(self._moodle, [course_id for course_id, _ in courses])
        for (_, commands), members in zip(courses, answers, strict=True):
            if isinstance(members, Refused):
                unknown = members.code == "invalidrecord"
                for command in commands:
                    verdict = (
                        _without(command, Reason.COURSE_NOT_FOUND) if unknown else rejected(Reason.REFUSED)
                    )
                    self._ledger.settle(command, verdict)
            else:
                for command in commands:
                    self._compare(command, members)

    def _compare(self, command: MoodleCommand, members: Members) -> None:
        """Note the roles that are to go; settle ``command`` if nothing else is to be done."""
        wish = _wish(command)
        there = members.roles.get(wish.moodle_user_id, frozenset())
        surplus = [Surplus(command, wish, role) for role in sorted(surplus_of(wish, there, self._roles))]
        if surplus:
            self._surplus[command.command_id] = surplus
        if verdict := already(wish, members, self._roles):
            self._done(command, verdict)

    def _done(self, command: MoodleCommand, verdict: Verdict) -> None:
        """End ``command``, or its first part if roles are to be taken or groups to be seen to."""
        if command.command_id not in self._surplus:
            self._settle_or_hold(command, verdict)
            return
        self._placed[command.command_id] = verdict
        if verdict.outcome is Outcome.APPLIED:
            self._ledger.note(command, verdict.action)

    def _settle_or_hold(self, command: MoodleCommand, verdict: Verdict) -> None:
        """Settle ``command``; hold it if it has an enrolment whose groups are still to be seen to."""
        has_groups = self._groups or bool(_wish(command).section_ids)
        if has_groups and verdict.status is not None:
            self._ledger.hold(command, verdict)
        else:
            self._ledger.settle(command, verdict)

    async def _lane(self, requests: Sequence[Sequence[MoodleCommand]]) -> None:
        for commands in requests:
            # In one order of people everywhere, so that parallel requests wait for each other in turn.
            await self._apply(sorted(commands, key=lambda command: _wish(command).moodle_user_id))

    async def _apply(self, commands: Sequence[MoodleCommand]) -> None:
        """Send enrolments or removals; if Moodle refuses, take out whoever is to blame and try the others."""
        try:
            await self._send(commands)
        except Refused:
            commands = await self._without_unknown(commands)
            await isolate(commands, self._send, self._refused, _split)

    async def _send(self, commands: Sequence[MoodleCommand]) -> None:
        function = UNENROL if _leaves(commands[0]) else ENROL
        entries = [_entry(_wish(command), self._roles) for command in commands]
        verdicts = [_applied(_wish(command).status) for command in commands]
        with self._ledger.doubting((c, v.action) for c, v in zip(commands, verdicts, strict=True)):
            await self._moodle.call(function, {"enrolments": entries})
        for command, verdict in zip(commands, verdicts, strict=True):
            self._done(command, verdict)

    async def _without_unknown(self, commands: Sequence[MoodleCommand]) -> list[MoodleCommand]:
        """Settle those whose account or course is no more; return the others."""
        users = sorted({_wish(command).moodle_user_id for command in commands})
        courses = sorted({_wish(command).moodle_course_id for command in commands})
        with made_for(commands):
            found_users, found_courses = await self._moodle.multiplex(
                [
                    (USERS, {"field": "id", "values": [str(user) for user in users]}),
                    (COURSES, {"options": {"ids": list(courses)}}),
                ]
            )
        here = set(users) if isinstance(found_users, Refused) else _ids(found_users)
        there = set(courses) if isinstance(found_courses, Refused) else _ids(found_courses)
        for command in commands:
            if _wish(command).moodle_user_id not in here:
                self._ledger.settle(command, _without(command, Reason.USER_NOT_FOUND))
            elif _wish(command).moodle_course_id not in there:
                self._ledger.settle(command, _without(command, Reason.COURSE_NOT_FOUND))
        return self._ledger.open(commands)

    def _refused(self, command: MoodleCommand, refusal: Refused) -> None:
        self._ledger.settle(command, rejected(REFUSALS.get(refusal.code, Reason.REFUSED)))


def already(wish: EnrolmentWish, members: Members, roles: Mapping[Role, int]) -> Verdict | None:
    """Return the verdict on a wish for which the enrolment is as it shall be, or none.

    Roles beside the wished one are not its concern. Without the wished one the person is enrolled anew.
    An enrolment that is not active now may be suspended, or active with dates in the future: Moodle does not
    tell. So suspending is wished of it anew; only a person who is not enrolled at all is left alone.
    """
    user = wish.moodle_user_id
    if wish.status is EnrolmentStatus.SUSPENDED:
        if user in members.active or user in members.inactive:
            return None
        return Verdict(outcome=Outcome.UNCHANGED, reason=Reason.NOT_ENROLLED)
    if wish.status is EnrolmentStatus.REMOVED:
        there = user in members.active or user in members.inactive
        return None if there else Verdict(outcome=Outcome.UNCHANGED)
    dated = wish.starts_at is not None or wish.ends_at is not None
    has_role = roles[wish.role] in members.roles.get(user, ())
    if user in members.active and has_role and not dated:
        return Verdict(outcome=Outcome.UNCHANGED, status=EnrolmentStatus.ACTIVE)
    return None


def _wish(command: MoodleCommand) -> EnrolmentWish:
    if command.enrolment is None:
        raise AssertionError
    return command.enrolment


def _leaves(command: MoodleCommand) -> bool:
    return _wish(command).status is EnrolmentStatus.REMOVED


def _without(command: MoodleCommand, reason: Reason) -> Verdict:
    """Return the verdict where there is no account or course: nothing is left to be removed."""
    return Verdict(outcome=Outcome.UNCHANGED) if _leaves(command) else rejected(reason)


def _ids(rows: Sequence[Mapping[str, int]]) -> set[int]:
    return {row["id"] for row in rows}


def _entry(wish: EnrolmentWish, roles: Mapping[Role, int]) -> dict[str, int]:
    if wish.status is EnrolmentStatus.REMOVED:
        return {"userid": wish.moodle_user_id, "courseid": wish.moodle_course_id}
    return {
        "suspend": int(wish.status is EnrolmentStatus.SUSPENDED),
        "timestart": _seconds(wish.starts_at),
        "timeend": _seconds(wish.ends_at),
        "roleid": roles[wish.role],
        "userid": wish.moodle_user_id,
        "courseid": wish.moodle_course_id,
    }


def _seconds(moment: datetime | None) -> int:
    """Return seconds since 1970; 0 is Moodle's "no limit"."""
    return int(moment.timestamp()) if moment else 0


_ACTIONS: Final = {
    EnrolmentStatus.ACTIVE: Action.ENROLLED,
    EnrolmentStatus.SUSPENDED: Action.SUSPENDED,
    EnrolmentStatus.REMOVED: Action.UNENROLLED,
}


def _applied(status: EnrolmentStatus) -> Verdict:
    left = None if status is EnrolmentStatus.REMOVED else status
    return Verdict(outcome=Outcome.APPLIED, action=_ACTIONS[status], status=left)


def _split(commands: Sequence[MoodleCommand], refusal: Refused) -> list[Sequence[MoodleCommand]]:
    """Split by role and course if the role was refused: it holds for everybody there; otherwise in two."""
    if refusal.code != "wsusercannotassign":
        return halves(commands, refusal)
    groups: dict[tuple[Role, MoodleCourseId], list[MoodleCommand]] = {}
    for command in commands:
        wish = _wish(command)
        groups.setdefault((wish.role, wish.moodle_course_id), []).append(command)
    return list(groups.values())
