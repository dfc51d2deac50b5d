"""Custom reports of the report builder: the one bulk read of enrolments and completions."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from infra.simulators.moodle.errors import NotSimulatedError, missing_record
from infra.simulators.moodle.params import Scalar, Struct
from infra.simulators.moodle.site import picture
from infra.simulators.moodle.state import (
    ADMIN,
    SUSPENDED,
    Completion,
    Course,
    Enrolment,
    MoodleState,
    User,
)
from infra.simulators.moodle.text import date_text, formatted

LIST = Struct({"page": Scalar("int", 0), "perpage": Scalar("int", 10)})
RETRIEVE = Struct({"reportid": Scalar("int"), "page": Scalar("int", 0), "perpage": Scalar("int", 10)})

_DAY = 86400
_MADE = 1795237802


@dataclass(frozen=True)
class Row:
    """One participant of one course."""

    user: User
    course: Course
    enrolment: Enrolment
    completion: Completion | None


Cell = Callable[[MoodleState, Row], str]


@dataclass(frozen=True)
class Report:
    """A report as an administrator made it once: columns and conditions; sorted by the two id numbers.

    Without `wanted` it is listed, but cannot be read here.
    """

    name: str
    columns: tuple[str, ...]
    conditions: dict[str, int] | None
    wanted: Callable[[int, Row], bool] | None


def _status(state: MoodleState, row: Row) -> str:
    if row.enrolment.status == SUSPENDED:
        return "Suspended"
    return "Active" if row.enrolment.active(state.now()) else "Not current"


def _completed(_state: MoodleState, row: Row) -> str:
    if row.completion is None:
        return ""
    return "Yes" if row.completion.timecompleted is not None else "No"


def _time_completed(state: MoodleState, row: Row) -> str:
    return date_text(row.completion.timecompleted if row.completion else None, state.settings.timezone)


# Heading of a column -> its text, in English as the recorded site gives it.
COLUMNS: dict[str, Cell] = {
    "ID number": lambda _, row: row.user.idnumber,
    "Email address": lambda _, row: row.user.email,
    "Course ID number": lambda _, row: row.course.idnumber,
    "Course short name": lambda _, row: formatted(row.course.shortname),
    "Status": _status,
    "Time created": lambda state, row: date_text(row.enrolment.timecreated, state.settings.timezone),
    "Completed": _completed,
    "Time completed": _time_completed,
}


def _has_idnumber(_now: int, row: Row) -> bool:
    return row.user.idnumber != ""


def _completed_within(seconds: int, now: int, row: Row) -> bool:
    completed = row.completion.timecompleted if row.completion else None
    return completed is not None and completed >= now - seconds


ALL_PARTICIPANTS, _WIDE, COMPLETIONS_24H = 4, 5, 6
REPORTS: dict[int, Report] = {
    ALL_PARTICIPANTS: Report(
        "Hub all participants",
        tuple(name for name in COLUMNS if name != "Completed"),
        {"user:idnumber_operator": 8},
        _has_idnumber,
    ),
    _WIDE: Report("Hub all participants wide", (), None, None),
    COMPLETIONS_24H: Report(
        "Hub completions last 24h",
        ("ID number", "Course ID number", "Completed", "Time completed"),
        {
            "completion:timecompleted_operator": 4,
            "completion:timecompleted_value": 24,
            "completion:timecompleted_unit": 0,
        },
        partial(_completed_within, _DAY),
    ),
}


def list_reports(state: MoodleState, params: dict[str, Any]) -> dict[str, Any]:
    """`core_reportbuilder_list_reports`, pages counted from 0."""
    start = params["page"] * params["perpage"]
    ids = sorted(REPORTS)[start : start + params["perpage"]]
    return {"reports": [_details(state, reportid) for reportid in ids], "warnings": []}


def retrieve_report(state: MoodleState, params: dict[str, Any]) -> dict[str, Any]:
    """`core_reportbuilder_retrieve_report`: texts in the reader's zone, pages counted from 0."""
    report = REPORTS.get(params["reportid"])
    if report is None:
        raise missing_record("reportbuilder_report")
    if report.wanted is None:
        reason = f"report {report.name}"
        raise NotSimulatedError(reason)
    now = state.now()
    rows = [row for row in participants(state) if report.wanted(now, row)]
    start = params["page"] * params["perpage"]
    page = rows[start : start + params["perpage"]]
    cells = [COLUMNS[name] for name in report.columns]
    data = {
        "headers": list(report.columns),
        "rows": [{"columns": [cell(state, row) for cell in cells]} for row in page],
        "totalrowcount": len(rows),
    }
    return {"details": _details(state, params["reportid"]), "data": data, "warnings": []}


def participants(state: MoodleState) -> list[Row]:
    """Every manual enrolment, sorted by the id numbers of user and course; made anew only after a change."""
    tables = (state.users, state.courses, state.enrolments, state.completions)
    return state.cached("participants", [table.version for table in tables], lambda: _sorted_rows(state))


def _sorted_rows(state: MoodleState) -> list[Row]:
    rows = [
        Row(
            state.users.rows[(enrolment.userid,)],
            state.courses.rows[(enrolment.courseid,)],
            enrolment,
            state.completions.get(enrolment.userid, enrolment.courseid),
        )
        for enrolment in state.enrolments
    ]
    rows.sort(key=lambda row: (row.user.idnumber, row.course.idnumber, row.user.id, row.course.id))
    return rows


def _details(state: MoodleState, reportid: int) -> dict[str, Any]:
    report = REPORTS[reportid]
    conditions = report.conditions and json.dumps(report.conditions, separators=(",", ":"))
    return {
        "name": report.name,
        "source": "core_course\\reportbuilder\\datasource\\participants",
        "type": 0,
        "uniquerows": False,
        "conditiondata": conditions,
        "settingsdata": None,
        "contextid": 1,
        "component": "",
        "area": "",
        "itemid": 0,
        "usercreated": ADMIN,
        "id": reportid,
        "timecreated": _MADE,
        "timemodified": _MADE,
        "usermodified": ADMIN,
        "sourcename": "Course participants",
        "modifiedby": _author(state),
    }


def _author(state: MoodleState) -> dict[str, Any]:
    admin = state.users.rows[(ADMIN,)]
    return {
        "id": admin.id,
        "email": admin.email,
        "idnumber": "",
        "phone1": "",
        "phone2": "",
        "department": "",
        "institution": "",
        "fullname": f"{admin.firstname} {admin.lastname}",
        "identity": admin.email,
        "profileurl": f"{state.settings.url}/user/profile.php?id={admin.id}",
        "profileimageurl": picture(state, 1),
        "profileimageurlsmall": picture(state, 2),
    }
