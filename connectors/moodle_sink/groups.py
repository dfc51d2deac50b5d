"""The groups that course commands wish for: made where missing, renamed where the course is updated."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Final

from connectors.moodle.client import MoodleClient
from connectors.moodle.faults import Refused
from connectors.moodle.form import Params, fitting
from connectors.moodle_sink.batches import isolate
from connectors.moodle_sink.group_reads import Group, read_groups
from connectors.moodle_sink.verdicts import Ledger, Verdict
from schemas.ids import CommandId, MoodleCourseId
from schemas.moodle import Action, CourseWish, MoodleCommand, Outcome
from schemas.reasons import Reason

CREATE: Final = "core_group_create_groups"
UPDATE: Final = "core_group_update_groups"


@dataclass(frozen=True, slots=True)
class Change:
    """One group to be made or changed by one call of a function; ``entry`` is what is sent for it."""

    command: MoodleCommand
    function: str
    entry: Params


class GroupWriter:
    """Sees to the groups of held course commands, at most one command for each course."""

    def __init__(self, moodle: MoodleClient, ledger: Ledger) -> None:
        """Settle the commands in ``ledger``."""
        self._moodle = moodle
        self._ledger = ledger
        self._failed: set[CommandId] = set()

    async def write(self, held: Sequence[tuple[MoodleCommand, Verdict]]) -> None:
        """Make and rename groups, and settle the commands.

        Args:
            held: course commands with the verdicts that name their courses.

        Raises:
            RetryLater, Stop: for the batch; what had ended is in the ledger.
        """
        courses = {command.command_id: _course_of(verdict) for command, verdict in held}
        asking = {courses[command.command_id]: [command] for command, _ in held}
        groups = await read_groups(self._moodle, asking)
        changes = [
            change
            for command, _ in held
            for change in changes_of(
                command, courses[command.command_id], groups[courses[command.command_id]]
            )
        ]
        for function in (CREATE, UPDATE):
            await self._send_all([change for change in changes if change.function == function])
        for command, _ in held:
            reason = Reason.GROUP_REFUSED if command.command_id in self._failed else None
            self._ledger.settle(command, Verdict(outcome=Outcome.UNCHANGED, reason=reason))

    async def _send_all(self, changes: Sequence[Change]) -> None:
        settings, limit = self._moodle.settings, self._moodle.max_input_vars
        for part in fitting(changes, settings.batch_size, limit, lambda change: len(change.entry)):
            await isolate(part, self._send, self._refused)

    async def _send(self, changes: Sequence[Change]) -> None:
        with self._ledger.doubting((change.command, Action.UPDATED) for change in changes):
            await self._moodle.call(changes[0].function, {"groups": [change.entry for change in changes]})
        for change in changes:
            self._ledger.note(change.command, Action.UPDATED)

    def _refused(self, change: Change, _: Refused) -> None:
        self._failed.add(change.command.command_id)


def changes_of(command: MoodleCommand, course_id: MoodleCourseId, there: Sequence[Group]) -> list[Change]:
    """Return what is to be done about the groups of a course.

    Moodle wants the names of a course's groups to differ: a name that another group has already is followed
    by the section's id.

    Args:
        command: a course command.
        course_id: the course in Moodle.
        there: its groups, the lowest id first.
    """
    wish = _wish(command)
    ours = {group.idnumber: group for group in reversed(there) if group.idnumber}
    names = {group.name for group in there}
    changes = []
    for section_id, wished in {group.section_id: group.name.strip() for group in wish.groups}.items():
        known = ours.get(section_id)
        taken = names - {known.name} if known else names
        name = _free(wished, section_id, taken)
        if known is None:
            entry: Params = {
                "idnumber": section_id,
                "description": "",
                "name": name,
                "courseid": course_id,
            }
            changes.append(Change(command, CREATE, entry))
        elif wish.update and name != known.name:
            changes.append(Change(command, UPDATE, {"id": known.id, "name": name}))
        names = names | {name}
    return changes


def _free(name: str, section_id: str, taken: Set[str]) -> str:
    while name in taken:
        name = f"{name} ({section_id})"
    return name


def _wish(command: MoodleCommand) -> CourseWish:
    if command.course is None:
        raise AssertionError
    return command.course


def _course_of(verdict: Verdict) -> MoodleCourseId:
    if verdict.moodle_course_id is None:
        raise AssertionError
    return verdict.moodle_course_id
