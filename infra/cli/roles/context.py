"""What every role gets."""

import threading
from dataclasses import dataclass

from infra.settings import Settings
from infra.telemetry import Status


@dataclass(frozen=True, slots=True)
class Context:
    """What a role gets.

    Attributes:
        settings: resolved: every address is set.
        slot: which of the processes of its role this one is.
        stop: set when the process shall end.
        status: what the process shows of itself.
    """

    settings: Settings
    slot: str
    stop: threading.Event
    status: Status
