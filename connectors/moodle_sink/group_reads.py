"""The groups of courses and who is in them. Those with an id number stand for sections and are the hub's."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from connectors.moodle.client import MoodleClient
from connectors.moodle.faults import Refused
from connectors.moodle.form import Params
from connectors.moodle_sink.batches import together
from connectors.moodle_sink.verdicts import made_for
from schemas.ids import MoodleCourseId
from schemas.moodle import MoodleCommand

GROUPS: Final = "core_group_get_course_groups"
MEMBERS: Final = "core_group_get_group_members"
COURSES_A_CALL: Final = 25
"""Courses that share a request."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Group:
    """A group of a course, its name as it was before Moodle escaped it for HTML."""

    id: int
    idnumber: str
    name: str


Asking = Mapping[MoodleCourseId, Sequence[MoodleCommand]]
"""Courses, and the commands for which each of them is read."""


async def read_groups(moodle: MoodleClient, asking: Asking) -> dict[MoodleCourseId, list[Group]]:
    """Read the groups of some courses, in the order of their ids.

    Args:
        moodle: the client of the site.
        asking: the courses.

    Returns:
        For each course its groups; a course that is not there has none.

    Raises:
        RetryLater, Stop: as for `MoodleClient.multiplex`.
    """
    answers = await _of_each(moodle, {one: (GROUPS, {"courseid": one}) for one in asking}, asking)
    return {course: sorted(map(_group, rows), key=lambda one: one.id) for course, rows in answers.items()}


async def read_memberships(
    moodle: MoodleClient, groups: Mapping[MoodleCourseId, Sequence[int]], asking: Asking
) -> dict[int, set[int]]:
    """Read who is in some groups.

    Args:
        moodle: the client of the site.
        groups: ids of groups by course.
        asking: these courses and perhaps others.

    Returns:
        For each group the ids of its users; a group that has gone meanwhile is not among them, nor are the
        others of its course.

    Raises:
        RetryLater, Stop: as for `MoodleClient.multiplex`.
    """
    calls: dict[MoodleCourseId, tuple[str, Params]] = {
        course: (MEMBERS, {"groupids": list(ids)}) for course, ids in groups.items() if ids
    }
    answers = await _of_each(moodle, calls, asking)
    return {row["groupid"]: set(row["userids"]) for rows in answers.values() for row in rows}


async def _of_each(
    moodle: MoodleClient, calls: Mapping[MoodleCourseId, tuple[str, Params]], asking: Asking
) -> dict[MoodleCourseId, list[dict[str, Any]]]:
    """Make one call for each course, several in a request; a refused one has no rows."""
    answers: dict[MoodleCourseId, list[dict[str, Any]]] = {}

    async def read(courses: Sequence[MoodleCourseId]) -> None:
        with made_for(command for course in courses for command in asking[course]):
            rows = await moodle.multiplex([calls[course] for course in courses])
        for course, answer in zip(courses, rows, strict=True):
            if isinstance(answer, Refused):
                log.warning("moodle_groups_unread", course=course, code=answer.code)
            answers[course] = [] if isinstance(answer, Refused) else answer

    names = list(calls)
    parts = range(0, len(names), COURSES_A_CALL)
    await together(read(names[at : at + COURSES_A_CALL]) for at in parts)
    return answers


def _group(row: Mapping[str, Any]) -> Group:
    return Group(row["id"], row.get("idnumber") or "", html.unescape(row["name"]))
