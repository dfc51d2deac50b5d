"""What the simulated Moodle keeps: its rows, its settings and the clock."""

import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeVar, cast

import msgspec

from infra.simulators.moodle.calls import Calls
from infra.simulators.moodle.faults import Faults
from infra.simulators.moodle.tables import Database, Table

T = TypeVar("T")

GUEST, ADMIN, SERVICE_USER = 1, 2, 3
SITE_COURSE = 1
ACTIVE, SUSPENDED = 0, 1
OPT_IN = "completion_opt_in"

ROLES = {1: "manager", 2: "coursecreator", 3: "editingteacher", 4: "teacher", 5: "student", 8: "frontpage"}
ASSIGNABLE_IN_COURSE = frozenset({1, 3, 4, 5})

# shortname -> (name, type) of the course custom fields that the site has.
CUSTOM_FIELDS = {OPT_IN: ("Completion opt-in", "checkbox"), "elm_code": ("ELM code", "text")}


class User(msgspec.Struct, frozen=True):
    """A row of `mdl_user`."""

    id: int
    username: str
    firstname: str
    lastname: str
    email: str
    timecreated: int
    timemodified: int
    idnumber: str = ""
    auth: str = "manual"
    suspended: int = 0
    confirmed: int = 1
    deleted: int = 0
    department: str = ""
    institution: str = ""
    city: str = ""
    country: str = ""
    address: str = ""
    phone1: str = ""
    phone2: str = ""
    lang: str = "en"
    timezone: str = "99"
    mailformat: int = 1
    profile: dict[str, str] = {}


class Category(msgspec.Struct, frozen=True):
    """A row of `mdl_course_categories`."""

    id: int
    name: str
    sortorder: int
    timemodified: int
    idnumber: str | None = None
    parent: int = 0
    path: str = ""
    description: str = ""
    visible: int = 1


class Course(msgspec.Struct, frozen=True):
    """A row of `mdl_course` with its custom field values and whether completion criteria are set."""

    id: int
    category: int
    shortname: str
    fullname: str
    timecreated: int
    timemodified: int
    idnumber: str = ""
    summary: str = ""
    summaryformat: int = 1
    format: str = "topics"
    showgrades: int = 1
    newsitems: int = 5
    startdate: int = 0
    enddate: int = 0
    numsections: int = 0
    maxbytes: int = 0
    showreports: int = 0
    visible: int = 1
    hiddensections: int = 1
    groupmode: int = 0
    groupmodeforce: int = 0
    defaultgroupingid: int = 0
    enablecompletion: int = 1
    completionnotify: int = 0
    lang: str = ""
    forcetheme: str = ""
    customfields: dict[str, str] = {}
    self_completion: bool = False


class Enrolment(msgspec.Struct, frozen=True):
    """A manual enrolment, a row of `mdl_user_enrolments`."""

    id: int
    userid: int
    courseid: int
    timecreated: int
    status: int = ACTIVE
    timestart: int = 0
    timeend: int = 0

    def active(self, now: int) -> bool:
        """Whether Moodle counts it as active at this time."""
        return self.status == ACTIVE and self.timestart <= now and (self.timeend == 0 or self.timeend > now)


class RoleAssignment(msgspec.Struct, frozen=True):
    """The roles of a user in a course, ascending."""

    userid: int
    courseid: int
    roles: tuple[int, ...]


class Completion(msgspec.Struct, frozen=True):
    """A row of `mdl_course_completions`, with the time at which the self-completion criterion was met."""

    userid: int
    courseid: int
    timecompleted: int | None = None
    criterion_met: int | None = None


class CourseGrade(msgspec.Struct, frozen=True):
    """The grade of a whole course that a learner has: the final grade of its course item."""

    userid: int
    courseid: int
    points: Decimal


class Group(msgspec.Struct, frozen=True):
    """A group of a course with its members."""

    id: int
    courseid: int
    name: str
    description: str
    idnumber: str = ""
    members: tuple[int, ...] = ()


class Settings(msgspec.Struct):
    """What an administrator or a test may change; none of it is part of a snapshot.

    Attributes:
        token: the only valid web service token.
        url: address of the site as its answers name it.
        max_input_vars: PHP's limit of form variables.
        timezone: zone in which the service user reads dates (IANA name).
        debug: whether errors carry `debuginfo` (a production site does not).
        latency: `none`, `fixed` (`latency_seconds` per call) or `recorded` (by the cost table).
        latency_seconds: seconds per call when `fixed`.
        latency_scale: factor on the recorded latency, to make long runs short.
        further_auth: authentication plugins beyond the stock ones, which keep no password in Moodle.
        profile_fields: short names of the custom profile fields (text); the recorded site has none.
        recorded_service: whether the service allows just the functions that the recorded one allowed.
    """

    token: str = "TOKEN"  # noqa: S105 - the well-known token of a simulator on loopback, no secret
    url: str = "http://127.0.0.1:8900"
    max_input_vars: int = 5000
    timezone: str = "UTC"
    debug: bool = False
    latency: str = "none"
    latency_seconds: float = 0.0
    latency_scale: float = 1.0
    further_auth: tuple[str, ...] = ()
    profile_fields: tuple[str, ...] = ()
    recorded_service: bool = False

    def __post_init__(self) -> None:
        """Refuse a latency mode that does not exist."""
        if self.latency not in ("none", "fixed", "recorded"):
            reason = f"latency: {self.latency!r} is not one of none, fixed, recorded"
            raise ValueError(reason)


