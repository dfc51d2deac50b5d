"""What people have changed in the hub: who, when, what, why."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from schemas.ids import TenantId


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One change by a person or a program of theirs. Topic ``hub.audit``, key the tenant."""

    TYPE: ClassVar[str] = "rosterhub.audit"

    audit_id: str
    tenant: TenantId
    at: datetime
    by: str
    """The name of a user, the id of an API key, or ``cli:`` and the name of the system's user."""
    action: str
    """What was done, such as ``dlq.discard`` or ``schedule.change``."""
    subject: str
    """What it was done to: an entity such as ``person/P1``, a place of a message, the name of a schedule."""
    why: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    """What else is to be known, such as values before and after; without personal data and secrets."""

    @property
    def key(self) -> str:
        """The message key."""
        return self.tenant
