"""Faults that the SIS stand-in can be told to show."""

from collections import deque
from typing import Literal

import msgspec

FaultKind = Literal[
    "status",  # answer `status` at once
    "rate_limit",  # 429 with `retry_after` as the header
    "expired",  # all access tokens are void from now on, so this request answers 401
    "truncated",  # 200 with the first half of the body
    "latency",  # a good answer, `seconds` late
]


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault.

    Attributes:
        kind: what happens, see `FaultKind`.
        path: only requests whose path holds this text.
        count: how many requests it strikes; none until it is cleared.
        after: so many fitting requests are let through first.
        status: of ``status``.
        retry_after: of ``rate_limit`` and ``status``: seconds.
        seconds: of ``latency``.
    """

    kind: FaultKind
    path: str = ""
    count: int | None = 1
    after: int = 0
    status: int = 503
    retry_after: int | None = None
    seconds: float = 0.0


class Faults:
    """The faults still to come, first set first shown."""

    def __init__(self) -> None:
        self._waiting: deque[Fault] = deque()

    def add(self, fault: Fault) -> None:
        """Set a fault behind those already set."""
        self._waiting.append(fault)

    def clear(self) -> None:
        """Take all faults away."""
        self._waiting.clear()

    def take(self, path: str) -> Fault | None:
        """Give the fault for a request, counting it as shown; none when there is none."""
        for index, fault in enumerate(self._waiting):
            if fault.path not in path:
                continue
            if fault.after:
                self._waiting[index] = msgspec.structs.replace(fault, after=fault.after - 1)
                return None
            if fault.count == 1:
                del self._waiting[index]
            elif fault.count is not None:
                self._waiting[index] = msgspec.structs.replace(fault, count=fault.count - 1)
            return fault
        return None
