"""Compares the recorded rows of Moodle's database after a call with those of the simulated site."""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from infra.simulators.moodle import MoodleState
from infra.simulators.moodle.state import ROLES

# The course that the enrolments beyond `max_input_vars` went into.
VARS_COURSE = 13

Rows = list[dict[str, Any]]


def database_differences(
    state: MoodleState, number: int, exchange: dict[str, Any], created: int
) -> list[str]:
    """What differs between the recorded state and the simulated one; `created`: accounts made by the call."""
    found = _noted(state, exchange.get("note", ""), created, exchange["function"])
    recorded = exchange.get("db_state_after")
    if recorded is None:
        return found
    recorded = _comparable(recorded)
    ours = _ours(state, number, recorded)
    return found if ours == recorded else [*found, f"rows {ours}, {recorded} recorded"]


def _noted(state: MoodleState, note: str, created: int, function: str) -> list[str]:
    """What the person who recorded counted in the database and wrote into the note."""
    found = []
    accounts = re.search(r"(?:users in the DB afterwards:?|DB afterwards:) (\d+)", note)
    if accounts and function == "core_user_create_users" and created != int(accounts[1]):
        found.append(f"{created} accounts made, {accounts[1]} recorded")
    enrolments = re.search(r"enrolments in the DB afterwards: (\d+)", note)
    if enrolments and state.enrolments.count("course", VARS_COURSE) != int(enrolments[1]):
        found.append(f"not the {enrolments[1]} enrolments recorded")
    return found


def _comparable(rows: Rows) -> Rows:
    """Completions come in the physical order of the table, with the mark of Moodle's cron."""
    if not rows or "reaggregate" not in rows[0]:
        return rows
    kept = [{name: value for name, value in row.items() if name != "reaggregate"} for row in rows]
    return sorted(kept, key=lambda row: (row["course"], row["userid"]))


def _completions(state: MoodleState) -> Rows:
    rows = sorted(state.completions, key=lambda row: (row.courseid, row.userid))
    return [
        {"userid": row.userid, "course": row.courseid, "timecompleted": row.timecompleted} for row in rows
    ]


def _ours(state: MoodleState, number: int, recorded: Rows) -> Rows:
    if number in _SPECIAL:
        return _SPECIAL[number](state)
    if not recorded:
        return []
    keys = recorded[0].keys()
    if {"courseid", "userid", "status"} <= keys:
        return _enrolments(state)
    if "timecompleted" in keys:
        return _completions(state)
    if "category" in keys:
        return [_course(state, row) for row in recorded]
    return [_user(state, row) for row in recorded]


def _enrolments(state: MoodleState) -> Rows:
    return [
        {
            "courseid": row.courseid,
            "userid": row.userid,
            "status": row.status,
            "timestart": row.timestart,
            "timeend": row.timeend,
            "roles": ",".join(ROLES[role] for role in state.roles_of(row.userid, row.courseid)),
        }
        for row in state.enrolments
    ]


def _user(state: MoodleState, recorded: dict[str, Any]) -> dict[str, Any]:
    if "id" in recorded:
        user = state.users.get(recorded["id"])
    else:
        name, value = next(iter(recorded.items()))
        user = next((row for row in state.users if getattr(row, name) == value), None)
    if user is None:
        return {}
    ours = msgspec.to_builtins(user)
    # Passwords are not kept; the recording says that of one account each kind of answer.
    ours["password"] = "HASH" if user.auth == "manual" else "not cached"
    ours |= {"l1": len(user.firstname), "l2": len(user.lastname)}
    return {name: ours[name] for name in recorded}


def _course(state: MoodleState, recorded: dict[str, Any]) -> dict[str, Any]:
    course = state.courses.get(recorded["id"])
    return {name: getattr(course, name, None) for name in recorded}


def _categories(state: MoodleState) -> Rows:
    return [{"id": row.id, "name": row.name, "idnumber": row.idnumber} for row in state.categories]


def _newest_course(*fields: str) -> Callable[[MoodleState], Rows]:
    def newest(state: MoodleState) -> Rows:
        row = max(state.courses, key=lambda course: course.id)
        return [{name: getattr(row, name) for name in fields}]

    return newest


def _custom_fields(state: MoodleState) -> Rows:
    values = state.courses.rows[(9,)].customfields
    return [
        {"shortname": "elm_code", "instanceid": 9, "intvalue": None, "value": values["elm_code"]},
        {
            "shortname": "completion_opt_in",
            "instanceid": 9,
            "intvalue": int(values["completion_opt_in"]),
            "value": values["completion_opt_in"],
        },
    ]


def _accounts_named(*numbers: int) -> Callable[[MoodleState], Rows]:
    def named(state: MoodleState) -> Rows:
        names = [f"user{number}@example.test" for number in numbers]
        return [{"username": name} for name in names if state.users.find("username", name)]

    return named


def _status_of(*fields: str) -> Callable[[MoodleState], Rows]:
    return lambda state: [{name: getattr(row, name) for name in fields} for row in state.enrolments]


# Recordings whose rows were selected in their own way.
_SPECIAL: dict[int, Callable[[MoodleState], Rows]] = {
    3: _categories,
    4: _categories,
    21: _newest_course("shortname", "fullname"),
    22: _custom_fields,
    23: _newest_course("shortname"),
    67: _accounts_named(21, 23),
    68: _accounts_named(21, 22, 23),
    113: lambda state: [{"n_in_c3": state.enrolments.count("course", 4)}],
    114: lambda state: [{"userid": row.userid} for row in state.enrolments.find("course", 4)],
    204: _accounts_named(201, 203),
    231: _newest_course("fullname"),
    257: lambda state: [{"n": int(any(row.kind != "token_revoked" for row in state.faults.active))}],
    287: _status_of("userid", "status", "timestart", "timeend"),
    291: _status_of("userid", "status"),
    293: lambda state: [{"n": len(state.enrolments)}],
}
