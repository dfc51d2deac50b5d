"""Who a user is. Pure."""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Row

from infra.errors import BadArgument
from producers.web.dashboard.roles import Role
from schemas.ids import TenantId

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,99}")


class State(StrEnum):
    """How it is with a user."""

    ACTIVE = "active"
    INVITED = "invited"
    DISABLED = "disabled"
    NOT_INVITED = "not invited"


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may log in.

    Attributes:
        name: by which they log in and the audit names them; in lower case.
        role: what they may do.
        tenants: whose records they see; at least one.
        is_local: has a password here, or an invitation; otherwise the identity provider vouches for them.
        created_at: when they were made.
        state: whether they can log in.
        last_login_at: none: never.
    """

    name: str
    role: Role
    tenants: tuple[TenantId, ...]
    is_local: bool
    created_at: datetime
    state: State
    last_login_at: datetime | None = None

    @property
    def actor(self) -> str:
        """How the audit names them."""
        return f"user:{self.name}"


@dataclass(frozen=True, slots=True)
class By:
    """Who changes a user, and why, for the audit."""

    actor: str
    why: str = ""


def user_of(row: Row[Any]) -> User:
    """Return the user that a row of the table is."""
    return User(
        name=row.name,
        role=Role(row.role),
        tenants=tuple(map(TenantId, row.tenants)),
        is_local=row.subject is None,
        created_at=row.created_at,
        state=_state(row),
        last_login_at=row.last_login_at,
    )


def name_of(text: str) -> str:
    """Return ``text`` as the name of a user.

    Raises:
        BadArgument: it is none.
    """
    name = text.strip().lower()
    if not _NAME.fullmatch(name):
        raise BadArgument("name: letters, digits and . _ @ + - only, at most 100, a letter or digit first")
    return name


def digest_of(token: str) -> bytes:
    """Return the hash by which a text of 256 random bits is kept; `producers.web.keys` says why."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _state(row: Row[Any]) -> State:
    if row.disabled_at is not None:
        return State.DISABLED
    if row.subject is not None or row.password_hash is not None:
        return State.ACTIVE
    return State.NOT_INVITED if row.invitation is None else State.INVITED
