"""Faults that the CRM stand-in can be told to show."""

from collections import deque
from typing import Literal

import msgspec

Endpoint = Literal["records", "token"]
FaultKind = Literal[
    "status",  # answer `status` and nothing else, with `retry_after` if it is set
    "expired",  # forget all access tokens, so that the request is answered 401
    "not_json",  # 200 with an HTML page
]


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault: where it strikes, how often and how it looks.

    Attributes:
        kind: What happens, see `FaultKind`.
        endpoint: `records` or `token`.
        count: How many requests it strikes; None until it is cleared.
        status: HTTP status of `status`.
        retry_after: `Retry-After` of `status`, in seconds.
    """

    kind: FaultKind
    endpoint: Endpoint = "records"
    count: int | None = None
    status: int = 503
    retry_after: float | None = None


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

    def take(self, endpoint: Endpoint) -> Fault | None:
        """Give the fault for this request, counting it as shown; None when there is none."""
        for index, fault in enumerate(self._waiting):
            if fault.endpoint == endpoint:
                if fault.count is not None:
                    del self._waiting[index]
                    if fault.count > 1:
                        self._waiting.insert(index, msgspec.structs.replace(fault, count=fault.count - 1))
                return fault
        return None
