"""Groups of a course and their members."""

from typing import Any

import msgspec

from infra.simulators.moodle.errors import invalid_parameter, missing_record, moodle_error
from infra.simulators.moodle.params import Many, Scalar, Struct, many, optional
from infra.simulators.moodle.state import Group, MoodleState

CREATE = Struct(
    {
        "groups": many(
            {
                "courseid": Scalar("int"),
                "name": Scalar("text"),
                "description": Scalar("raw"),
                "idnumber": Scalar("raw", ""),
            }
        )
    }
)
UPDATE = Struct(
    {
        "groups": many(
            {
                "id": Scalar("int"),
                "name": Scalar("text"),
                "description": optional("raw"),
                "idnumber": optional("raw"),
            }
        )
    }
)
MEMBERS_OF = Struct({"groupids": Many(Scalar("int"))})
OF_COURSE = Struct({"courseid": Scalar("int")})
MEMBERS = Struct({"members": many({"groupid": Scalar("int"), "userid": Scalar("int")})})


def create_groups(state: MoodleState, params: dict[str, Any]) -> list[dict[str, Any]]:
    """`core_group_create_groups`: all or nothing; names and id numbers are unique in a course."""
    return [_create(state, entry) for entry in params["groups"]]


def _create(state: MoodleState, entry: dict[str, Any]) -> dict[str, Any]:
    others = state.groups.find("course", entry["courseid"])
    if state.courses.get(entry["courseid"]) is None:
        raise invalid_parameter("Context does not exist")
    if not entry["name"].strip():
        raise invalid_parameter("Invalid group name")
    if any(group.name == entry["name"] for group in others):
        raise invalid_parameter("Group with the same name already exists in the course")
    if entry["idnumber"] and any(group.idnumber == entry["idnumber"] for group in others):
        raise moodle_error("idnumbertaken", "This ID number is already in use")
    group = state.put(state.groups, Group(id=state.next_id("groups"), **entry))
    return _details(group, enrolmentkey="")


def update_groups(state: MoodleState, params: dict[str, Any]) -> None:
    """`core_group_update_groups`: all or nothing, answers null. Not recorded."""
    for entry in params["groups"]:
        group = state.groups.get(entry["id"])
        if group is None:
            msg = f"Group {entry['id']} does not exist"
            raise invalid_parameter(msg)
        if not entry["name"].strip():
            raise invalid_parameter("Invalid group name")
        others = [row for row in state.groups.find("course", group.courseid) if row.id != group.id]
        if any(row.name == entry["name"] for row in others):
            raise invalid_parameter("A different group with the same name already exists in the course")
        if entry.get("idnumber") and any(row.idnumber == entry["idnumber"] for row in others):
            raise moodle_error("idnumbertaken", "This ID number is already in use")
        state.put(state.groups, msgspec.structs.replace(group, **entry))


def get_group_members(state: MoodleState, params: dict[str, Any]) -> list[dict[str, Any]]:
    """`core_group_get_group_members`: one unknown id breaks the call. Not recorded."""
    groups = [state.groups.get(number) for number in params["groupids"]]
    if None in groups:
        raise missing_record("groups")
    return [{"groupid": group.id, "userids": list(group.members)} for group in groups if group]


def get_course_groups(state: MoodleState, params: dict[str, Any]) -> list[dict[str, Any]]:
    """`core_group_get_course_groups`."""
    if state.courses.get(params["courseid"]) is None:
        raise missing_record("course")
    groups = sorted(state.groups.find("course", params["courseid"]), key=lambda group: group.name)
    return [_details(group, enrolmentkey=None) for group in groups]


def _details(group: Group, enrolmentkey: str | None) -> dict[str, Any]:
    return {
        "id": group.id,
        "courseid": group.courseid,
        "name": group.name,
        "description": group.description,
        "descriptionformat": 1,
        "enrolmentkey": enrolmentkey,
        "idnumber": group.idnumber,
        "visibility": 0,
        "participation": True,
    }


def add_group_members(state: MoodleState, params: dict[str, Any]) -> None:
    """`core_group_add_group_members`: only who is enrolled; a repeat is no error."""
    for group, userid in _members(state, params):
        if state.enrolments.get(userid, group.courseid) is None:
            raise invalid_parameter("Only enrolled users may be members of groups")
        if userid not in group.members:
            state.put(state.groups, msgspec.structs.replace(group, members=(*group.members, userid)))


def delete_group_members(state: MoodleState, params: dict[str, Any]) -> None:
    """`core_group_delete_group_members`."""
    for group, userid in _members(state, params):
        members = tuple(member for member in group.members if member != userid)
        state.put(state.groups, msgspec.structs.replace(group, members=members))


def _members(state: MoodleState, params: dict[str, Any]) -> Any:
    for entry in params["members"]:
        group = state.groups.get(entry["groupid"])
        if group is None:
            raise missing_record("groups")
        yield group, entry["userid"]
