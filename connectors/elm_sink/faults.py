"""What an answer of ELM means: one table from HTTP status to what can be done about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from http import HTTPStatus
from typing import Final

from infra.http_client import retry_after


class Verdict(Enum):
    """What can be done after an attempt."""

    DONE = auto()
    REJECTED = auto()
    """ELM does not take this one record; the others go on."""
    RETRY = auto()
    """ELM was busy or away and has finished with the request."""
    UNKNOWN = auto()
    """The answer was lost on the way: ELM may be carrying the request out still."""
    STOP = auto()
    """Address or credentials are wrong: no record is to blame."""


STATUSES: Final[Mapping[int, Verdict]] = {
    HTTPStatus.UNAUTHORIZED: Verdict.STOP,
    HTTPStatus.FORBIDDEN: Verdict.STOP,
    # These speak of the address, not of the record: rejecting every completion for them would lose all.
    HTTPStatus.NOT_FOUND: Verdict.STOP,
    HTTPStatus.METHOD_NOT_ALLOWED: Verdict.STOP,
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: Verdict.STOP,
    HTTPStatus.GONE: Verdict.STOP,
    HTTPStatus.REQUEST_TIMEOUT: Verdict.RETRY,
    HTTPStatus.TOO_EARLY: Verdict.RETRY,
    HTTPStatus.TOO_MANY_REQUESTS: Verdict.RETRY,
    # A gateway that lost the server behind it, which may go on.
    HTTPStatus.BAD_GATEWAY: Verdict.UNKNOWN,
    HTTPStatus.GATEWAY_TIMEOUT: Verdict.UNKNOWN,
}

# A redirect is a login page or a proxy, never the completion endpoint: somebody has to look.
CLASSES: Final[Mapping[int, Verdict]] = {
    2: Verdict.DONE,
    3: Verdict.STOP,
    4: Verdict.REJECTED,
    5: Verdict.RETRY,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """How one attempt ended.

    Attributes:
        verdict: what can be done now.
        about: what happened, without content of the answer (it may repeat personal data).
        status: HTTP status, or none where there was no answer.
        retry_after: seconds that ELM asked to wait, or none.
    """

    verdict: Verdict
    about: str
    status: int | None = None
    retry_after: float | None = None


def answer(status: int, wait: str | None) -> Answer:
    """Return what an HTTP status means.

    Args:
        status: the status.
        wait: the header ``Retry-After``, if there is one.
    """
    verdict = STATUSES.get(status) or CLASSES.get(status // 100, Verdict.STOP)
    return Answer(verdict, f"ELM answered HTTP {status}", status, retry_after(wait, datetime.now(UTC)))
