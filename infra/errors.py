"""Errors, classed by what can be done about them.

A missing dependency is not among them: it is an ordinary outcome of a handler, which parks what waits.
"""

from schemas.reasons import Reason


class HubError(Exception):
    """Something the hub reports in its own words; the message holds no personal data and no secret."""


class RetryLater(HubError):
    """Transient trouble of another system; nothing is wrong with the records.

    Attributes:
        retry_after: seconds to wait at least, as the other side asked; none if it did not say.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Rejected(HubError):
    """This one record cannot be applied, whatever is tried; others can."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Stop(HubError):
    """Configuration or credentials are wrong: stop with an alarm, and keep everything."""


class BadArgument(HubError):
    """What was asked for cannot be meant: names the argument and the reason."""


class Unsafe(HubError):
    """Refused for safety: it would do more than the caller allowed; nothing was done."""
