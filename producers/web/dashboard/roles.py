"""What users may do: three roles, which are scopes of the admin API."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from producers.web.routes import Scope


class Role(StrEnum):
    """What a user may do; each may do what those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    @property
    def scope(self) -> Scope:
        """The scope of the admin API that it stands for."""
        return _SCOPES[self]


_SCOPES: Final[Mapping[Role, Scope]] = {
    Role.VIEWER: Scope.READ,
    Role.OPERATOR: Scope.OPERATOR,
    Role.ADMIN: Scope.ADMIN,
}
RANKS: Final[Mapping[Role, int]] = {role: rank for rank, role in enumerate(Role)}
"""The place of each role: a greater one may do more."""
