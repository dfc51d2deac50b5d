"""The course functions: create, update, look up, list, delete."""

from typing import Any

import msgspec

from infra.simulators.moodle.course_views import detailed, listed
from infra.simulators.moodle.errors import (
    MoodleError,
    NotSimulatedError,
    invalid_parameter,
    missing_record,
    moodle_error,
    write_error,
)
from infra.simulators.moodle.params import Many, Scalar, Spec, Struct, many, many_optional, optional
from infra.simulators.moodle.state import CUSTOM_FIELDS, SITE_COURSE, Course, MoodleState

_OPTIONAL: dict[str, Spec] = {
    "idnumber": optional("raw"),
    "summary": optional("raw"),
    "summaryformat": optional("int"),
    "format": optional("plugin"),
    "showgrades": optional("int"),
    "newsitems": optional("int"),
    "startdate": optional("int"),
    "enddate": optional("int"),
    "numsections": optional("int"),
    "maxbytes": optional("int"),
    "showreports": optional("int"),
    "visible": optional("int"),
    "hiddensections": optional("int"),
    "groupmode": optional("int"),
    "groupmodeforce": optional("int"),
    "defaultgroupingid": optional("int"),
    "enablecompletion": optional("int"),
    "completionnotify": optional("int"),
    "lang": optional("safedir"),
    "forcetheme": optional("plugin"),
    "courseformatoptions": many_optional({"name": Scalar("alphanumext"), "value": Scalar("raw")}),
    "customfields": many_optional({"shortname": Scalar("alphanumext"), "value": Scalar("raw")}),
}
CREATE = Struct(
    {
        "courses": many(
            {
                "fullname": Scalar("text"),
                "shortname": Scalar("text"),
                "categoryid": Scalar("int"),
                **_OPTIONAL,
            }
        )
    }
)
UPDATE = Struct(
    {
        "courses": many(
            {
                "id": Scalar("int"),
                "fullname": optional("text"),
                "shortname": optional("text"),
                "categoryid": optional("int"),
                **_OPTIONAL,
            }
        )
    }
)
GET = Struct({"options": Struct({"ids": Many(Scalar("int"), default=None)}, default={"ids": None})})
BY_FIELD = Struct({"field": Scalar("alpha", ""), "value": Scalar("raw", "")})
DELETE = Struct({"courseids": Many(Scalar("int"))})

_WIDTHS = {"shortname": 255, "fullname": 254, "idnumber": 100}


def create_courses(state: MoodleState, params: dict[str, Any]) -> list[dict[str, Any]]:
    """`core_course_create_courses`: all or nothing."""
    return [_create(state, entry) for entry in params["courses"]]


def _create(state: MoodleState, entry: dict[str, Any]) -> dict[str, Any]:
    _check_category(state, entry["categoryid"])
    for name in ("fullname", "shortname"):
        if not entry[name].strip():
            raise moodle_error("errorinvalidparam", f'The param "{name}" is invalid.')
    fields = _columns(entry)
    _check(state, fields, own_id=None)
    now = state.now()
    course = Course(id=state.next_id("courses"), timecreated=now, timemodified=now, **fields)
    state.put(state.courses, course)
    return {"id": course.id, "shortname": course.shortname}


def _check_category(state: MoodleState, categoryid: int) -> None:
    if state.categories.get(categoryid) is None:
        text = (
            f"You cannot execute functions in the category context (category id:{categoryid}). "
            "The context error message was: Invalid parameter value detected"
        )
        raise moodle_error("errorcatcontextnotvalid", text)


def _columns(entry: dict[str, Any], old: Course | None = None) -> dict[str, Any]:
    if "courseformatoptions" in entry:
        reason = "courses[].courseformatoptions"
        raise NotSimulatedError(reason)
    fields = {
        name: value for name, value in entry.items() if name not in ("id", "categoryid", "customfields")
    }
    if "categoryid" in entry:
        fields["category"] = entry["categoryid"]
    # A custom field that the site does not have is dropped without a word, as recorded.
    wanted = {field["shortname"]: field["value"] for field in entry.get("customfields", [])}
    known = {name: value for name, value in wanted.items() if name in CUSTOM_FIELDS}
    if known:
        fields["customfields"] = (old.customfields if old else {}) | known
    return fields


