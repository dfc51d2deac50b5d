"""Course completion of one learner, and what the site's cron and its teachers do to it."""

from typing import Any

import msgspec

from infra.simulators.moodle.errors import invalid_user, missing_record, moodle_error
from infra.simulators.moodle.params import Scalar, Struct
from infra.simulators.moodle.state import Completion, MoodleState

STATUS = Struct({"courseid": Scalar("int"), "userid": Scalar("int")})


def get_course_completion_status(state: MoodleState, params: dict[str, Any]) -> dict[str, Any]:
    """`core_completion_get_course_completion_status`: refuses suspended learners, tells no time."""
    course, user = state.courses.get(params["courseid"]), state.users.get(params["userid"])
    if course is None:
        raise missing_record("course")
    if user is None or user.deleted:
        raise invalid_user()
    if user.suspended:
        raise moodle_error("suspended", "Suspended account")
    enrolment = state.enrolments.get(user.id, course.id)
    if enrolment is None or not enrolment.active(state.now()):
        raise moodle_error("usernotenroled", "User is not enrolled in this course")
    if not course.self_completion:
        raise moodle_error("nocriteriaset", "No completion criteria set for this course")
    row = state.completions.get(user.id, course.id) or Completion(user.id, course.id)
    status = {
        "completed": row.timecompleted is not None,
        "aggregation": 1,
        "completions": [_criterion(row.criterion_met)],
    }
    return {"completionstatus": status, "warnings": []}


def _criterion(met: int | None) -> dict[str, Any]:
    title = "Self completion"
    return {
        "type": 1,
        "title": title,
        "status": "No" if met is None else "Yes",
        "complete": met is not None,
        "timecompleted": met,
        "details": {
            "type": title,
            "criteria": title,
            "requirement": "Marking yourself complete",
            "status": "",
        },
    }


def meet_criterion(state: MoodleState, userid: int, courseid: int, when: int) -> None:
    """The learner marks the course as done; it counts only after the next cron run."""
    old = state.completions.get(userid, courseid) or Completion(userid, courseid)
    state.put(state.completions, msgspec.structs.replace(old, criterion_met=when))


def complete(state: MoodleState, userid: int, courseid: int, when: int) -> None:
    """The course is complete at once, whatever the criteria say."""
    old = state.completions.get(userid, courseid) or Completion(userid, courseid)
    state.put(state.completions, msgspec.structs.replace(old, timecompleted=when))


def run_cron(state: MoodleState) -> int:
    """Aggregate completions as Moodle's scheduled tasks do; gives the number of new completions.

    An active enrolment gets its completion row, and a met criterion becomes a completion of that time.
    """
    now, done = state.now(), 0
    for enrolment in state.enrolments:
        course = state.courses.rows[(enrolment.courseid,)]
        if not course.enablecompletion or not enrolment.active(now):
            continue
        row = state.completions.get(enrolment.userid, course.id)
        if row is None:
            state.put(state.completions, Completion(enrolment.userid, course.id))
        elif row.timecompleted is None and row.criterion_met is not None:
            complete(state, enrolment.userid, course.id, row.criterion_met)
            done += 1
    return done
