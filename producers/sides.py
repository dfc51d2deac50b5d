"""The sides of a conflict as the hub knows them: the sources, what Moodle is known to have, the ways out.

What the sources say holds personal data: for the eyes of whoever has to decide.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from psycopg.rows import dict_row
from sqlalchemy import Engine

from producers.held import Conflict, read_model
from schemas.directives import Resolution
from schemas.moodle import CommandKind
from schemas.reasons import Reason

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
_SEEN: Final = {
    CommandKind.USER: """
        SELECT moodle_user_id AS moodle_id, person_id AS owner, target, suspended, last_access, observed_at
        FROM read_model.observed_users WHERE tenant = %(tenant)s AND moodle_user_id = ANY(%(ids)s)
    """,
    CommandKind.COURSE: """
        SELECT moodle_course_id AS moodle_id, course_id AS owner, target, NOT visible AS suspended,
            NULL::timestamptz AS last_access, observed_at
        FROM read_model.observed_courses WHERE tenant = %(tenant)s AND moodle_course_id = ANY(%(ids)s)
    """,
}
_IGNORE: Final = (
    "Nothing is changed, in Moodle or here. The conflict leaves the list of open ones until it ends and"
    " another begins."
)
_COURSE: Final = (
    "The course of Moodle that you name becomes the course's own and is given its id. It must carry"
    " no id, or this one."
)
_ACCOUNT: Final = (
    "becomes the person's own and is given the person's id. It must carry no id, or this one; an account of"
    " somebody else is refused."
)
_EFFECTS: Final[Mapping[tuple[Reason, Resolution], str]] = {
    (Reason.EMAIL_MISMATCH, Resolution.UPDATE): "The source wins: the account is given the source's address.",
    (Reason.EMAIL_MISMATCH, Resolution.KEEP): "Moodle wins: the account is used, and keeps its address.",
    (Reason.EMAIL_MISMATCH, Resolution.TAKE_OVER): f"Another account, the one you name, {_ACCOUNT}",
    (Reason.EMAIL_TAKEN, Resolution.TAKE_OVER): f"The account that has the address {_ACCOUNT}",
    (Reason.EMAIL_TAKEN, Resolution.KEEP): "The person's own account is used, and keeps its address.",
    (Reason.USERNAME_TAKEN, Resolution.TAKE_OVER): f"The account that has the username {_ACCOUNT}",
    (
        Reason.IDNUMBER_AMBIGUOUS,
        Resolution.TAKE_OVER,
    ): ("The account that you name is used. The others stay as they are in Moodle, and are left alone."),
    (Reason.COURSE_AMBIGUOUS, Resolution.TAKE_OVER): _COURSE,
    (Reason.SHORTNAME_TAKEN, Resolution.TAKE_OVER): _COURSE,
    (Reason.COURSE_ID_MISMATCH, Resolution.TAKE_OVER): _COURSE,
}


@dataclass(frozen=True, slots=True)
class Side:
    """What one side says.

    Attributes:
        name: of the source, or "moodle".
        fields: by their names in Moodle.
    """

    name: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Known:
    """An account or a course of Moodle that a conflict names, as the hub has seen it.

    Attributes:
        moodle_id: in Moodle.
        role: ``found``: under the id; ``other``: it has what is wanted.
        owner: the person or course whose id it carries; none: the hub has not seen it, or it carries none.
        target: the Moodle site.
        suspended: of a course: it is hidden.
        last_access: of an account.
        observed_at: when it was seen.
    """

    moodle_id: int
    role: str
    owner: str | None = None
    target: str | None = None
    suspended: bool | None = None
    last_access: datetime | None = None
    observed_at: datetime | None = None


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


def known(pool: Engine, conflict: Conflict) -> list[Known]:
    """Return what the hub has seen of the accounts or courses that ``conflict`` names.

    Raises:
        RetryLater: the database is away, or there is no read model yet.
    """
    kind = CommandKind.USER if conflict.subject is CommandKind.USER else CommandKind.COURSE
    found = conflict.moodle_user_id if kind is CommandKind.USER else conflict.moodle_course_id
    named = [(found, "found"), (conflict.other_moodle_user_id, "other")]
    roles = {number: role for number, role in named if number is not None}
    with read_model(pool) as connection, connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_SEEN[kind], {"tenant": conflict.tenant, "ids": list(roles)}).fetchall()
    seen = {row["moodle_id"]: row for row in rows}
    return [
        Known(**{"moodle_id": number, "role": role, **seen.get(number, {})}) for number, role in roles.items()
    ]


def effect(conflict: Conflict, resolution: Resolution) -> str:
    """Return what ``resolution`` does about ``conflict``, in words."""
    if resolution is Resolution.IGNORE:
        return _IGNORE
    return _EFFECTS[conflict.reason, resolution]


def needs_id(conflict: Conflict, resolution: Resolution) -> bool:
    """Tell whether ``resolution`` needs to be told which account or course is meant."""
    return resolution is Resolution.TAKE_OVER and conflict.other_moodle_user_id is None
