"""Users: made by an administrator, or by the identity provider at their first log-in.

Every change is noted in the audit in the same transaction, for each tenant of the user.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row, func, select, update
from sqlalchemy.dialects.postgresql import insert

from infra.db.connect import database_trouble
from infra.db.tables import user_sessions
from infra.db.tables import users as table
from infra.errors import BadArgument, Unsafe
from producers.decisions import Act, note
from producers.entities import NotFound
from producers.web.dashboard.roles import Role
from producers.web.dashboard.user import By, State, User, digest_of, name_of, user_of
from schemas.ids import TenantId

INVITATION: Final = timedelta(hours=72)
"""So long an invitation can be used."""
_TOKEN_BYTES: Final = 32
_VOUCHED: Final = "the identity provider says so"


def create(
    pool: Engine,
    name: str,
    role: Role,
    tenants: Sequence[TenantId],
    by: By,
    password_hash: str | None = None,
) -> None:
    """Make a local user, who can log in if there is a password, or else once they are invited.

    Raises:
        BadArgument: the name cannot be used, or no tenant is given.
        Unsafe: there is a user of that name.
        RetryLater: the database is away.
    """
    named = name_of(name)
    values = {
        "name": named,
        "role": role,
        "tenants": _tenants_of(tenants),
        "password_hash": password_hash,
        "created_at": func.clock_timestamp(),
    }
    with database_trouble(), pool.begin() as connection:
        new = insert(table).values(values).on_conflict_do_nothing()
        if connection.execute(new.returning(table.c.name)).one_or_none() is None:
            raise Unsafe("name: there is a user of that name")
        _note(connection, "user.create", named, tenants, by, {"role": role.value})


def listed(pool: Engine) -> list[User]:
    """Return all users by name."""
    with database_trouble(), pool.connect() as connection:
        return [user_of(row) for row in connection.execute(select(table).order_by(table.c.name))]


def get(pool: Engine, name: str) -> User:
    """Return the user ``name``.

    Raises:
        NotFound: there is none.
        RetryLater: the database is away.
    """
    with database_trouble(), pool.connect() as connection:
        return user_of(_row(connection, name))


def invite(pool: Engine, name: str, by: By) -> str:
    """Let a local user choose a password, once; return the text that proves who they are, kept nowhere.

    An invitation made before is good no longer. A password stays until another is chosen.

    Raises:
        NotFound: there is no such user.
        Unsafe: the identity provider vouches for them, or they are disabled.
        RetryLater: the database is away.
    """
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    with database_trouble(), pool.begin() as connection:
        user = user_of(_row(connection, name))
        _see_local(user)
        if user.state is State.DISABLED:
            raise Unsafe("name: the user is disabled")
        until = func.clock_timestamp() + INVITATION
        _set(connection, name, invitation=digest_of(token), invitation_until=until)
        _note(connection, "user.invite", name, user.tenants, by)
    return token


def invited(pool: Engine, token: str) -> User | None:
    """Return the user whom ``token`` invites; none if it is unknown, used or too old."""
    with database_trouble(), pool.connect() as connection:
        row = connection.execute(select(table).where(*_open(token))).one_or_none()
    return user_of(row) if row else None


def accept(pool: Engine, token: str, password_hash: str) -> User | None:
    """Give the user whom ``token`` invites a password; none if it is unknown, used or too old."""
    with database_trouble(), pool.begin() as connection:
        row = connection.execute(select(table).where(*_open(token)).with_for_update()).one_or_none()
        if row is None:
            return None
        user = user_of(row)
        _new_password(connection, user, password_hash, By(user.actor))
    return user


def change_password(pool: Engine, name: str, password_hash: str, by: By) -> None:
    """Give a local user another password; all their sessions end, and an invitation is good no longer.

    Raises:
        NotFound: there is no such user.
        Unsafe: the identity provider vouches for them.
        RetryLater: the database is away.
    """
    with database_trouble(), pool.begin() as connection:
        user = user_of(_row(connection, name))
        _see_local(user)
        _new_password(connection, user, password_hash, by)


def change_role(pool: Engine, name: str, role: Role, tenants: Sequence[TenantId], by: By) -> None:
    """Let a user do something else, or for other tenants; it holds from their next request on.

    Raises:
        NotFound: there is no such user.
        BadArgument: no tenant is given.
        Unsafe: the identity provider says what they may do.
        RetryLater: the database is away.
    """
    with database_trouble(), pool.begin() as connection:
        user = user_of(_row(connection, name))
        _see_local(user)
        _set(connection, name, role=role, tenants=_tenants_of(tenants))
        told = {"role": f"{user.role.value} to {role.value}"}
        _note(connection, "user.role", name, {*user.tenants, *tenants}, by, told)


def disable(pool: Engine, name: str, by: By) -> None:
    """Let a user in no longer; their sessions end at once.

    Raises:
        NotFound: there is no such user.
        RetryLater: the database is away.
    """
    with database_trouble(), pool.begin() as connection:
        user = user_of(_row(connection, name))
        since = func.coalesce(table.c.disabled_at, func.clock_timestamp())
        _set(connection, name, disabled_at=since, invitation=None, invitation_until=None)
        end_sessions(connection, name)
        _note(connection, "user.disable", name, user.tenants, by)


def enable(pool: Engine, name: str, by: By) -> None:
    """Let a user in again; raises as `disable`."""
    with database_trouble(), pool.begin() as connection:
        user = user_of(_row(connection, name))
        _set(connection, name, disabled_at=None)
        _note(connection, "user.enable", name, user.tenants, by)


def password_hash_of(pool: Engine, name: str) -> str | None:
    """Return the hash of the password of a user who may log in by it; none if there is no such user."""
    wanted = select(table.c.password_hash).where(
        table.c.name == name, table.c.disabled_at.is_(None), table.c.subject.is_(None)
    )
    with database_trouble(), pool.connect() as connection:
        found: str | None = connection.execute(wanted).scalar_one_or_none()
    return found


def keep_hash(pool: Engine, name: str, old: str, new: str) -> None:
    """Keep the same password with newer parameters, unless it was changed meanwhile."""
    same = update(table).where(table.c.name == name, table.c.password_hash == old)
    with database_trouble(), pool.begin() as connection:
        connection.execute(same.values(password_hash=new))


def vouched_for(pool: Engine, name: str, subject: str, role: Role, tenants: Sequence[TenantId]) -> User:
    """Return the user whom the identity provider vouches for, as it describes them now; made if new.

    Args:
        pool: of the hub's database.
        name: that the provider gives them.
        subject: the provider's issuer and its id of them.
        role: by their groups.
        tenants: by their groups.

    Raises:
        BadArgument: the name cannot be used.
        Unsafe: another user has that name, or this one is disabled.
        RetryLater: the database is away.
    """
    values = {"name": name_of(name), "subject": subject, "role": role, "tenants": _tenants_of(tenants)}
    with database_trouble(), pool.begin() as connection:
        known = connection.execute(select(table).where(table.c.subject == subject).with_for_update())
        row = known.one_or_none()
        if row is None:
            new = insert(table).values(**values, created_at=func.clock_timestamp())
            row = connection.execute(new.on_conflict_do_nothing().returning(table)).one_or_none()
            if row is None:
                raise Unsafe("name: another user has it already")
            by = By(f"user:{row.name}", _VOUCHED)
            _note(connection, "user.create", row.name, tenants, by, {"role": role.value})
        elif (row.role, row.tenants) != (role, values["tenants"]):
            _set(connection, row.name, role=role, tenants=values["tenants"])
            by, told = By(f"user:{row.name}", _VOUCHED), {"role": f"{row.role} to {role.value}"}
            _note(connection, "user.role", row.name, {*row.tenants, *tenants}, by, told)
        user = user_of(_row(connection, row.name))
    if user.state is State.DISABLED:
        raise Unsafe("name: the user is disabled")
    return user


def end_sessions(connection: Connection, name: str) -> None:
    """End all sessions of a user, in the transaction of ``connection``."""
    connection.execute(user_sessions.delete().where(user_sessions.c.user_name == name))


def _open(token: str) -> tuple[Any, ...]:
    return (
        table.c.invitation == digest_of(token),
        table.c.invitation_until > func.clock_timestamp(),
        table.c.disabled_at.is_(None),
    )


def _row(connection: Connection, name: str) -> Row[Any]:
    found = connection.execute(select(table).where(table.c.name == name).with_for_update()).one_or_none()
    if found is None:
        raise NotFound("name: there is no such user")
    return found


def _new_password(connection: Connection, user: User, password_hash: str, by: By) -> None:
    _set(connection, user.name, password_hash=password_hash, invitation=None, invitation_until=None)
    end_sessions(connection, user.name)
    _note(connection, "user.password", user.name, user.tenants, by)


def _see_local(user: User) -> None:
    if not user.is_local:
        raise Unsafe("name: the identity provider vouches for this user; change it there")


def _tenants_of(tenants: Iterable[TenantId]) -> list[TenantId]:
    found = [*dict.fromkeys(TenantId(one.strip()) for one in tenants if one.strip())]
    if not found:
        raise BadArgument("tenants: name at least one")
    return found


def _set(connection: Connection, name: str, **values: Any) -> None:
    connection.execute(update(table).where(table.c.name == name).values(**values))


def _note(
    connection: Connection,
    action: str,
    name: str,
    tenants: Iterable[TenantId],
    by: By,
    details: Mapping[str, str] | None = None,
) -> None:
    subject, told = f"user/{name}", details or {}
    acts = [Act(by.actor, action, subject, one, by.why, told) for one in sorted(set(tenants))]
    note(connection, acts)
