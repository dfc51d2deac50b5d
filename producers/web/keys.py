"""API keys: made once, kept as a hash, looked up by it.

A key is ``rhk_<id>_<secret>``; the secret is 32 random bytes. A plain SHA-256 is right for it: slow, salted
hashes protect what people choose and others can guess; 2^256 possibilities cannot be tried, however fast the
hash, and every request pays for it. Looking the hash up in an index tells an attacker nothing by its time:
the hash of a guess cannot be steered.
"""

import hashlib
import hmac
import secrets
import string
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row, func, or_, select, update

from infra.db.connect import database_trouble
from infra.db.tables import api_keys as keys
from producers.decisions import Act, note
from producers.web.routes import Scope
from schemas.ids import TenantId

MARK: Final = "rhk"
"""Every key begins with it, so that scanners for leaked secrets can know one."""
_SECRET_BYTES: Final = 32
_ID_LENGTH: Final = 10
_ID_SIGNS: Final = string.ascii_lowercase + string.digits
_USED_AGAIN: Final = timedelta(minutes=5)
"""The time of last use is written only if the one kept is older than this."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is kept.

    Attributes:
        key_id: the part that may be shown, such as ``rhk_4fz0q1m8xk``.
        name: what it is for, as its maker said.
        tenants: it may speak for.
        scopes: what it may do.
        created_at: when it was made.
        expires_at: from then on it is refused; none: never.
        revoked_at: since then it is refused; none: it is not revoked.
        last_used_at: to within some minutes; none: never used.
    """

    key_id: str
    name: str
    tenants: tuple[TenantId, ...]
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None

    def is_usable(self, now: datetime) -> bool:
        """Tell whether the key is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def digest_of(plain: str) -> bytes:
    """Return the hash by which a key is kept."""
    return hashlib.sha256(plain.encode("utf-8", "surrogateescape")).digest()


def create(
    engine: Engine,
    name: str,
    tenants: Sequence[TenantId],
    scopes: Collection[Scope],
    expires_at: datetime | None = None,
    *,
    by: str = "",
    why: str = "",
) -> tuple[str, ApiKey]:
    """Make a key; the text returned first is shown this once and kept nowhere.

    Args:
        engine: of the hub's database.
        name: what it is for.
        tenants: at least one.
        scopes: at least one.
        expires_at: with time zone; none: it does not expire.
        by: who makes it, for the audit; see `producers.decisions.Act`.
        why: in their words.

    Raises:
        RetryLater: the database is away.
    """
    key_id = f"{MARK}_{''.join(secrets.choice(_ID_SIGNS) for _ in range(_ID_LENGTH))}"
    plain = f"{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    made = ApiKey(key_id, name, tuple(tenants), frozenset(scopes), datetime.now(UTC), expires_at)
    row = {
        "key_id": made.key_id,
        "digest": digest_of(plain),
        "name": made.name,
        "tenants": list(made.tenants),
        "scopes": sorted(made.scopes),
        "created_at": made.created_at,
        "expires_at": made.expires_at,
    }
    with database_trouble(), engine.begin() as connection:
        connection.execute(keys.insert().values(row))
        _note(connection, "key.create", made, by, why)
    return plain, made


def listed(engine: Engine) -> list[ApiKey]:
    """Return all keys, oldest first."""
    with database_trouble(), engine.connect() as connection:
        return [_key(row) for row in connection.execute(select(keys).order_by(keys.c.created_at))]


def revoke(engine: Engine, key_id: str, *, by: str = "", why: str = "") -> bool:
    """Refuse the key from now on; false if there is none of that id. Revoking again changes nothing."""
    now = func.coalesce(keys.c.revoked_at, func.clock_timestamp())
    with database_trouble(), engine.begin() as connection:
        own = update(keys).where(keys.c.key_id == key_id).values(revoked_at=now)
        row = connection.execute(own.returning(*keys.c)).one_or_none()
        if row is not None:
            _note(connection, "key.revoke", _key(row), by, why)
    return row is not None


def _note(connection: Connection, action: str, key: ApiKey, by: str, why: str) -> None:
    """Note in the audit of each tenant of the key what was done with it, if somebody is named."""
    scopes = {"scopes": " ".join(sorted(key.scopes))}
    acts = [Act(by, action, f"key/{key.key_id}", tenant, why, scopes) for tenant in key.tenants]
    note(connection, acts if by else [])


def find(engine: Engine, digest: bytes) -> ApiKey | None:
    """Return the key of that hash, and note that it is used.

    Raises:
        RetryLater: the database is away.
    """
    with database_trouble(), engine.begin() as connection:
        row = connection.execute(select(keys).where(keys.c.digest == digest)).one_or_none()
        if row is None or not hmac.compare_digest(row.digest, digest):
            return None
        before = func.clock_timestamp() - _USED_AGAIN
        unused = or_(keys.c.last_used_at.is_(None), keys.c.last_used_at < before)
        used = update(keys).where(keys.c.key_id == row.key_id, unused)
        connection.execute(used.values(last_used_at=func.clock_timestamp()))
    return _key(row)


def _key(row: Row[Any]) -> ApiKey:
    known = frozenset(Scope)
    return ApiKey(
        key_id=row.key_id,
        name=row.name,
        tenants=tuple(map(TenantId, row.tenants)),
        scopes=frozenset(Scope(scope) for scope in row.scopes if scope in known),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )
