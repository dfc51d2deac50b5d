"""Who is enrolled in courses: read page by page, so that a large course does not outlast the time-out."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Final

from connectors.moodle.client import MoodleClient
from connectors.moodle.faults import Refused
from connectors.moodle.form import Params
from schemas.ids import MoodleCourseId

ENROLLED: Final = "core_enrol_get_enrolled_users"
PAGE: Final = 500
"""People read at once of a course; Moodle looks up the roles of each on their own."""


@dataclass(frozen=True, slots=True)
class Members:
    """Who is enrolled in a course, by Moodle's user ids.

    Attributes:
        active: those whose enrolment is active now.
        inactive: those who are suspended, or whose dates do not include the present.
        roles: Moodle's role ids that each of them has in this very course.
    """

    active: Set[int]
    inactive: Set[int]
    roles: Mapping[int, Set[int]]


@dataclass(slots=True)
class _Listing:
    """One reading of one course, as far as it has come; ``which`` is Moodle's name of the filter."""

    course_id: MoodleCourseId
    which: str
    page: int
    ids: list[int] = field(default_factory=list)
    roles: dict[int, Set[int]] = field(default_factory=dict)
    done: bool = False
    refusal: Refused | None = None

    def call(self) -> tuple[str, Params]:
        """Return the call that reads the next page; it begins with the last row known, as a check."""
        options = {
            self.which: "1",
            "userfields": "id,roles",
            "limitfrom": str(max(0, len(self.ids) - 1)),
            "limitnumber": str(self.page),
        }
        named = [{"name": name, "value": value} for name, value in options.items()]
        return ENROLLED, {"courseid": self.course_id, "options": named}

    def take(self, answer: Any | Refused) -> None:
        """Add a page; if it does not continue the last one, somebody came or left meanwhile: start anew."""
        if isinstance(answer, Refused):
            self.refusal, self.done = answer, True
            return
        ids = [row["id"] for row in answer]
        if self.ids and ids[:1] != self.ids[-1:]:
            self.ids, self.roles = [], {}
            return
        self.ids += ids[1:] if self.ids else ids
        self.roles |= {row["id"]: {role["roleid"] for role in row.get("roles", ())} for row in answer}
        self.done = len(ids) < self.page


async def read_members(
    moodle: MoodleClient, courses: Sequence[MoodleCourseId], page: int = PAGE
) -> list[Members | Refused]:
    """Read who is enrolled in some courses.

    Args:
        moodle: the client of the site.
        courses: Moodle's ids; the readings of all of them share requests, so they should be few.
        page: most people read at once of a course; at least 2.

    Returns:
        For each course, in their order, its members, or how Moodle refused to tell.

    Raises:
        RetryLater, Stop: as for `MoodleClient.multiplex`.
    """
    active = [_Listing(course, "onlyactive", page) for course in courses]
    inactive = [_Listing(course, "onlysuspended", page) for course in courses]
    while todo := [listing for listing in (*active, *inactive) if not listing.done]:
        answers = await moodle.multiplex([listing.call() for listing in todo])
        for listing, answer in zip(todo, answers, strict=True):
            listing.take(answer)
    return [
        one.refusal or other.refusal or Members(set(one.ids), set(other.ids), one.roles | other.roles)
        for one, other in zip(active, inactive, strict=True)
    ]
