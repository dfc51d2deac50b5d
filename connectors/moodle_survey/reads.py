"""Bulk reads of a Moodle site, few calls whatever its size: several look-ups share a request as JSON.

A request asks for some thousand rows: enough that a call's own cost does not count, and few enough that
neither the answer nor the time Moodle takes for it is a burden to the site.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from connectors.moodle.client import MULTIPLEX, MoodleClient
from connectors.moodle.faults import Refused
from connectors.moodle.form import FRAME, Params
from connectors.moodle_sink.batches import together
from connectors.moodle_survey import answers
from connectors.moodle_survey.answers import Member
from schemas.ids import MoodleCourseId, MoodleUserId
from schemas.survey import AccountSeen, CourseSeen, GradeSeen, MemberSeen

COURSES: Final = "core_course_get_courses"
ACCOUNTS: Final = "core_user_get_users_by_field"
ENROLLED: Final = "core_enrol_get_enrolled_users"
GRADES: Final = "gradereport_overview_get_course_grades"
FUNCTIONS: Final = (COURSES, ACCOUNTS, ENROLLED, MULTIPLEX)
"""Web service functions that the service user must be allowed to call; `GRADES` only to read grades."""

USERS: Final = 200
"""Users whose grades one request asks for."""
ROWS: Final = 5_000
"""Rows that one request is meant to bring."""
TIMEOUT: Final = 300.0
"""Seconds for an answer of so many rows: Moodle looks up the roles of every member on their own."""

Field = Literal["id", "idnumber", "username", "email"]
Members = Mapping[MoodleCourseId, Sequence[MemberSeen]]


async def read_courses(moodle: MoodleClient) -> list[CourseSeen]:
    """Read the whole catalogue, which Moodle gives in one answer; the site's front page is in it.

    Raises:
        RetryLater, Refused, Stop: as for `MoodleClient.call`.
        HubError: the answer has another form.
    """
    return answers.courses(await moodle.call(COURSES, {}, TIMEOUT), COURSES)


async def read_accounts(
    moodle: MoodleClient, by: Field, values: Sequence[str], rows: int = ROWS
) -> list[AccountSeen]:
    """Read the accounts that have one of ``values``, each once; a value that nobody has is passed over.

    Args:
        moodle: the client of the site.
        by: the field that ``values`` are of; Moodle compares exactly, with regard to case.
        values: looked for; one that Moodle refuses is passed over too.
        rows: most values in one request.

    Raises:
        RetryLater, Stop, HubError: as for `read_courses`.
    """
    found: dict[int, AccountSeen] = {}

    async def look_up(part: Sequence[str]) -> None:
        found.update((one.id, one) for one in await _accounts(moodle, by, part))

    await together(look_up(part) for part in _chunks(list(dict.fromkeys(filter(None, values))), rows))
    return list(found.values())


async def _accounts(moodle: MoodleClient, by: Field, values: Sequence[str]) -> list[AccountSeen]:
    """Look ``values`` up; where Moodle refuses them for the sake of one, find that one by halving."""
    (answer,) = await moodle.multiplex([(ACCOUNTS, {"field": by, "values": values})], TIMEOUT)
    if not isinstance(answer, Refused):
        return answers.accounts(answer, ACCOUNTS)
    if len(values) == 1:
        return []
    middle = len(values) // 2
    return [
        *await _accounts(moodle, by, values[:middle]),
        *await _accounts(moodle, by, values[middle:]),
    ]


async def read_members(
    moodle: MoodleClient, courses: Mapping[MoodleCourseId, int], rows: int = ROWS
) -> Members:
    """Read who is enrolled in ``courses``.

    Args:
        moodle: the client of the site.
        courses: how many members each is believed to have; the better the guess, the fewer the requests.
        rows: rows in one request, and most of one course in it; at least 2.

    Returns:
        The members of each course; a course that Moodle does not have (any more) is not in it.

    Raises:
        RetryLater, Stop, HubError: as for `read_courses`.
    """
    found: dict[MoodleCourseId, list[MemberSeen]] = {}
    most = max(1, (moodle.max_input_vars - FRAME) // 4)  # two listings of two variables for each course

    async def read(group: Sequence[MoodleCourseId]) -> None:
        found.update(await _members(moodle, group, rows))

    await together(read(group) for group in packed(courses, rows, most))
    return found


async def read_grades(
    moodle: MoodleClient, users: Sequence[MoodleUserId], at_once: int = USERS
) -> list[GradeSeen]:
    """Read the grades that ``users`` have of whole courses; one whom Moodle refuses is passed over.

    Moodle has no read of what was graded since some time, and tells of one user a call: the calls share
    requests.

    Args:
        moodle: the client of the site.
        users: their ids.
        at_once: users in one request.

    Raises:
        RetryLater, Stop, HubError: as for `read_courses`.
    """
    found: list[GradeSeen] = []

    async def read(part: Sequence[MoodleUserId]) -> None:
        calls: list[tuple[str, Params]] = [(GRADES, {"userid": user}) for user in part]
        for user, answer in zip(part, await moodle.multiplex(calls, TIMEOUT), strict=True):
            if not isinstance(answer, Refused):
                found.extend(answers.grades(answer, user, GRADES))

    await together(read(users[at : at + at_once]) for at in range(0, len(users), at_once))
    return found


def packed(sizes: Mapping[MoodleCourseId, int], rows: int, most: int) -> Iterator[list[MoodleCourseId]]:
    """Yield groups of courses that together have at most ``rows`` members, and are at most ``most``.

    A course that is larger alone is in a group of its own. Large ones come first, so that they are read while
    the many small ones are.
    """
    group: list[MoodleCourseId] = []
    room = rows
    for course in sorted(sizes, key=lambda course: (-sizes[course], course)):
        size = max(1, sizes[course])
        if group and (size > room or len(group) == most):
            yield group
            group, room = [], rows
        group.append(course)
        room -= size
    if group:
        yield group


@dataclass(slots=True)
class _Listing:
    """One reading of one course, as far as it has come."""

    course: MoodleCourseId
    is_active: bool
    page: int
    rows: list[Member] = field(default_factory=list)
    done: bool = False
    refused: bool = False

    def call(self) -> tuple[str, Params]:
        """Return the call that reads the next page; it begins with the last row known, as a check."""
        options = {
            "onlyactive" if self.is_active else "onlysuspended": "1",
            "userfields": "id,idnumber,lastcourseaccess,roles",
            "sortby": "id",
            "limitfrom": str(max(0, len(self.rows) - 1)),
            "limitnumber": str(self.page),
        }
        named = [{"name": name, "value": value} for name, value in options.items()]
        return ENROLLED, {"courseid": self.course, "options": named}

    def take(self, answer: Any | Refused) -> None:
        """Add a page; if it does not continue the last one, somebody came or left meanwhile: start anew."""
        if isinstance(answer, Refused):
            self.refused = self.done = True
            return
        page = answers.read(answer, list[Member], ENROLLED)
        if self.rows and (not page or page[0].id != self.rows[-1].id):
            self.rows = []
            return
        self.rows += page[1:] if self.rows else page
        self.done = len(page) < self.page


async def _members(
    moodle: MoodleClient, courses: Sequence[MoodleCourseId], rows: int
) -> dict[MoodleCourseId, list[MemberSeen]]:
    listings = [_Listing(course, is_active, rows) for course in courses for is_active in (True, False)]
    while todo := [listing for listing in listings if not listing.done]:
        for listing, answer in zip(
            todo, await moodle.multiplex([one.call() for one in todo], TIMEOUT), strict=True
        ):
            listing.take(answer)
    found: dict[MoodleCourseId, list[MemberSeen]] = {}
    for listing in listings:
        if not listing.refused:
            found.setdefault(listing.course, []).extend(
                answers.members(listing.rows, is_active=listing.is_active)
            )
    return found


def _chunks(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (items[start : start + size] for start in range(0, len(items), size))
