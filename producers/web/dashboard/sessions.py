"""Sessions: a random text in a cookie, its hash in the database."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from sqlalchemy import Engine, func, select, update

from infra.db.connect import database_trouble
from infra.db.tables import user_sessions as table
from infra.db.tables import users as users_table
from producers.web.dashboard.settings import DashboardSettings
from producers.web.dashboard.user import User, digest_of, user_of
from schemas.ids import TenantId

_ID_BYTES: Final = 32
_SEEN_AGAIN: Final = timedelta(minutes=1)
"""The time of last use is written only if the one kept is older than this."""


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who has logged in.

    Attributes:
        secret: what the cookie holds; kept nowhere else.
        user: who.
        tenant: whose records they look at.
    """

    secret: str = field(repr=False)
    user: User
    tenant: TenantId

    @property
    def form_token(self) -> str:
        """What every form of this session holds; nobody can tell it who has not the cookie."""
        return derived(self.secret, "form")


def derived(secret: str, purpose: str) -> str:
    """Return another secret that follows from ``secret``, and from which that cannot be told."""
    return hmac.new(secret.encode(), purpose.encode(), hashlib.sha256).hexdigest()


def begin(pool: Engine, settings: DashboardSettings, user: User) -> Session:
    """Begin a session of ``user``; its id is new, whatever the browser had before.

    Raises:
        RetryLater: the database is away.
    """
    tenant = settings.default_tenant if settings.default_tenant in user.tenants else user.tenants[0]
    session = Session(secrets.token_urlsafe(_ID_BYTES), user, tenant)
    now = func.clock_timestamp()
    row = {
        "digest": digest_of(session.secret),
        "user_name": user.name,
        "tenant": tenant,
        "created_at": now,
        "seen_at": now,
        "expires_at": now + settings.lifetime,
    }
    with database_trouble(), pool.begin() as connection:
        connection.execute(table.insert().values(row))
        in_use = update(users_table).where(users_table.c.name == user.name)
        connection.execute(in_use.values(last_login_at=now))
    return session


def find(pool: Engine, settings: DashboardSettings, secret: str, *, counts: bool = True) -> Session | None:
    """Return the session of the cookie ``secret``; none if it has ended, or its user is disabled.

    Args:
        pool: of the hub's database.
        settings: say how long a session lasts.
        secret: from the cookie.
        counts: whether this is a use that keeps the session from ending.

    Raises:
        RetryLater: the database is away.
    """
    digest, now = digest_of(secret), func.clock_timestamp()
    wanted = (
        select(users_table, table.c.tenant, (table.c.seen_at < now - _SEEN_AGAIN).label("is_stale"))
        .join(users_table, users_table.c.name == table.c.user_name)
        .where(
            table.c.digest == digest,
            table.c.expires_at > now,
            table.c.seen_at > now - settings.idle,
            users_table.c.disabled_at.is_(None),
        )
    )
    with database_trouble(), pool.begin() as connection:
        row = connection.execute(wanted).one_or_none()
        if row is None:
            return None
        if counts and row.is_stale:
            connection.execute(update(table).where(table.c.digest == digest).values(seen_at=now))
    user, tenant = user_of(row), TenantId(row.tenant)
    return Session(secret, user, tenant if tenant in user.tenants else user.tenants[0])


def end(pool: Engine, secret: str) -> None:
    """End the session of the cookie ``secret``, if there is one.

    Raises:
        RetryLater: the database is away.
    """
    with database_trouble(), pool.begin() as connection:
        connection.execute(table.delete().where(table.c.digest == digest_of(secret)))


def look_at(pool: Engine, session: Session, tenant: TenantId) -> None:
    """Have the session show the records of ``tenant`` from now on.

    Raises:
        RetryLater: the database is away.
    """
    with database_trouble(), pool.begin() as connection:
        own = update(table).where(table.c.digest == digest_of(session.secret))
        connection.execute(own.values(tenant=tenant))


def remove_ended(pool: Engine, settings: DashboardSettings) -> int:
    """Remove the sessions that have ended; return how many.

    Raises:
        RetryLater: the database is away.
    """
    now = func.clock_timestamp()
    ended = (table.c.expires_at <= now) | (table.c.seen_at <= now - settings.idle)
    with database_trouble(), pool.begin() as connection:
        return connection.execute(table.delete().where(ended)).rowcount
