"""Who is in which group: the second part of an enrolment command."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from connectors.moodle.client import MoodleClient
from connectors.moodle.faults import Refused
from connectors.moodle.form import FRAME
from connectors.moodle_sink.batches import isolate, lanes, together
from connectors.moodle_sink.group_reads import Group, read_groups, read_memberships
from connectors.moodle_sink.verdicts import Ledger, Verdict
from schemas.ids import CommandId, MoodleCourseId
from schemas.moodle import Action, EnrolmentWish, MoodleCommand, Outcome
from schemas.reasons import Reason

ADD: Final = "core_group_add_group_members"
REMOVE: Final = "core_group_delete_group_members"
FIELDS: Final = 2
"""Variables of one membership."""


@dataclass(frozen=True, slots=True)
class Change:
    """Somebody who is to come into a group, or to leave it."""

    command: MoodleCommand
    function: str
    group_id: int


class MembershipWriter:
    """Sees to the groups of held enrolment commands, whose enrolments are there."""

    def __init__(self, moodle: MoodleClient, ledger: Ledger) -> None:
        """Settle the commands in ``ledger``."""
        self._moodle = moodle
        self._ledger = ledger
        self._failed: set[CommandId] = set()

    async def write(self, commands: Sequence[MoodleCommand]) -> None:
        """Bring people into the groups of their sections and out of those of others; settle the commands.

        Groups without an id number are not the hub's, and nobody is taken out of them.

        Raises:
            RetryLater, Stop: for the batch; what had ended is in the ledger.
        """
        courses: dict[MoodleCourseId, list[MoodleCommand]] = {}
        for command in commands:
            courses.setdefault(_wish(command).moodle_course_id, []).append(command)
        groups = await read_groups(self._moodle, courses)
        ours = {course: _ours(groups[course]) for course in courses}
        ids = {course: list(sections.values()) for course, sections in ours.items()}
        members = await read_memberships(self._moodle, ids, courses)
        changes = [
            change
            for command in commands
            for change in changes_of(command, ours[_wish(command).moodle_course_id], members)
        ]
        # First in, then out: nobody is without a group in between.
        for function in (ADD, REMOVE):
            await self._send_all([change for change in changes if change.function == function])
        for command in commands:
            reason = self._reason(command, ours[_wish(command).moodle_course_id], members)
            self._ledger.settle(command, Verdict(outcome=Outcome.UNCHANGED, reason=reason))

    def _reason(
        self, command: MoodleCommand, sections: Mapping[str, int], members: Mapping[int, set[int]]
    ) -> Reason | None:
        wished = [sections.get(section) for section in _wish(command).section_ids]
        if None in wished:
            return Reason.GROUP_NOT_FOUND
        failed = command.command_id in self._failed or not members.keys() >= set(wished)
        return Reason.GROUP_REFUSED if failed else None

    async def _send_all(self, changes: Sequence[Change]) -> None:
        room = min(self._moodle.settings.batch_size, (self._moodle.max_input_vars - FRAME) // FIELDS)
        packed = lanes(changes, lambda change: _wish(change.command).moodle_course_id, room)
        await together(map(self._lane, packed))

    async def _lane(self, requests: Sequence[Sequence[Change]]) -> None:
        for changes in requests:
            await isolate(changes, self._send, self._refused)

    async def _send(self, changes: Sequence[Change]) -> None:
        members = [
            {"groupid": change.group_id, "userid": _wish(change.command).moodle_user_id} for change in changes
        ]
        with self._ledger.doubting((change.command, Action.UPDATED) for change in changes):
            await self._moodle.call(changes[0].function, {"members": members})
        for change in changes:
            self._ledger.note(change.command, Action.UPDATED)

    def _refused(self, change: Change, _: Refused) -> None:
        self._failed.add(change.command.command_id)


def changes_of(
    command: MoodleCommand, sections: Mapping[str, int], members: Mapping[int, set[int]]
) -> list[Change]:
    """Return which groups a person is to come into and to leave.

    Args:
        command: an enrolment command.
        sections: the hub's groups of the course by section id.
        members: the users of each of these groups; one whose members nobody knows is left alone.
    """
    wish = _wish(command)
    known = {group for group in sections.values() if group in members}
    wished = {sections[section] for section in wish.section_ids if section in sections} & known
    there = {group for group in known if wish.moodle_user_id in members[group]}
    return [
        *(Change(command, ADD, group) for group in sorted(wished - there)),
        *(Change(command, REMOVE, group) for group in sorted(there - wished)),
    ]


def _ours(groups: Iterable[Group]) -> dict[str, int]:
    """Return the hub's groups by section id; of several with one id the oldest."""
    sections: dict[str, int] = {}
    for group in groups:
        if group.idnumber:
            sections.setdefault(group.idnumber, group.id)
    return sections


def _wish(command: MoodleCommand) -> EnrolmentWish:
    if command.enrolment is None:
        raise AssertionError
    return command.enrolment
