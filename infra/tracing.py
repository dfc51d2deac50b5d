"""Traces from the intake to Moodle: the context that records carry, and spans, which are off by default.

The context goes with each record as text, W3C's ``traceparent``: in the outbox, then in the headers of all
that comes of it. That is so with spans off too, so that traces of callers are not cut. Spans are made by
`infra.tracing_sdk`, which is imported only when they are on; while they are off, a batch asks once whether.

A batch is of one trace or of several. Of one, its span is a part of that trace, and what comes of the batch
goes on from there. Of several, its span is a trace of its own with links to the others, which go on as they
are.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

HEADER: Final = "traceparent"
_FORM: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_CURRENT: ContextVar[str | None] = ContextVar("traceparent", default=None)
_OF_RECORDS: ContextVar[Sequence[str | None]] = ContextVar("traceparents", default=())


class Kind(StrEnum):
    """What a span is, in the words of OpenTelemetry."""

    SERVER = "SERVER"
    CLIENT = "CLIENT"
    PRODUCER = "PRODUCER"
    CONSUMER = "CONSUMER"


class Span(Protocol):
    """One span that has begun."""

    @property
    def traceparent(self) -> str:
        """By which others go on from it."""

    def end(self, error: str = "") -> None:
        """End it; ``error`` is a code or a class, without personal data."""


class Spans(Protocol):
    """Makes spans and sends them away."""

    def begin(
        self, name: str, kind: Kind, parent: str | None, links: Sequence[str], seconds_ago: float = 0.0
    ) -> Span:
        """Begin a span: within the trace of ``parent``, or, without one, of a new trace."""

    def close(self) -> None:
        """Send what is left, within some seconds."""


class Passage(NamedTuple):
    """How the trace context of records goes on from a span.

    Attributes:
        only: the context that the records came with, or none if they came without.
        becomes: the one that takes its place; none: all stay as they are.
    """

    only: str | None = None
    becomes: str | None = None

    def of(self, traceparent: str | None) -> str | None:
        """Return the context with which a record goes on that came with ``traceparent``."""
        return self.becomes if self.becomes and traceparent == self.only else traceparent


UNCHANGED: Final = Passage()


@dataclass(slots=True)
class _Switch:
    """Of the process: what makes its spans; none while they are off."""

    spans: Spans | None = None


_SWITCH: Final = _Switch()


@contextmanager
def making(spans: Spans) -> Iterator[None]:
    """Have ``spans`` made by this process in the block, and sent away at its end."""
    _SWITCH.spans = spans
    try:
        yield
    finally:
        _SWITCH.spans = None
        spans.close()


@contextmanager
def tracing(endpoint: str | None, role: str) -> Iterator[None]:
    """Have spans made in the block and sent by OTLP over HTTP.

    Args:
        endpoint: address of the collector, without path; none: there are no spans.
        role: of the process.
    """
    if endpoint is None:
        yield
        return
    # Costs 0.2 s and 20 MB, which nobody pays without an endpoint.
    from infra.tracing_sdk import to_collector

    with making(to_collector(endpoint, role)):
        yield


def checked(traceparent: str | bytes | None) -> str | None:
    """Return ``traceparent`` if it is one, else none."""
    text = traceparent.decode("ascii", "replace") if isinstance(traceparent, bytes) else traceparent
    return text if text and _FORM.fullmatch(text) else None


def current() -> str | None:
    """Return the trace context of what is being done."""
    return _CURRENT.get()


@contextmanager
def within(traceparent: str | None) -> Iterator[None]:
    """Let what is done in the block belong to ``traceparent``."""
    token = _CURRENT.set(traceparent)
    try:
        yield
    finally:
        _CURRENT.reset(token)


@contextmanager
def of_records(traceparents: Sequence[str | None]) -> Iterator[None]:
    """Let the records that are taken in within the block have each a context of its own."""
    token = _OF_RECORDS.set(traceparents)
    try:
        yield
    finally:
        _OF_RECORDS.reset(token)


def contexts(count: int) -> Sequence[str | None]:
    """Return the trace context of each of ``count`` records that are being taken in.

    Where these are not the records that came (one was made of several, say), it is the one context that all
    have, or none.
    """
    given = _OF_RECORDS.get() or (_CURRENT.get(),) * count
    if len(given) == count:
        return given
    return (given[0] if len(set(given)) == 1 else None,) * count


@contextmanager
def batch(
    name: str, kind: Kind, parents: Iterable[str | bytes | None], *, begins: bool = False
) -> Iterator[Passage]:
    """Make a span of the block, and give how the records handled in it go on.

    Args:
        name: of what is done, such as a role; of few values.
        kind: what it is.
        parents: the contexts of the records; read only while spans are on.
        begins: make one for records without any context too: their traces begin here.
    """
    spans = _SWITCH.spans
    known = [] if spans is None else list(dict.fromkeys(filter(None, map(checked, parents))))
    if spans is None or not (known or begins):
        yield UNCHANGED
        return
    one = known[0] if len(known) == 1 else None
    span = spans.begin(name, kind, one, known if one is None else ())
    try:
        with within(span.traceparent):
            yield UNCHANGED if len(known) > 1 else Passage(one, span.traceparent)
    except BaseException as error:
        span.end(type(error).__name__)
        raise
    span.end()


@contextmanager
def request(name: str, traceparent: str | None) -> Iterator[None]:
    """Make the block the handling of a caller's request, a part of the caller's trace or of a new one."""
    came = checked(traceparent)
    if _SWITCH.spans is None:
        with within(came):
            yield
        return
    with batch(name, Kind.SERVER, [came], begins=True):
        yield


def called(name: str, seconds: float, error: str) -> None:
    """Note a request to another system that has just ended, as a span of what is being done.

    Args:
        name: of few values.
        seconds: how long it took.
        error: the code of its failure, or an empty text.
    """
    spans, parent = _SWITCH.spans, _CURRENT.get()
    if spans is not None and parent is not None:
        spans.begin(name, Kind.CLIENT, parent, (), seconds).end(error)
