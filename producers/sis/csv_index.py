"""What an import must remember of a file, on disk: so its memory does not grow with the file."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any, Self

Raw = dict[str, Any]


class Index:
    """Ids that were read, and roles of users, in a temporary database that ends with it."""

    def __init__(self) -> None:
        """Open an empty one; SQLite keeps it in a temporary file once it is large."""
        # An import reads in one thread and looks up in the same.
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(
            """
            PRAGMA journal_mode = OFF;
            PRAGMA synchronous = OFF;
            PRAGMA cache_size = -8000;
            CREATE TABLE seen (kind TEXT, id TEXT, PRIMARY KEY (kind, id)) WITHOUT ROWID;
            CREATE TABLE roles (user TEXT, role TEXT, role_type TEXT, org TEXT);
            CREATE INDEX roles_user ON roles (user);
            """
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def see(self, kind: str, ids: Iterable[str]) -> None:
        """Note that records were read."""
        with closing(self._database.cursor()) as cursor:
            cursor.execute("BEGIN")
            cursor.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?)", ((kind, name) for name in ids))
            cursor.execute("COMMIT")

    def unseen(self, kind: str, ids: Sequence[str]) -> list[str]:
        """Return those of ``ids`` (some thousands) that were not read."""
        marks = ",".join("?" * len(ids))
        query = f"SELECT id FROM seen WHERE kind = ? AND id IN ({marks})"  # noqa: S608 - only question marks
        there = {row[0] for row in self._database.execute(query, [kind, *ids])}
        return [name for name in ids if name not in there]

    def add_roles(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Keep rows of ``roles.csv``."""
        values = (
            (
                _id(row.get("user")),
                _usable(row.get("role")),
                _usable(row.get("roleType")),
                _id(row.get("org")),
            )
            for row in rows
        )
        with closing(self._database.cursor()) as cursor:
            cursor.execute("BEGIN")
            cursor.executemany("INSERT INTO roles VALUES (?, ?, ?, ?)", values)
            cursor.execute("COMMIT")

    def with_roles(self, users: Sequence[Raw]) -> None:
        """Give each of ``users`` (some thousands) the roles kept for it, as the REST service tells them."""
        by_id = {name: user for user in users if (name := _usable(user.get("sourcedId")))}
        marks = ",".join("?" * len(by_id))
        query = f"SELECT user, role, role_type, org FROM roles WHERE user IN ({marks})"  # noqa: S608 - only question marks
        for user, role, role_type, org in self._database.execute(query, list(by_id)):
            entry = {"role": role, "roleType": role_type, "org": {"sourcedId": org}}
            by_id[user].setdefault("roles", []).append(entry)


def _id(reference: Any) -> str | None:
    return _usable(reference.get("sourcedId")) if isinstance(reference, dict) else None


def _usable(value: Any) -> str | None:
    """Return a text that SQLite can keep."""
    return value if isinstance(value, str) and value.isprintable() else None
