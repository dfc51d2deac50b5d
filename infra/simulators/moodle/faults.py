"""Faults on demand: what may go wrong around Moodle, for how many calls, for which functions."""

import time
from collections import deque
from collections.abc import Iterable

import msgspec

# Kind -> what a client sees. The answers themselves are in `server.py`.
KINDS = {
    "latency": "every call takes `seconds` longer",
    "connection_reset": "the connection is cut before anything was done",
    "reset_after_commit": "the work is done, then the connection is cut without an answer",
    "timeout_after_commit": "the work is done, the answer comes `seconds` later (never, if not given)",
    "too_many_requests": "429 with Retry-After `retry_after`, nothing done",
    "rate_limit": "429 with Retry-After once more than `per_minute` calls arrived within a minute",
    "server_error": "`status` (500 if not given) with HTML, nothing done",
    "bad_gateway": "502 with HTML, nothing done",
    "worker_killed": "502 with HTML after `seconds`; the batch was begun and is rolled back",
    "maintenance_cli": "503 with HTML",
    "maintenance_ui": "200 with `sitemaintenance`",
    "upgrade_running": "200 with `upgraderunning`",
    "database_down": "200 with `dbconnectionfailed`",
    "web_services_off": "403 with an empty body",
    "token_revoked": "200 with `invalidtoken`",
    "token_expired": "200 with `accessexception` once, from then on `invalidtoken`",
    "access_denied": "200 with `accessexception` (address or capability missing, service disabled)",
    "user_suspended": "200 with `wsaccessusersuspended`",
}


class Fault(msgspec.Struct, forbid_unknown_fields=True):
    """A fault that is active.

    Attributes:
        kind: one of `KINDS`.
        functions: the web service functions it befalls; empty for all.
        count: for how many calls; None until it is cleared.
        skip: number of matching calls that are spared first.
        seconds: duration, for the kinds that have one.
        retry_after: seconds told to the client.
        status: HTTP status of a `server_error`.
        per_minute: calls allowed by a `rate_limit`.
    """

    kind: str
    functions: list[str] = []
    count: int | None = None
    skip: int = 0
    seconds: float | None = None
    retry_after: int = 1
    status: int = 500
    per_minute: int = 0

    def __post_init__(self) -> None:
        """Refuse a kind that does not exist."""
        if self.kind not in KINDS:
            reason = f"kind: {self.kind!r} is not one of {', '.join(KINDS)}"
            raise ValueError(reason)


class Faults:
    """The faults that are active, in the order they were set."""

    def __init__(self) -> None:
        self.active: list[Fault] = []
        self._arrivals: deque[float] = deque()

    def add(self, fault: Fault) -> None:
        """Make a fault active."""
        self.active.append(fault)

    def clear(self, kind: str | None = None) -> None:
        """End all faults, or those of one kind."""
        self._arrivals.clear()
        self.active = [fault for fault in self.active if kind is not None and fault.kind != kind]

    def take(self, kinds: Iterable[str], function: str | None) -> Fault | None:
        """The first active fault of these kinds that befalls this call; its count goes down by one."""
        for fault in self.active:
            if fault.kind in kinds and (not fault.functions or function in fault.functions):
                if fault.skip > 0:
                    fault.skip -= 1
                elif fault.kind != "rate_limit" or self._over(fault):
                    self._use(fault)
                    return fault
        return None

    def _use(self, fault: Fault) -> None:
        if fault.kind == "token_expired":
            # Moodle deletes the row of an expired token when it meets it.
            self.active = [Fault("token_revoked") if other is fault else other for other in self.active]
        elif fault.count is not None:
            fault.count -= 1
            if fault.count <= 0:
                self.active = [other for other in self.active if other is not fault]

    def _over(self, fault: Fault) -> bool:
        now = time.monotonic()
        while self._arrivals and self._arrivals[0] <= now - 60:
            self._arrivals.popleft()
        if len(self._arrivals) < fault.per_minute:
            self._arrivals.append(now)
            return False
        oldest = self._arrivals[0] if self._arrivals else now
        fault.retry_after = max(1, round(oldest + 60 - now))
        return True