def _check(state: MoodleState, fields: dict[str, Any], own_id: int | None) -> None:
    shortname, idnumber = fields.get("shortname"), fields.get("idnumber")
    if shortname and _taken(state, "shortname", shortname, own_id):
        text = f"Short name is already used for another course ({shortname})"
        raise moodle_error("shortnametaken", text)
    if idnumber and _taken(state, "idnumber", idnumber, own_id):
        text = f"ID number is already used for another course ({idnumber})"
        raise moodle_error("courseidnumbertaken", text)
    start, end = fields.get("startdate", 0), fields.get("enddate", 0)
    if end and not start:
        raise moodle_error(
            "nostartdatenoenddate", "A course end date can only be set if a start date is also set."
        )
    if end and end < start:
        raise moodle_error("enddatebeforestartdate", "The course end date must be after the start date.")
    for name, width in _WIDTHS.items():
        if len(fields.get(name, "")) > width:
            msg = f"ERROR:  value too long for type character varying({width})"
            raise write_error(msg)


def _taken(state: MoodleState, index: str, value: str, own_id: int | None) -> bool:
    return any(row.id != own_id for row in state.courses.find(index, value))


def update_courses(state: MoodleState, params: dict[str, Any]) -> dict[str, Any]:
    """`core_course_update_courses`: each entry on its own, failures as warnings."""
    warnings = []
    for entry in params["courses"]:
        try:
            with state.transaction():
                _update(state, entry)
        except MoodleError as error:
            warnings.append(
                {
                    "item": "course",
                    "itemid": entry["id"],
                    "warningcode": error.errorcode or error.exception,
                    "message": error.message,
                }
            )
    return {"warnings": warnings}


def _update(state: MoodleState, entry: dict[str, Any]) -> None:
    course = state.courses.get(entry["id"])
    if course is None:
        raise missing_record("course")
    if "categoryid" in entry:
        _check_category(state, entry["categoryid"])
    fields = _columns(entry, course)
    _check(state, fields, course.id)  # an end date is refused without the start date in the same entry
    state.put(state.courses, msgspec.structs.replace(course, **fields, timemodified=state.now()))


def delete_courses(state: MoodleState, params: dict[str, Any]) -> dict[str, Any]:
    """`core_course_delete_courses`: with all that belongs to them; unknown ids are warned of."""
    warnings = []
    for courseid in params["courseids"]:
        if state.courses.get(courseid) is None or courseid == SITE_COURSE:
            text = f"Unknown course ID {courseid}"
            warnings.append(
                {
                    "item": "course",
                    "itemid": courseid,
                    "warningcode": "unknowncourseidnumber",
                    "message": text,
                }
            )
            continue
        _delete(state, courseid)
    return {"warnings": warnings}


def _delete(state: MoodleState, courseid: int) -> None:
    for enrolment in state.enrolments.find("course", courseid):
        state.delete(state.enrolments, enrolment.userid, courseid)
        state.delete(state.role_assignments, enrolment.userid, courseid)
    for completion in state.completions.find("course", courseid):
        state.delete(state.completions, completion.userid, courseid)
    for grade in state.grades.find("course", courseid):
        state.delete(state.grades, grade.userid, courseid)
    for group in state.groups.find("course", courseid):
        state.delete(state.groups, group.id)
    state.delete(state.courses, courseid)


def get_courses(state: MoodleState, params: dict[str, Any]) -> list[dict[str, Any]]:
    """`core_course_get_courses`: the whole catalogue with the site course, or the known ones of some ids."""
    ids = params["options"]["ids"]
    if ids is None:
        rows = list(state.courses)
    else:
        rows = [row for courseid in dict.fromkeys(ids) if (row := state.courses.get(courseid))]
    return [listed(state, row) for row in rows]


def get_courses_by_field(state: MoodleState, params: dict[str, Any]) -> dict[str, Any]:
    """`core_course_get_courses_by_field`: one value a call; one unknown id in `ids` breaks the call."""
    field, value = params["field"], params["value"]
    rows = _selected(state, field, value)
    return {
        "courses": [detailed(state, row) for row in sorted(rows, key=lambda row: row.id)],
        "warnings": [],
    }


def _selected(state: MoodleState, field: str, value: str) -> list[Course]:
    if field == "":
        return list(state.courses)
    if field in ("shortname", "idnumber"):
        return state.courses.find(field, value)
    if field == "category":
        return state.courses.find("category", _number(value))
    if field == "id":
        row = state.courses.get(_number(value))
        return [row] if row else []
    if field == "ids":
        return _all_of(state, [_number(part) for part in value.split(",")])
    raise invalid_parameter("Invalid field name")


def _all_of(state: MoodleState, ids: list[int]) -> list[Course]:
    rows = [row for courseid in dict.fromkeys(ids) if (row := state.courses.get(courseid))]
    if len(rows) < len(set(ids)):
        raise MoodleError("Error", None, 'Attempt to assign property "contextvalidated" on null')
    return rows


def _number(text: str) -> int:
    return int(text) if text.strip().isdigit() else 0
