"""The log of calls to other systems."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Final

from schemas.ids import Target, TenantId

CREDENTIALS_REFUSED: Final = frozenset(
    {
        "http_401",
        "http_403",
        "invalidtoken",
        "wsaccessuserdeleted",
        "wsaccessuserexpired",
        "wsaccessusernologin",
        "wsaccessusersuspended",
        "wsaccessuserunconfirmed",
        "forcepasswordchangenotice",
        "usernotfullysetup",
        "sitepolicynotagreed",
    }
)
"""Codes by which a system says that it does not know who calls; a right that one function lacks is not among
them."""


class System(StrEnum):
    """Who was called."""

    MOODLE = "MOODLE"
    ELM = "ELM"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiCall:
    """One request to Moodle or ELM and how it ended. Topic ``hub.calls``, key the target.

    Holds ids only: no personal data, no token, no body.
    """

    TYPE: ClassVar[str] = "rosterhub.call"

    call_id: str
    system: System
    target: Target
    """The Moodle site, or ``elm``."""
    role: str
    """The process that called, as `hub run` names it."""
    function: str
    """The web service function, or method and kind of address."""
    started_at: datetime
    duration_ms: int
    code: str
    """``ok``, or the code of the failure."""
    http_status: int | None = None
    """None where no answer came."""
    attempt: int = 1
    entries: int = 0
    """How many entities the call was about."""
    request_bytes: int = 0
    response_bytes: int = 0
    tenant: TenantId | None = None
    references: tuple[str, ...] = ()
    """Entities that the call was about, such as ``user|tenant|P1``; the first hundred."""

    @property
    def key(self) -> str:
        """The message key."""
        return self.target
