"""Messages that a stage or connector could not read or act on, kept untouched."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from schemas.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One message as it was, and why it ended here. Topic ``hub.dead-letters``, key as the message's."""

    TYPE: ClassVar[str] = "rosterhub.dead-letter"

    stage: str
    topic: str
    partition: int
    offset: int
    reason: Reason
    error: str
    """What was wrong, naming the field; without personal data."""
    failed_at: datetime
    message_key: bytes | None = None
    message_value: bytes | None = None
    message_headers: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The message key."""
        return (self.message_key or b"").decode("utf-8", "replace")
