"""Roles that people have in a course although the hub wishes another one: they are taken away.

Moodle's manual enrolment adds the wished role and leaves those that the person had.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Final

from connectors.moodle.client import MoodleClient
from connectors.moodle.faults import Refused
from connectors.moodle.form import FRAME
from connectors.moodle_sink.batches import isolate, lanes, together
from connectors.moodle_sink.verdicts import Ledger, rejected
from schemas.events import EnrolmentStatus, Role
from schemas.ids import MoodleCourseId
from schemas.moodle import Action, EnrolmentWish, MoodleCommand
from schemas.reasons import Reason

UNASSIGN: Final = "core_role_unassign_roles"
FIELDS: Final = 4
"""Variables of one role that is taken away."""


@dataclass(frozen=True, slots=True)
class Surplus:
    """A role that the person of an enrolment command has in its course and shall not have."""

    command: MoodleCommand
    wish: EnrolmentWish
    role_id: int


def surplus_of(wish: EnrolmentWish, there: Set[int], roles: Mapping[Role, int]) -> Set[int]:
    """Return the role ids of which a person is to be relieved.

    Args:
        wish: the enrolment as it shall be; a removal takes the roles along with it, so it relieves of none.
        there: the role ids that the person has in the course.
        roles: the hub's own; others, which somebody gave by hand, stay.
    """
    if wish.status is EnrolmentStatus.REMOVED:
        return frozenset()
    return {role for role in roles.values() if role != roles[wish.role]} & there


async def take_away(moodle: MoodleClient, ledger: Ledger, surplus: Sequence[Surplus]) -> None:
    """Take roles away, many by one call; settle the commands of which Moodle refuses to.

    Those commands are rejected although the person is enrolled: rights that nobody wishes are still there.

    Raises:
        RetryLater, Stop: for the batch.
    """

    async def send(some: Sequence[Surplus]) -> None:
        with ledger.doubting((one.command, Action.UPDATED) for one in some):
            await moodle.call(UNASSIGN, {"unassignments": [_entry(one) for one in some]})
        for one in some:
            ledger.note(one.command, Action.UPDATED)

    def refused(one: Surplus, _: Refused) -> None:
        ledger.settle(one.command, rejected(Reason.ROLE_NOT_ASSIGNABLE))

    async def lane(requests: Sequence[Sequence[Surplus]]) -> None:
        for some in requests:
            await isolate(some, send, refused, _split)

    room = min(moodle.settings.batch_size, (moodle.max_input_vars - FRAME) // FIELDS)
    await together(map(lane, lanes(surplus, lambda one: one.wish.moodle_course_id, room)))


def _entry(one: Surplus) -> dict[str, int | str]:
    return {
        "roleid": one.role_id,
        "userid": one.wish.moodle_user_id,
        "contextlevel": "course",
        "instanceid": one.wish.moodle_course_id,
    }


def _split(surplus: Sequence[Surplus], _: Refused) -> list[Sequence[Surplus]]:
    """Split by role and course: what Moodle refuses, it refuses for everybody there."""
    groups: dict[tuple[int, MoodleCourseId], list[Surplus]] = {}
    for one in surplus:
        groups.setdefault((one.role_id, one.wish.moodle_course_id), []).append(one)
    return list(groups.values())
