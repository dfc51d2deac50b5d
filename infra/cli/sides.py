"""The two sides of a conflict: what the sources say, from the read model, and what Moodle has, read now.

Both hold personal data: for the eyes of whoever has to decide.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg.rows import dict_row
from sqlalchemy import Engine

from connectors.moodle.client import MoodleClient
from connectors.moodle.faults import Refused
from connectors.moodle.form import Params
from connectors.moodle.settings import MoodleSettings
from producers.held import Conflict, read_model
from schemas.moodle import CommandKind

_PEOPLE: Final = """
    SELECT source, person_id AS idnumber, username, email, first_name AS firstname, last_name AS lastname,
           deleted
    FROM read_model.people WHERE (tenant, person_id) = (%s, %s) ORDER BY source
"""
_COURSES: Final = """
    SELECT source, course_id AS idnumber, short_name AS shortname, full_name AS fullname,
           moodle_course_id AS id, deleted
    FROM read_model.courses WHERE (tenant, course_id) = (%s, %s) ORDER BY source, source_record_id
"""
_USER: Final = ("id", "idnumber", "username", "email", "firstname", "lastname", "suspended", "lastaccess")
_COURSE: Final = ("id", "idnumber", "shortname", "fullname", "categoryname", "visible")


@dataclass(frozen=True, slots=True)
class Side:
    """What one side says.

    Attributes:
        name: of the source, or "moodle".
        fields: by their names in Moodle.
    """

    name: str
    fields: Mapping[str, Any]


def of_sources(pool: Engine, conflict: Conflict) -> list[Side]:
    """Return what each source says of the person or course.

    Raises:
        RetryLater: the database is away, or there is no read model yet.
    """
    of_user = conflict.subject is CommandKind.USER
    query, entity = (_PEOPLE, conflict.person_id) if of_user else (_COURSES, conflict.course_id)
    with read_model(pool) as connection, connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(query, [conflict.tenant, entity]).fetchall()
    return [Side(row.pop("source"), {name: one for name, one in row.items() if one}) for row in rows]


def of_moodle(settings: MoodleSettings, conflict: Conflict, ours: Sequence[Side]) -> list[Side]:
    """Return the accounts or courses of Moodle that stand against each other.

    Args:
        settings: of the site.
        conflict: what is in conflict.
        ours: what the sources say; a course is looked for by their short names, too.

    Raises:
        RetryLater, Stop: Moodle does not answer.
    """
    return asyncio.run(_read(settings, conflict, ours))


async def _read(settings: MoodleSettings, conflict: Conflict, ours: Sequence[Side]) -> list[Side]:
    of_user = conflict.subject is CommandKind.USER
    calls = _of_user(conflict) if of_user else _of_course(conflict, ours)
    async with MoodleClient(settings) as moodle:
        answers = await moodle.multiplex(calls)
    found: dict[int, Side] = {}
    for answer in answers:
        if isinstance(answer, Refused):
            continue  # such as an id that Moodle does not know
        for row in answer if of_user else answer["courses"]:
            names = _USER if of_user else _COURSE
            found[row["id"]] = Side("moodle", {name: row[name] for name in names if row.get(name)})
    return [found[number] for number in sorted(found)]


def _of_user(conflict: Conflict) -> list[tuple[str, Params]]:
    ids = [str(one) for one in (conflict.moodle_user_id, conflict.other_moodle_user_id) if one]
    wanted = {"idnumber": [conflict.person_id or ""], "id": ids}
    return [
        ("core_user_get_users_by_field", {"field": field, "values": values})
        for field, values in wanted.items()
        if values
    ]


def _of_course(conflict: Conflict, ours: Sequence[Side]) -> list[tuple[str, Params]]:
    values = [("idnumber", conflict.course_id or "")]
    if conflict.moodle_course_id is not None:
        values.append(("id", str(conflict.moodle_course_id)))
    for side in ours:
        values += [(field, str(side.fields[field])) for field in ("shortname", "id") if field in side.fields]
    return [
        ("core_course_get_courses_by_field", {"field": field, "value": value})
        for field, value in dict.fromkeys(values)
    ]
