"""The tables of the read model. Each generation of it has them in a schema of its own.

Every row also tells the message it was made of: ``place`` is ``topic/partition/offset``.
"""

from collections.abc import Callable
from operator import itemgetter
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Date, DateTime, Integer, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()

_SQL: dict[type, str] = {
    Text: "text",
    BigInteger: "int8",
    Integer: "int4",
    Boolean: "bool",
    Date: "date",
    DateTime: "timestamptz",
    JSONB: "jsonb",
}


def _text(*names: str) -> list[Column[Any]]:
    return [Column(name, Text) for name in names]


def _time(*names: str) -> list[Column[Any]]:
    return [Column(name, DateTime(timezone=True)) for name in names]


def _version() -> list[Column[Any]]:
    return [*_time("version_time"), Column("version_sequence", BigInteger), *_time("recorded_at")]


class Projection:
    """How one table is kept.

    Args:
        table: with its primary key.
        order: columns by which the newest of several rows of one key is told; a later message wins a draw.

    Attributes:
        names: of all columns.
        key_of: takes a row's values to those of its key, as a tuple.
        order_of: takes them to those of the order.
    """

    def __init__(self, table: Table, order: tuple[str, ...]) -> None:
        self.table, self.order = table, order
        self.names = tuple(column.name for column in table.columns)
        self.key = tuple(column.name for column in table.primary_key.columns)
        self.key_of = self._picker(self.key)
        self.order_of = self._picker(order)

    def _picker(self, names: tuple[str, ...]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
        places = [self.names.index(name) for name in names]
        if len(places) == 1:
            (place,) = places
            return lambda values: (values[place],)
        return itemgetter(*places)

    def statement(self, schema: str) -> str:
        """Return the upsert of rows given as one array per column, in the order of `names`."""
        types = [_SQL[type(column.type)] for column in self.table.columns]
        # Arrays of JSON travel as texts.
        arrays = ", ".join(f"%b::{'text' if kind == 'jsonb' else kind}[]" for kind in types)
        fields = ", ".join(
            f"n.{name}::jsonb" if kind == "jsonb" else f"n.{name}"
            for name, kind in zip(self.names, types, strict=True)
        )
        names, key = ", ".join(self.names), ", ".join(self.key)
        others = ", ".join(f"{name} = excluded.{name}" for name in self.names if name not in self.key)
        old = ", ".join(f"o.{name}" for name in self.order)
        new = ", ".join(f"excluded.{name}" for name in self.order)
        return (
            f"INSERT INTO {schema}.{self.table.name} AS o ({names}) SELECT {fields}"  # noqa: S608 - names of ours
            f" FROM unnest({arrays}) AS n({names})"
            f" ON CONFLICT ({key}) DO UPDATE SET {others} WHERE ({old}) <= ({new})"
        )


def _table(name: str, key: tuple[str, ...], *columns: Column[Any]) -> Table:
    keys = [Column(one, Text, primary_key=True) for one in key]
    return Table(name, metadata, *keys, *columns, Column("place", Text, nullable=False))


PEOPLE = Projection(
    _table(
        "people",
        ("tenant", "person_id", "source"),
        Column("deleted", Boolean),
        *_text("source_record_id", "source_status", "username", "email", "first_name", "last_name"),
        *_version(),
    ),
    ("version_time", "version_sequence"),
)
COURSES = Projection(
    _table(
        "courses",
        ("tenant", "course_id", "source", "source_record_id"),
        Column("deleted", Boolean),
        *_text("source_status", "short_name", "full_name", "term_id", "program_id"),
        *_time("starts_at", "ends_at"),
        Column("moodle_course_id", BigInteger),
        *_version(),
    ),
    ("version_time", "version_sequence"),
)
ENROLMENTS = Projection(
    _table(
        "enrolments",
        ("tenant", "person_id", "course_id"),
        Column("deleted", Boolean),
        *_text("enrolment_id", "source", "source_record_id", "status", "source_status", "role"),
        *_time("starts_at", "ends_at"),
        *_version(),
    ),
    ("version_time", "version_sequence"),
)
COMMANDS = Projection(
    _table(
        "commands",
        ("command_id",),
        *_text("tenant", "target", "kind", "person_id", "course_id"),
        Column("generation", BigInteger),
        *_time("issued_at"),
        Column("wish", JSONB),
    ),
    ("issued_at",),
)
RESULTS = Projection(
    _table(
        "results",
        ("command_id",),
        *_text("tenant", "target", "kind", "person_id", "course_id"),
        Column("generation", BigInteger),
        *_text("outcome", "action", "reason", "status"),
        *[
            Column(name, BigInteger)
            for name in ("moodle_user_id", "moodle_course_id", "other_moodle_user_id")
        ],
        *_time("completed_at"),
    ),
    ("completed_at",),
)
STANDING = Projection(
    _table(
        "standing",
        ("tenant", "target", "kind", "person_id", "course_id"),
        Column("generation", BigInteger),
        *_text("outcome", "action", "reason", "status"),
        *[
            Column(name, BigInteger)
            for name in ("moodle_user_id", "moodle_course_id", "other_moodle_user_id")
        ],
        *_time("completed_at"),
    ),
    ("generation",),
)
"""The newest result about each account, course and enrolment; person or course is empty where it has none."""
OBSERVED_COURSES = Projection(
    _table(
        "observed_courses",
        ("tenant", "target", "course_id"),
        Column("moodle_course_id", BigInteger),
        *_text("short_name"),
        *[Column(name, Boolean) for name in ("visible", "completion_opt_in")],
        *_time("observed_at"),
    ),
    ("observed_at",),
)
COMPLETIONS = Projection(
    _table(
        "completions",
        ("tenant", "person_id", "course_id"),
        *_text("target"),
        Column("completed_on", Date),
        *_time("completed_at", "observed_at"),
    ),
    ("observed_at",),
)
CALLBACKS = Projection(
    _table(
        "callbacks",
        ("callback_id",),
        *_text("tenant", "enrolment_id", "person_id", "course_id"),
        Column("completed_on", Date),
        *_time("issued_at"),
    ),
    ("issued_at",),
)
CALLBACK_RESULTS = Projection(
    _table(
        "callback_results",
        ("callback_id",),
        *_text("tenant", "enrolment_id", "person_id", "course_id", "outcome", "reason"),
        Column("http_status", Integer),
        *_time("completed_at"),
    ),
    ("completed_at",),
)
DEAD_LETTERS = Projection(
    Table(
        "dead_letters",
        metadata,
        Column("place", Text, primary_key=True),
        *_text("stage", "topic"),
        Column("partition", Integer),
        Column("message_offset", BigInteger),
        *_text("message_key", "reason", "error"),
        *_time("failed_at"),
    ),
    ("failed_at",),
)
offsets = Table(
    "offsets",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("next_offset", BigInteger, nullable=False),
)
