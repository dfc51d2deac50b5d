"""Enrolling, unenrolling, roles, and reading who is enrolled."""

from typing import Any

import msgspec

from infra.simulators.moodle.errors import (
    NotSimulatedError,
    coding_error,
    invalid_parameter,
    missing_record,
    moodle_error,
)
from infra.simulators.moodle.params import Scalar, Struct, many, optional
from infra.simulators.moodle.state import (
    ACTIVE,
    ASSIGNABLE_IN_COURSE,
    SITE_COURSE,
    SUSPENDED,
    Enrolment,
    MoodleState,
    RoleAssignment,
    User,
)

ENROL = Struct(
    {
        "enrolments": many(
            {
                "roleid": Scalar("int"),
                "userid": Scalar("int"),
                "courseid": Scalar("int"),
                "timestart": optional("int"),
                "timeend": optional("int"),
                "suspend": optional("int"),
            }
        )
    }
)
UNENROL = Struct(
    {"enrolments": many({"userid": Scalar("int"), "courseid": Scalar("int"), "roleid": optional("int")})}
)
_ASSIGNMENT = {
    "roleid": Scalar("int"),
    "userid": Scalar("int"),
    "contextid": optional("int"),
    "contextlevel": optional("alpha"),
    "instanceid": optional("int"),
}
ASSIGN = Struct({"assignments": many(_ASSIGNMENT)})
UNASSIGN = Struct({"unassignments": many(_ASSIGNMENT)})


def enrol_users(state: MoodleState, params: dict[str, Any]) -> None:
    """`enrol_manual_enrol_users`: all or nothing; what is left out is reset (dates to 0, suspend to no)."""
    for entry in params["enrolments"]:
        _enrol(state, entry)


def _enrol(state: MoodleState, entry: dict[str, Any]) -> None:
    userid, courseid, roleid = entry["userid"], entry["courseid"], entry["roleid"]
    if state.courses.get(courseid) is None:
        raise invalid_parameter("Context does not exist")
    if roleid not in ASSIGNABLE_IN_COURSE:
        text = (
            f"You don't have the permission to assign this role ({roleid}) "
            f"to this user ({userid}) in this course ({courseid})."
        )
        raise moodle_error("wsusercannotassign", text)
    if courseid == SITE_COURSE:
        text = (
            f"Manual enrolment plugin instance doesn't exist or is disabled for the course (id = {courseid})"
        )
        raise moodle_error("wsnoinstance", text)
    _require_user(state, userid)
    old = state.enrolments.get(userid, courseid)
    row = Enrolment(
        id=old.id if old else state.next_id("enrolments"),
        userid=userid,
        courseid=courseid,
        timecreated=old.timecreated if old else state.now(),
        status=SUSPENDED if entry.get("suspend", 0) else ACTIVE,
        timestart=entry.get("timestart", 0),
        timeend=entry.get("timeend", 0),
    )
    if row != old:
        state.put(state.enrolments, row)
    _assign(state, userid, courseid, roleid)


def _require_user(state: MoodleState, userid: int) -> User:
    user = state.users.get(userid)
    if user is None or user.deleted:
        raise coding_error("User ID does not exist or is deleted!")
    return user


def _assign(state: MoodleState, userid: int, courseid: int, roleid: int) -> None:
    roles = state.roles_of(userid, courseid)
    if roleid not in roles:
        row = RoleAssignment(userid, courseid, tuple(sorted((*roles, roleid))))
        state.put(state.role_assignments, row)


def unenrol_users(state: MoodleState, params: dict[str, Any]) -> None:
    """`enrol_manual_unenrol_users`: all or nothing; a user who is not enrolled is no error."""
    for entry in params["enrolments"]:
        userid, courseid = entry["userid"], entry["courseid"]
        if state.courses.get(courseid) is None:
            raise missing_record("course")
        if state.users.get(userid) is None:
            msg = f"User id not exist: {userid}"
            raise invalid_parameter(msg)
        if state.enrolments.get(userid, courseid):
            state.delete(state.enrolments, userid, courseid)
            state.delete(state.role_assignments, userid, courseid)
            _leave_groups(state, userid, courseid)


def _leave_groups(state: MoodleState, userid: int, courseid: int) -> None:
    for group in state.groups.find("course", courseid):
        if userid in group.members:
            members = tuple(member for member in group.members if member != userid)
            state.put(state.groups, msgspec.structs.replace(group, members=members))


def assign_roles(state: MoodleState, params: dict[str, Any]) -> None:
    """`core_role_assign_roles`, in courses."""
    for entry in params["assignments"]:
        courseid = _course_context(entry)
        _require_user(state, entry["userid"])
        _assign(state, entry["userid"], courseid, entry["roleid"])


def unassign_roles(state: MoodleState, params: dict[str, Any]) -> None:
    """`core_role_unassign_roles`, in courses: all or nothing; a role that the user lacks is no error."""
    for entry in params["unassignments"]:
        userid, courseid, roleid = entry["userid"], _course_context(entry), entry["roleid"]
        if state.courses.get(courseid) is None:
            raise missing_record("course")
        if roleid not in ASSIGNABLE_IN_COURSE:
            msg = f"Can not unassign roleid={roleid}"
            raise invalid_parameter(msg)
        roles = state.roles_of(userid, courseid)
        if roleid in roles:
            kept = tuple(role for role in roles if role != roleid)
            state.put(state.role_assignments, RoleAssignment(userid, courseid, kept))


def _course_context(entry: dict[str, Any]) -> int:
    if entry.get("contextlevel") != "course" or "instanceid" not in entry:
        reason = "roles outside courses, and contexts by id"
        raise NotSimulatedError(reason)
    return int(entry["instanceid"])
