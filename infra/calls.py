"""Notes of requests to other systems, made by clients and handed to whoever counts or keeps them."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

REFERENCES: Final = 100
"""So many of the entities that a call is about are noted."""


class About(NamedTuple):
    """What the calls of the running task are about; see `about`."""

    references: tuple[str, ...] = ()
    attempt: int = 1


_NOTHING: Final = About()
_ABOUT: ContextVar[About] = ContextVar("about", default=_NOTHING)


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it went, for the log of calls and the metrics; without personal data.

    Attributes:
        function: the web service function, or method and kind of address.
        entries: how many entities it was about.
        sent: bytes of the request's body.
        received: bytes of the answer's body.
        started: seconds of the event loop's clock.
        seconds: how long it took.
        code: ``ok`` or the code of the failure.
        http_status: none where no answer came.
        attempt: from 1: how often the same was sent by now.
        references: entities that it was about, such as ``user|tenant|P1``; see `about`.
    """

    function: str
    entries: int
    sent: int
    received: int
    started: float
    seconds: float
    code: str
    http_status: int | None = None
    attempt: int = 1
    references: tuple[str, ...] = ()


OnCall = Callable[[Call], None]
"""Told of every request when it has ended; must neither wait nor raise."""


def nobody(_: Call) -> None:
    """Take the note of a call and do nothing with it."""


@contextmanager
def about(references: Iterable[str], attempt: int = 1) -> Iterator[None]:
    """Let the calls within, those of tasks that are begun within included, be noted as about ``references``.

    Args:
        references: entities, such as ``user|tenant|P1``; the first hundred are noted.
        attempt: from 1: the how manieth time the caller does the same.
    """
    token = _ABOUT.set(About(tuple(islice(references, REFERENCES)), attempt))
    try:
        yield
    finally:
        _ABOUT.reset(token)


def called(
    function: str,
    entries: int,
    *,
    sent: int,
    received: int,
    started: float,
    ended: float,
    code: str,
    http_status: int | None,
    repeats: int = 0,
) -> Call:
    """Return the note of a request, with what calls are about just now.

    Args:
        function: as in `Call`; so are the others.
        entries: see there.
        sent: see there.
        received: see there.
        started: see there.
        ended: of the same clock.
        code: see there.
        http_status: see there.
        repeats: how often the client itself has sent the same before.
    """
    references, attempt = _ABOUT.get()
    return Call(
        function=function,
        entries=entries,
        sent=sent,
        received=received,
        started=started,
        seconds=ended - started,
        code=code,
        http_status=http_status,
        attempt=attempt + repeats,
        references=references,
    )
