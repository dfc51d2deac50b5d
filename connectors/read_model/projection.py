"""How one table of the read model is kept: its columns, what tells the newest row of a key, its indexes.

Rows come in bulk, by COPY into a temporary table of the same columns and from there into the table itself.
"""

import re
from collections.abc import Callable
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Integer,
    MetaData,
    Numeric,
    SmallInteger,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import TypeEngine

Values = tuple[Any, ...]
"""The values of a row in the order of its projection's columns."""
Pick = Callable[[Values], Values]

metadata = MetaData()

_SQL: Final[dict[type, str]] = {
    Text: "text",
    BigInteger: "int8",
    Integer: "int4",
    SmallInteger: "int2",
    Boolean: "bool",
    Date: "date",
    DateTime: "timestamptz",
    Numeric: "numeric",
    JSONB: "jsonb",
}


class Projection:
    """How one table is kept.

    Of several rows of one key that come one after the other, either the newest counts, as told by ``order``;
    or the last one, which then keeps the time ``since`` when the columns of ``condition`` began to be so.

    Args:
        table: with its primary key, unless rows are only ever added.
        order: columns by which the newest of several rows of one key is told; a later message wins a draw.
        condition: columns of which ``since`` tells how long they have been so; not together with ``order``.
        indexes: further indexes, as SQL that follows the name of the table.

    Attributes:
        names: of all columns.
        key: names of those of the primary key.
        key_of: takes a row's values to those of its key.
    """

    def __init__(
        self,
        table: Table,
        *,
        order: tuple[str, ...] = (),
        condition: tuple[str, ...] = (),
        indexes: tuple[str, ...] = (),
    ) -> None:
        self.table, self.indexes = table, indexes
        self.names = tuple(column.name for column in table.columns)
        self.key = tuple(column.name for column in table.primary_key.columns)
        self.key_of = self._picker(self.key)
        self._order, self._order_of = order, self._picker(order)
        self._condition, self._condition_of = condition, self._picker(condition)
        self._since = self.names.index("since") if condition else 0

    def _picker(self, names: tuple[str, ...]) -> Pick:
        places = [self.names.index(name) for name in names]
        if len(places) > 1:
            return itemgetter(*places)
        return lambda values: tuple(values[place] for place in places)

    @property
    def name(self) -> str:
        """The name of the table."""
        return self.table.name

    @property
    def types(self) -> tuple[str, ...]:
        """The types of the columns as SQL."""
        return tuple(_sql(column.type) for column in self.table.columns)

    @property
    def copied_types(self) -> tuple[str, ...]:
        """The types in which values are sent: JSON travels as text."""
        return tuple("text" if kind == "jsonb" else kind for kind in self.types)

    @property
    def indexed(self) -> tuple[int, ...]:
        """The places of the columns that an index is on, whose values must not be too long for it."""
        named = {*self.key, *re.findall(r"\w+", " ".join(self.indexes))}
        return tuple(at for at, name in enumerate(self.names) if name in named)

    @property
    def has_since(self) -> bool:
        """Whether rows keep the time when their condition began."""
        return bool(self._condition)

    def merged(self, known: Values, later: Values) -> tuple[Values, bool]:
        """Return what stands after two rows of one key, and whether it has nothing to do with former rows."""
        if not self._condition:
            return (later if self._order_of(known) <= self._order_of(later) else known), False
        if self._condition_of(known) != self._condition_of(later):
            return later, True
        since = self._since
        return (*later[:since], known[since], *later[since + 1 :]), False

    def staging(self) -> str:
        """Return the statement that makes the temporary table into which rows are copied."""
        columns = ", ".join(
            f"{name} {kind}" for name, kind in zip(self.names, self.copied_types, strict=True)
        )
        return f"CREATE TEMPORARY TABLE IF NOT EXISTS new_{self.name} ({columns}) ON COMMIT DELETE ROWS"

    def copy(self, into: str) -> str:
        """Return the statement that copies rows into the table ``into`` of the same columns."""
        return f"COPY {into} ({', '.join(self.names)}) FROM STDIN (FORMAT BINARY)"

    def upsert(self, schema: str) -> str:
        """Return the statement that takes the rows of the temporary table over into that of ``schema``."""
        fields = ", ".join(
            f"{name}::jsonb" if kind == "jsonb" else name
            for name, kind in zip(self.names, self.types, strict=True)
        )
        changes = ", ".join(f"{name} = {self._value(name)}" for name in self.names if name not in self.key)
        old, new = self._both(self._order)
        newest = f" WHERE ({old}) <= ({new})" if self._order else ""
        return (
            f"INSERT INTO {schema}.{self.name} AS o ({', '.join(self.names)})"  # noqa: S608 - names of ours
            f" SELECT {fields} FROM pg_temp.new_{self.name}"
            f" ON CONFLICT ({', '.join(self.key)}) DO UPDATE SET {changes}{newest}"
        )

    def _value(self, name: str) -> str:
        if name != "since" or not self._condition:
            return f"excluded.{name}"
        old, new = self._both(self._condition)
        return f"CASE WHEN ({old}) IS NOT DISTINCT FROM ({new}) THEN o.since ELSE excluded.since END"

    def _both(self, names: tuple[str, ...]) -> tuple[str, str]:
        return ", ".join(f"o.{name}" for name in names), ", ".join(f"excluded.{name}" for name in names)

    def deletion(self, schema: str) -> str:
        """Return the statement that deletes rows, by an array of texts for each column of the key."""
        arrays = ", ".join("%b::text[]" for _ in self.key)
        same = " AND ".join(f"o.{name} = g.{name}" for name in self.key)
        return (
            f"DELETE FROM {schema}.{self.name} AS o"  # noqa: S608 - names of ours
            f" USING unnest({arrays}) AS g ({', '.join(self.key)}) WHERE {same}"
        )

    def sinces(self, schema: str, before: str) -> str:
        """Return the statement that takes ``since`` over from the rows of another schema.

        Only of rows made of the same message: a compacted topic has forgotten those before it.
        """
        same = " AND ".join(f"o.{name} = n.{name}" for name in (*self.key, "place"))
        return (
            f"UPDATE {schema}.{self.name} AS n SET since = o.since"  # noqa: S608 - names of ours
            f" FROM {before}.{self.name} AS o WHERE {same} AND o.since < n.since"
        )


def text(*names: str) -> list[Column[Any]]:
    """Return columns of text."""
    return [Column(name, Text) for name in names]


def time(*names: str) -> list[Column[Any]]:
    """Return columns of times."""
    return [Column(name, DateTime(timezone=True)) for name in names]


def flag(*names: str) -> list[Column[Any]]:
    """Return columns that are true or false."""
    return [Column(name, Boolean) for name in names]


def number(*names: str) -> list[Column[Any]]:
    """Return columns of whole numbers."""
    return [Column(name, BigInteger) for name in names]


def _sql(kind: TypeEngine[Any]) -> str:
    return f"{_sql(kind.item_type)}[]" if isinstance(kind, ARRAY) else _SQL[type(kind)]


def table(name: str, key: tuple[str, ...], *columns: Column[Any]) -> Table:
    """Return a table with a key of texts, whose rows tell the message they were made of."""
    keys = [Column(one, Text, primary_key=True) for one in key]
    place = [] if "place" in key else [Column("place", Text, nullable=False)]
    return Table(name, metadata, *keys, *columns, *place)