class MoodleState(Database):
    """The whole simulated site, with the faults set for it and the calls it has had.

    Every change of rows happens within `transaction()`.

    Args:
        settings: see `Settings`.
        clock: seconds since 1970; a test may hold it still.
    """

    def __init__(self, settings: Settings | None = None, clock: Callable[[], float] = time.time) -> None:
        self.settings = settings or Settings()
        self.clock = clock
        self.faults = Faults()
        self.calls = Calls()
        self.users: Table[User] = Table(
            "users",
            User,
            lambda user: (user.id,),
            {
                "username": lambda user: user.username,
                "email": lambda user: user.email,
                "email_folded": lambda user: user.email.lower(),
                "idnumber": lambda user: user.idnumber,
            },
        )
        self.categories: Table[Category] = Table(
            "categories", Category, lambda row: (row.id,), {"idnumber": lambda row: row.idnumber}
        )
        self.courses: Table[Course] = Table(
            "courses",
            Course,
            lambda row: (row.id,),
            {
                "shortname": lambda row: row.shortname,
                "idnumber": lambda row: row.idnumber,
                "category": lambda row: row.category,
            },
        )
        self.enrolments: Table[Enrolment] = Table(
            "enrolments", Enrolment, _pair, {"user": _userid, "course": _courseid}
        )
        self.role_assignments: Table[RoleAssignment] = Table("roles", RoleAssignment, _pair)
        self.completions: Table[Completion] = Table(
            "completions", Completion, _pair, {"course": _courseid, "user": _userid}
        )
        self.grades: Table[CourseGrade] = Table("grades", CourseGrade, _pair, {"course": _courseid})
        self.groups: Table[Group] = Table("groups", Group, lambda row: (row.id,), {"course": _courseid})
        super().__init__(
            [
                self.users,
                self.categories,
                self.courses,
                self.enrolments,
                self.role_assignments,
                self.completions,
                self.grades,
                self.groups,
            ]
        )
        self._derived: dict[str, tuple[list[int], Any]] = {}
        self.install()

    def now(self) -> int:
        """The site's time in whole seconds."""
        return int(self.clock())

    def install(self) -> None:
        """Forget everything; a fresh site has guest, admin, service user, site course and Category 1."""
        with self.transaction():
            for table in self.tables.values():
                for key in list(table.rows):
                    self.delete(table, *key)
            self.sequences.clear()
            for username, first, last, email in _FIRST_USERS:
                row = User(self.next_id("users"), username, first, last, email, _INSTALLED, _INSTALLED)
                self.put(self.users, row)
            number = self.next_id("categories")
            self.put(self.categories, Category(number, "Category 1", 10000, _INSTALLED, path=f"/{number}"))
            self.put(self.courses, msgspec.structs.replace(_SITE, id=self.next_id("courses")))

    def cached(self, name: str, versions: list[int], make: Callable[[], T]) -> T:
        """A derived value, kept as long as the versions of the tables it came from stay the same."""
        known = self._derived.get(name)
        if known is None or known[0] != versions:
            known = self._derived[name] = (versions, make())
        return cast("T", known[1])

    def sortorder(self, course: Course) -> int:
        """Place of a course in the catalogue: within its category the newest stands first."""
        versions = [self.courses.version, self.categories.version]
        return self.cached("sortorder", versions, self._sortorders).get(course.id, 1)

    def _sortorders(self) -> dict[int, int]:
        return {
            row.id: category.sortorder + place
            for category in self.categories
            for place, row in enumerate(reversed(self.courses.find("category", category.id)), start=1)
        }

    def roles_of(self, userid: int, courseid: int) -> tuple[int, ...]:
        """Role ids of a user in a course, ascending."""
        row = self.role_assignments.get(userid, courseid)
        return row.roles if row else ()


def _pair(row: Any) -> tuple[int, int]:
    return (row.userid, row.courseid)


def _userid(row: Any) -> int:
    return int(row.userid)


def _courseid(row: Any) -> int:
    return int(row.courseid)


_INSTALLED = 1795237235
_FIRST_USERS = (
    ("guest", "Guest user", " ", "root@localhost"),
    ("admin", "Admin", "User", "admin@example.test"),
    ("hubsvc", "Hub", "Service", "hubsvc@example.test"),
)
_SITE = Course(
    0,
    0,
    "hublab",
    "Hub lab",
    _INSTALLED,
    1795237262,
    summaryformat=0,
    format="site",
    newsitems=3,
    numsections=1,
    enablecompletion=0,
)
