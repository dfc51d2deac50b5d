"""The snapshot of enrolments: what is wanted of each, what Moodle has, and why that is not the same.

It is told by rows of six tables. People look for the few that are not as they should be among a million, for
which there must be indexes, so it is a table too: filled when a generation is built, and afterwards kept with
each batch, of the enrolments that the batch may have changed.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final

import psycopg
from sqlalchemy import BigInteger, Boolean, Column, DateTime, Table, Text

from connectors.read_model.projection import Projection, Values, metadata
from connectors.read_model.rows import Row
from connectors.read_model.state_tables import ACCOUNTS, MOODLE_COURSES, PLACEMENTS, WISHES
from connectors.read_model.tables import OBSERVED_ENROLMENTS, STANDING

_KEY: Final = ("tenant", "person_id", "course_id")
SNAPSHOT: Final = Projection(
    Table(
        "enrolment_snapshot",
        metadata,
        *(Column(name, Text, primary_key=True) for name in _KEY),
        Column("wanted", Text),
        Column("actual", Text),
        Column("as_wanted", Boolean),
        Column("moodle_user_id", BigInteger),
        Column("moodle_course_id", BigInteger),
        Column("last_access", DateTime(timezone=True)),
        Column("synced_at", DateTime(timezone=True)),
        *(Column(name, Text) for name in ("reason", "role", "source", "enrolment_id")),
    ),
    indexes=(
        "(tenant, course_id, person_id)",
        "(tenant, wanted, person_id, course_id)",
        "(tenant, actual, person_id, course_id)",
        "(tenant, wanted, actual, person_id, course_id)",
        "(tenant, as_wanted, person_id, course_id)",
        "(tenant, reason, person_id, course_id) WHERE reason IS NOT NULL",
        "(tenant, person_id, course_id) WHERE reason IS NOT NULL",
    ),
)
"""Each filter has an index in the order of the list, for rare values need not be spread evenly over it."""

# What shall be gone and was never there is as wanted.
_QUERY: Final = """
    SELECT *, coalesce(wanted, 'REMOVED') = coalesce(actual, 'REMOVED') AS as_wanted
    FROM (
        SELECT w.tenant, w.person_id, w.course_id,
            CASE WHEN w.waits OR p.wanted IS NULL THEN w.wanted
                WHEN c.suspend AND p.wanted = 'ACTIVE' THEN 'SUSPENDED' ELSE p.wanted END AS wanted,
            CASE WHEN seen.observed_at IS NULL OR seen.observed_at <= told.completed_at THEN p.actual
                ELSE seen.status END AS actual,
            coalesce(p.moodle_user_id, a.moodle_user_id) AS moodle_user_id,
            coalesce(p.moodle_course_id, c.moodle_course_id) AS moodle_course_id,
            seen.last_access, greatest(seen.observed_at, told.completed_at) AS synced_at,
            coalesce(a.blocked, c.blocked, p.refused) AS reason, w.role, w.source, w.enrolment_id
        FROM {wishes} w
        LEFT JOIN {schema}.accounts a ON (a.tenant, a.person_id) = (w.tenant, w.person_id)
        LEFT JOIN {schema}.moodle_courses c ON (c.tenant, c.course_id) = (w.tenant, w.course_id)
        LEFT JOIN {schema}.placements p
            ON (p.tenant, p.person_id, p.course_id) = (w.tenant, w.person_id, w.course_id)
        LEFT JOIN LATERAL (
            SELECT s.completed_at FROM {schema}.standing s
            WHERE (s.tenant, s.kind, s.person_id, s.course_id)
                    = (w.tenant, 'ENROLMENT', w.person_id, w.course_id)
                AND s.outcome IN ('APPLIED', 'UNCHANGED')
            ORDER BY s.completed_at DESC LIMIT 1
        ) AS told ON true
        LEFT JOIN LATERAL (
            SELECT o.status, o.last_access, o.observed_at FROM {schema}.observed_enrolments o
            WHERE (o.tenant, o.person_id, o.course_id) = (w.tenant, w.person_id, w.course_id)
            ORDER BY o.observed_at DESC LIMIT 1
        ) AS seen ON true
    ) AS enrolment
"""
_TOUCHED: Final = """(
    SELECT w.* FROM {schema}.wishes w
    JOIN unnest(%b::text[], %b::text[], %b::text[]) AS e (tenant, person_id, course_id)
        USING (tenant, person_id, course_id)
    UNION
    SELECT w.* FROM {schema}.wishes w
    JOIN unnest(%b::text[], %b::text[]) AS p (tenant, person_id) USING (tenant, person_id)
    UNION
    SELECT w.* FROM {schema}.wishes w
    JOIN unnest(%b::text[], %b::text[]) AS c (tenant, course_id) USING (tenant, course_id)
)"""
_NAMES: Final = ", ".join(SNAPSHOT.names)
_OTHERS: Final = [name for name in SNAPSHOT.names if name not in _KEY]


def query(schema: str) -> str:
    """Return the query of the whole snapshot from the tables it is made of."""
    return _query(schema, f"{schema}.wishes")


def filling(schema: str) -> str:
    """Return the statement that fills the empty snapshot of ``schema``."""
    return f"INSERT INTO {schema}.{SNAPSHOT.name} ({_NAMES}) {query(schema)}"


def keep(driver: psycopg.Connection, schema: str, written: Mapping[Projection, Sequence[Row]]) -> None:
    """Bring the snapshot up to date after the rows ``written`` have come into their tables."""
    gone = {row.values for row in written.get(WISHES, ()) if row.is_gone}
    if gone:
        driver.execute(SNAPSHOT.deletion(schema), _columns(gone, 3))
    enrolments = {
        key for projection, key_of in _ENROLMENT.items() for key in _keys(written, projection, key_of)
    }
    people = {row.values[:2] for row in written.get(ACCOUNTS, ())}
    courses = {row.values[:2] for row in written.get(MOODLE_COURSES, ())}
    if enrolments or people or courses:
        touched = [*_columns(enrolments, 3), *_columns(people, 2), *_columns(courses, 2)]
        driver.execute(_renewal(schema), touched)


def _keys(
    written: Mapping[Projection, Sequence[Row]], projection: Projection, key_of: Callable[[Values], Values]
) -> Iterator[Values]:
    return (key_of(row.values) for row in written.get(projection, ()))


def _columns(keys: Collection[Values], width: int) -> list[list[str]]:
    return [[key[place] for key in keys] for place in range(width)]


def _query(schema: str, wishes: str) -> str:
    return f"SELECT {_NAMES} FROM ({_QUERY.format(schema=schema, wishes=wishes)}) AS told"  # noqa: S608 - names of ours


def _renewal(schema: str) -> str:
    changes = ", ".join(f"{name} = excluded.{name}" for name in _OTHERS)
    old, new = (", ".join(f"{row}.{name}" for name in _OTHERS) for row in ("o", "excluded"))
    return (
        f"INSERT INTO {schema}.{SNAPSHOT.name} AS o ({_NAMES})"
        f" {_query(schema, _TOUCHED.format(schema=schema))}"
        f" ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET {changes} WHERE ({old}) IS DISTINCT FROM ({new})"
    )


_ENROLMENT: Final[Mapping[Projection, Callable[[Values], Values]]] = {
    WISHES: lambda values: values[:3],
    PLACEMENTS: lambda values: values[:3],
    OBSERVED_ENROLMENTS: lambda values: values[:3],
    STANDING: lambda values: (values[0], values[2], values[3]),
}
"""Tables that tell of one enrolment in a row, and how their key tells which."""
