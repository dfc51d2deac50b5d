"""Grades of whole courses, as the overview report tells them."""

from decimal import Decimal
from typing import Any

from infra.simulators.moodle.errors import invalid_user
from infra.simulators.moodle.params import Scalar, Struct
from infra.simulators.moodle.state import Course, CourseGrade, MoodleState

OVERVIEW = Struct({"userid": Scalar("int", 0)})
_RAW, _SHOWN = Decimal("0.00001"), Decimal("0.01")


def get_course_grades(state: MoodleState, params: dict[str, Any]) -> dict[str, Any]:
    """`gradereport_overview_get_course_grades`: the courses of one user, with the points as text.

    Hidden ones come behind the others. Whether those are told in which the user is suspended was not
    recorded; here they are.
    """
    user = state.users.get(params["userid"])
    if user is None or user.deleted:
        raise invalid_user()
    found = [state.courses.rows[(row.courseid,)] for row in state.enrolments.find("user", user.id)]
    shown = (course for course in found if course.showgrades)
    courses = sorted(shown, key=lambda course: (not course.visible, state.sortorder(course)))
    return {"grades": [_row(state, user.id, course) for course in courses], "warnings": []}


def _row(state: MoodleState, userid: int, course: Course) -> dict[str, Any]:
    grade = state.grades.get(userid, course.id)
    if grade is None:
        return {"courseid": course.id, "grade": "-", "rawgrade": None}
    shown, raw = (str(grade.points.quantize(places)) for places in (_SHOWN, _RAW))
    return {"courseid": course.id, "grade": shown, "rawgrade": raw}


def set_grade(state: MoodleState, userid: int, courseid: int, points: Decimal | None) -> None:
    """Let a teacher grade the learner, or take the grade away."""
    with state.transaction():
        if points is None:
            state.delete(state.grades, userid, courseid)
        else:
            state.put(state.grades, CourseGrade(userid, courseid, points))
