"""Reading who is enrolled where."""

from collections.abc import Callable
from typing import Any

from infra.simulators.moodle.course_views import image
from infra.simulators.moodle.errors import NotSimulatedError, coding_error, invalid_parameter, missing_record
from infra.simulators.moodle.params import Scalar, Struct, many
from infra.simulators.moodle.site import picture
from infra.simulators.moodle.state import ROLES, Course, Enrolment, MoodleState, User
from infra.simulators.moodle.text import formatted

ENROLLED = Struct(
    {
        "courseid": Scalar("int"),
        "options": many({"name": Scalar("alphanumext"), "value": Scalar("raw")}, default=[]),
    }
)
COURSES_OF = Struct({"userid": Scalar("int"), "returnusercount": Scalar("bool", 1)})
METHODS = Struct({"courseid": Scalar("int")})

_ALL_FIELDS = [
    "username",
    "firstname",
    "lastname",
    "email",
    "department",
    "institution",
    "idnumber",
    "city",
    "country",
    "firstaccess",
    "lastaccess",
    "lastcourseaccess",
    "profileimageurlsmall",
    "profileimageurl",
    "roles",
    "enrolledcourses",
]

# Who is listed for a capability; the one that tells learners from teachers.
_CAPABILITIES = {"moodle/course:isincompletionreports": frozenset({5})}


def get_enrolled_users(state: MoodleState, params: dict[str, Any]) -> list[dict[str, Any]]:
    """`core_enrol_get_enrolled_users`: suspended ones are in it, unmarked; unknown options are ignored."""
    course = state.courses.get(params["courseid"])
    if course is None:
        raise missing_record("course")
    options = {option["name"]: option["value"] for option in params["options"]}
    if options.get("groupid", "0") != "0":
        reason = "core_enrol_get_enrolled_users with groupid"
        raise NotSimulatedError(reason)
    pairs = [
        (enrolment, state.users.rows[(enrolment.userid,)])
        for enrolment in state.enrolments.find("course", course.id)
    ]
    wanted = _filter(state, options)
    users = [user for enrolment, user in pairs if wanted(enrolment)]
    users = _page(_sorted(users, options), options)
    fields = options["userfields"].split(",") if options.get("userfields") else None
    return [_enrolled(state, user, course, fields) for user in users]


def _filter(state: MoodleState, options: dict[str, str]) -> Callable[[Enrolment], bool]:
    only_active, only_suspended = options.get("onlyactive") == "1", options.get("onlysuspended") == "1"
    if only_active and only_suspended:
        raise coding_error("Both onlyactive and onlysuspended are set")
    roles = _roles_for(options.get("withcapability", ""))
    now = state.now()

    def wanted(enrolment: Enrolment) -> bool:
        if only_active and not enrolment.active(now):
            return False
        if only_suspended and enrolment.active(now):
            return False
        return roles is None or bool(roles.intersection(state.roles_of(enrolment.userid, enrolment.courseid)))

    return wanted


def _roles_for(capability: str) -> frozenset[int] | None:
    if not capability:
        return None
    if capability not in _CAPABILITIES:
        reason = f"capability {capability}"
        raise NotSimulatedError(reason)
    return _CAPABILITIES[capability]


def _sorted(users: list[User], options: dict[str, str]) -> list[User]:
    field = options.get("sortby", "id")
    if field not in ("id", "firstname", "lastname"):
        raise invalid_parameter("Invalid value for sortby parameter")
    descending = options.get("sortdirection", "ASC").upper() == "DESC"
    return sorted(users, key=lambda user: (getattr(user, field), user.id), reverse=descending)


def _page(users: list[User], options: dict[str, str]) -> list[User]:
    start, number = int(options.get("limitfrom") or 0), int(options.get("limitnumber") or 0)
    return users[start : start + number] if number else users[start:]


def _enrolled(state: MoodleState, user: User, course: Course, fields: list[str] | None) -> dict[str, Any]:
    result: dict[str, Any] = {"id": user.id, "fullname": f"{user.firstname} {user.lastname}"}
    names = _ALL_FIELDS if fields is None else fields
    result |= {name: value for name in names if (value := _field(state, user, course, name)) is not None}
    return result


def _field(state: MoodleState, user: User, course: Course, name: str) -> object:
    if name in ("firstaccess", "lastaccess", "lastcourseaccess"):
        return 0
    if name == "profileimageurl":
        return picture(state, 1)
    if name == "profileimageurlsmall":
        return picture(state, 2)
    if name == "roles":
        roles = state.roles_of(user.id, course.id)
        return [{"roleid": role, "name": "", "shortname": ROLES[role], "sortorder": 0} for role in roles]
    if name == "enrolledcourses":
        return [
            {"id": row.id, "fullname": formatted(row.fullname), "shortname": formatted(row.shortname)}
            for row in active_courses(state, user.id)
        ]
    if name in ("username", "firstname", "lastname", "email", "department"):
        return getattr(user, name)
    if name in ("idnumber", "institution", "city", "country", "phone1", "phone2", "address"):
        return getattr(user, name) or None
    return None


def active_courses(state: MoodleState, userid: int) -> list[Course]:
    """The visible courses in which the user is actively enrolled, in the order of the catalogue."""
    now = state.now()
    rows = [
        state.courses.rows[(row.courseid,)]
        for row in state.enrolments.find("user", userid)
        if row.active(now)
    ]
    return sorted((course for course in rows if course.visible), key=state.sortorder)


def get_users_courses(state: MoodleState, params: dict[str, Any]) -> list[dict[str, Any]]:
    """`core_enrol_get_users_courses`: neither suspended enrolments nor hidden courses, no completion time."""
    with_count = bool(params["returnusercount"])
    courses = active_courses(state, params["userid"])
    return [_course_of(state, params["userid"], course, with_count) for course in courses]


def _course_of(state: MoodleState, userid: int, course: Course, with_count: bool) -> dict[str, Any]:
    completion = state.completions.get(userid, course.id)
    tracked = bool(course.enablecompletion)
    completed = tracked and completion is not None and completion.timecompleted is not None
    count = {"enrolledusercount": state.enrolments.count("course", course.id)} if with_count else {}
    return {
        "id": course.id,
        "shortname": formatted(course.shortname),
        "fullname": formatted(course.fullname),
        "displayname": formatted(course.fullname),
        **count,
        "idnumber": course.idnumber,
        "visible": course.visible,
        "summary": course.summary,
        "summaryformat": course.summaryformat,
        "format": course.format,
        "courseimage": image(state, course),
        "showgrades": bool(course.showgrades),
        "lang": course.lang,
        "enablecompletion": tracked,
        "completionhascriteria": tracked and course.self_completion,
        "completionusertracked": tracked,
        "category": course.category,
        "progress": 100 if completed else None,
        "completed": completed,
        "startdate": course.startdate,
        "enddate": course.enddate,
        "marker": 0,
        "lastaccess": None,
        "isfavourite": False,
        "hidden": False,
        "overviewfiles": [],
        "showactivitydates": False,
        "showcompletionconditions": True,
        "timemodified": course.timemodified,
    }


def get_course_enrolment_methods(state: MoodleState, params: dict[str, Any]) -> list[dict[str, Any]]:
    """`core_enrol_get_course_enrolment_methods`: manual enrolment is not among what it tells."""
    if state.courses.get(params["courseid"]) is None:
        raise missing_record("course")
    return []
