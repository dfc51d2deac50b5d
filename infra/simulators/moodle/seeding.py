"""What is done to the simulated site from outside of the web services: rows put there, people who finish."""

import hashlib
from typing import Any

import msgspec

from infra.simulators.moodle.completion import complete, meet_criterion
from infra.simulators.moodle.course_views import opted_in
from infra.simulators.moodle.state import (
    OPT_IN,
    SUSPENDED,
    Category,
    Completion,
    Course,
    Enrolment,
    MoodleState,
    RoleAssignment,
    User,
)

STUDENT = 5


class SeedCourse(msgspec.Struct, forbid_unknown_fields=True):
    """A course to be put there without Moodle's checks, by default with a criterion of self-completion."""

    shortname: str
    fullname: str = ""
    idnumber: str = ""
    category: int = 1
    visible: int = 1
    startdate: int = 0
    enddate: int = 0
    completion_opt_in: bool = False
    self_completion: bool = True


class SeedUser(msgspec.Struct, forbid_unknown_fields=True):
    """A user to be put there without Moodle's checks."""

    email: str
    username: str = ""
    firstname: str = "First"
    lastname: str = "Last"
    idnumber: str = ""
    auth: str = "oauth2"
    suspended: int = 0


class SeedEnrolment(msgspec.Struct, forbid_unknown_fields=True):
    """An enrolment, by ids, to be put there without Moodle's checks."""

    userid: int
    courseid: int
    roleid: int = STUDENT
    suspended: bool = False
    timestart: int = 0
    timeend: int = 0
    timecreated: int | None = None


class Seed(msgspec.Struct, forbid_unknown_fields=True):
    """Rows to add in bulk; the answer gives the ids in the order sent."""

    categories: list[dict[str, str]] = []
    courses: list[SeedCourse] = []
    users: list[SeedUser] = []
    enrolments: list[SeedEnrolment] = []


class CoursePatch(msgspec.Struct, forbid_unknown_fields=True):
    """What an administrator changes on a course, outside of the web services."""

    id: int
    completion_opt_in: bool | None = None
    self_completion: bool | None = None
    visible: int | None = None
    enablecompletion: int | None = None


class NewCompletion(msgspec.Struct, forbid_unknown_fields=True):
    """A completion by ids; `timecompleted` is now if not given.

    With `criterion` the learner's own criterion is ticked as well; without `aggregated` only that is done,
    and the next cron run completes the course.
    """

    userid: int
    courseid: int
    timecompleted: int | None = None
    criterion: bool = True
    aggregated: bool = True


class AutoCompletion(msgspec.Struct, forbid_unknown_fields=True):
    """People finish: a share (0 to 1) of the active students of opted-in courses, chosen by `seed`."""

    share: float = 0.3
    seed: int = 1
    timecompleted: int | None = None


def seed(state: MoodleState, rows: Seed) -> dict[str, list[int]]:
    """Put rows into the site in one transaction; gives the new ids of categories, courses and users."""
    with state.transaction():
        return {
            "categories": [_seed_category(state, row) for row in rows.categories],
            "courses": [_seed_course(state, row) for row in rows.courses],
            "users": [_seed_user(state, row) for row in rows.users],
            "enrolments": [_seed_enrolment(state, row) for row in rows.enrolments],
        }


def _seed_category(state: MoodleState, row: dict[str, str]) -> int:
    number = state.next_id("categories")
    order = 10000 * (len(state.categories) + 1)
    name, idnumber = row["name"], row.get("idnumber")
    state.put(state.categories, Category(number, name, order, state.now(), idnumber, path=f"/{number}"))
    return number


def _seed_course(state: MoodleState, row: SeedCourse) -> int:
    now = state.now()
    fields = msgspec.structs.asdict(row)
    custom = {OPT_IN: "1"} if fields.pop("completion_opt_in") else {}
    fields["fullname"] = row.fullname or row.shortname
    course = Course(
        id=state.next_id("courses"), timecreated=now, timemodified=now, customfields=custom, **fields
    )
    return state.put(state.courses, course).id


def _seed_user(state: MoodleState, row: SeedUser) -> int:
    now = state.now()
    fields = {**msgspec.structs.asdict(row), "username": row.username or row.email.lower()}
    return state.put(
        state.users, User(id=state.next_id("users"), timecreated=now, timemodified=now, **fields)
    ).id


def _seed_enrolment(state: MoodleState, row: SeedEnrolment) -> int:
    enrolment = Enrolment(
        id=state.next_id("enrolments"),
        userid=row.userid,
        courseid=row.courseid,
        timecreated=state.now() if row.timecreated is None else row.timecreated,
        status=SUSPENDED if row.suspended else 0,
        timestart=row.timestart,
        timeend=row.timeend,
    )
    state.put(state.enrolments, enrolment)
    state.put(state.role_assignments, RoleAssignment(row.userid, row.courseid, (row.roleid,)))
    return enrolment.id


def patch_course(state: MoodleState, patch: CoursePatch) -> None:
    """Change a course as its administrator.

    Raises:
        KeyError: there is no such course.
    """
    course = state.courses.rows[(patch.id,)]
    changes = {
        name: value
        for name, value in msgspec.structs.asdict(patch).items()
        if value is not None and name not in ("id", "completion_opt_in")
    }
    if patch.completion_opt_in is not None:
        changes["customfields"] = course.customfields | {OPT_IN: "1" if patch.completion_opt_in else "0"}
    with state.transaction():
        state.put(state.courses, msgspec.structs.replace(course, **changes))


def add_completions(state: MoodleState, rows: list[NewCompletion]) -> int:
    """Complete courses for learners; gives the number of rows."""
    with state.transaction():
        for row in rows:
            when = state.now() if row.timecompleted is None else row.timecompleted
            if row.criterion:
                meet_criterion(state, row.userid, row.courseid, when)
            if row.aggregated:
                complete(state, row.userid, row.courseid, when)
    return len(rows)


def auto_complete(state: MoodleState, wish: AutoCompletion) -> list[Completion]:
    """Let a share of the active students finish; who depends on the seed only, so a repeat adds nobody."""
    now = state.now()
    chosen = [
        NewCompletion(row.userid, row.courseid, wish.timecompleted)
        for row in state.enrolments
        if row.active(now)
        and opted_in(state.courses.rows[(row.courseid,)])
        and STUDENT in state.roles_of(row.userid, row.courseid)
        and _draw(wish.seed, row.userid, row.courseid) < wish.share
        and not _is_complete(state, row)
    ]
    add_completions(state, chosen)
    return [state.completions.rows[(row.userid, row.courseid)] for row in chosen]


def _is_complete(state: MoodleState, row: Enrolment) -> bool:
    completion = state.completions.get(row.userid, row.courseid)
    return completion is not None and completion.timecompleted is not None


def _draw(seed_number: int, userid: int, courseid: int) -> float:
    digest = hashlib.sha256(f"{seed_number}|{userid}|{courseid}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64


def enrolment_rows(state: MoodleState, courseid: int | None, userid: int | None) -> list[dict[str, Any]]:
    """Enrolments with their roles, of one course, of one user, of both, or all."""
    if userid is not None:
        rows = state.enrolments.find("user", userid)
    elif courseid is not None:
        rows = state.enrolments.find("course", courseid)
    else:
        rows = list(state.enrolments)
    return [
        {**msgspec.to_builtins(row), "roles": list(state.roles_of(row.userid, row.courseid))}
        for row in rows
        if courseid is None or row.courseid == courseid
    ]
