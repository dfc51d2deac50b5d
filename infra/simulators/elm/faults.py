"""Faults that the ELM stand-in can be told to show: data here, carried out by the application."""

from collections import deque
from typing import Final, Literal

import msgspec

Endpoint = Literal["feed", "completion"]

FaultKind = Literal[
    "status",  # answer `status` at once, nothing stored
    "rate_limit",  # 429 with `retry_after` as the header, nothing stored
    "unauthorized",  # 401 although the token is right
    "redirect",  # 302 to `location`
    "html",  # an HTML error page with `status`
    "reset",  # the connection is reset before anything is done
    "reset_after_commit",  # the request is carried out, then the connection is reset
    "timeout_after_commit",  # the request is carried out, the answer comes after `seconds` or never
    "latency",  # a good answer, `seconds` late
    "no_value",  # 200 with a JSON object that has no `value`
    "truncated",  # 200 with the first half of the JSON
]

AFTER_COMMIT: Final = frozenset({"reset_after_commit", "timeout_after_commit", "no_value", "truncated"})


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault: where it strikes, how often and how it looks.

    Attributes:
        kind: What happens, see `FaultKind`.
        endpoint: `feed` or `completion`.
        method: `GET` or `POST` only, or both when None (read-back and delivery share a path).
        guid: Only the delivery of this learner's completions; None: every request.
        count: How many requests it strikes; None until it is cleared.
        status: HTTP status of `status` and `html`.
        retry_after: `Retry-After` of `status` and `rate_limit`: seconds, or an HTTP date.
        seconds: Delay of `latency` and `timeout_after_commit`; None: no answer at all.
        location: Target of `redirect`.
    """

    kind: FaultKind
    endpoint: Endpoint
    method: Literal["GET", "POST"] | None = None
    guid: str | None = None
    count: int | None = None
    status: int = 503
    retry_after: int | str | None = None
    seconds: float | None = None
    location: str = "/login"


class Faults:
    """The faults still to come, first set first shown."""

    def __init__(self) -> None:
        self._waiting: deque[Fault] = deque()

    def add(self, fault: Fault) -> None:
        """Set a fault behind those already set."""
        if fault.count is None or fault.count > 0:
            self._waiting.append(fault)

    def clear(self) -> None:
        """Take all faults away."""
        self._waiting.clear()

    def waiting(self) -> list[Fault]:
        """Give the faults still set, with the counts that are left."""
        return list(self._waiting)

    def take(self, endpoint: Endpoint, method: str, guid: str | None = None) -> Fault | None:
        """Give the fault for this request, counting it as shown; None when there is none.

        Args:
            endpoint: Where the request goes.
            method: Its method.
            guid: Whose completion it delivers; None: it delivers none.
        """
        for index, fault in enumerate(self._waiting):
            if fault.endpoint == endpoint and fault.method in (None, method) and fault.guid in (None, guid):
                self._used(index, fault)
                return fault
        return None

    def _used(self, index: int, fault: Fault) -> None:
        if fault.count is None:
            return
        if fault.count == 1:
            del self._waiting[index]
        else:
            self._waiting[index] = msgspec.structs.replace(fault, count=fault.count - 1)
