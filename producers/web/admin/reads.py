"""Reading pages of lists from the database."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

import psycopg
from psycopg.rows import dict_row
from sqlalchemy import Engine

from infra.db.connect import database_trouble, raw
from infra.errors import RetryLater
from producers.web.admin import sql
from producers.web.admin.listing import Listing, Position, position_of
from producers.web.admin.resource import Resource
from producers.web.admin.sql import Statement

T = TypeVar("T")
Row = Mapping[str, Any]
Cursor = psycopg.Cursor[dict[str, Any]]

# What no index serves shall not hold the database up; compiling would cost more than such queries.
_FRAME: Final = "SET LOCAL statement_timeout = '20s'; SET LOCAL jit = off"
# Of a view that joins tables, some rows by their key are looked up one by one; PostgreSQL would rather merge
# the tables, for which it reads the others from their beginning: 0.7 s instead of 0.01 s amid 1,000,000 rows.
_BY_KEY: Final = f"{_FRAME}; SET LOCAL enable_mergejoin = off"
_NO_MODEL_SECONDS: Final = 30.0


class Page(NamedTuple):
    """Some rows of a list."""

    rows: Sequence[Row]
    last: Position | None
    """The place of the last row, if others follow."""


class Wanted(NamedTuple):
    """A page that is asked for."""

    resource: Resource
    listing: Listing
    limit: int
    """Most rows."""


@dataclass(frozen=True, slots=True)
class Reads:
    """Reads lists. Blocks: call it in a thread.

    Attributes:
        engine: of the hub's database.
    """

    engine: Engine

    def page(self, wanted: Wanted) -> Page:
        """Return a page.

        Raises:
            RetryLater: the database is away or too slow, or there is no read model yet.
        """
        return self.pages([wanted])[0]

    def pages(self, wanted: Sequence[Wanted]) -> list[Page]:
        """Return a page of each of several lists, all as of one moment; raises as `page`."""
        frame = _BY_KEY if all(map(_is_by_key, wanted)) else _FRAME
        return self.within(lambda cursor: [_page(cursor, one) for one in wanted], frame)

    def within(self, work: Callable[[Cursor], T], frame: str = _FRAME) -> T:
        """Return what ``work`` makes of a cursor in a transaction that only reads; raises as `page`."""
        try:
            with database_trouble(), self.engine.connect() as connection:
                driver = raw(connection.execution_options(isolation_level="REPEATABLE READ"))
                driver.execute(frame)
                with driver.cursor(row_factory=dict_row) as cursor:
                    return work(cursor)
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
            msg = "there is no read model of this release yet: the role projector of `hub run` makes it"
            raise RetryLater(msg, _NO_MODEL_SECONDS) from None


def _is_by_key(wanted: Wanted) -> bool:
    return all(column.name in wanted.resource.key for column, _ in wanted.listing.filters)


def _page(cursor: Cursor, wanted: Wanted) -> Page:
    resource, listing, limit = wanted
    rows = _rows(cursor, sql.select(resource, listing, limit + 1))
    in_tail = listing.after is not None and listing.after.value is None
    if len(rows) <= limit and sql.has_tail(resource, listing) and not in_tail:
        rows += _rows(cursor, sql.select_tail(resource, listing, limit + 1 - len(rows)))
    if len(rows) <= limit:
        return Page(rows, None)
    return Page(rows[:limit], position_of(resource, listing, rows[limit - 1]))


def _rows(cursor: Cursor, statement: Statement) -> list[dict[str, Any]]:
    # Not prepared: the best way depends on the values.
    return cursor.execute(statement.text, statement.parameters, prepare=False).fetchall()
