"""What a source hands to the intake, what it is answered, and the rule that decides. Pure."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from infra.stage import Output
from schemas.ids import TenantId
from schemas.version import Version

OLDER_VERSION = "older_version"
"""Reason of SKIPPED: a newer version of the record is kept already."""
REPLACED = "replaced"
"""Reason of SKIPPED: this content was kept, and another of the same version came after it."""

_DIGEST_SIZE = 16
_REMEMBERED = 64
"""So many contents of one version are remembered as replaced."""


class Status(StrEnum):
    """The answer to one record."""

    NEW = "NEW"
    UNCHANGED = "UNCHANGED"
    UPDATED = "UPDATED"
    INVALID = "INVALID"
    SKIPPED = "SKIPPED"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where records come from: the intake keeps and compares within one tenant and source."""

    tenant: TenantId
    source: str


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """One record to be kept, as its source has it now.

    Attributes:
        kind: such as ``person``; ids are unique within it.
        record_id: the source's own id.
        version: a lower one than that kept is passed over; an equal one replaces it, having come later.
        content: everything that decides whether the record changed, by field, as JSON values. What the
            events below carry must be here too, except the time of recording.
        events: what a change of the record is published as, in this order.
    """

    kind: str
    record_id: str
    version: Version
    content: Mapping[str, Any]
    events: tuple[Output, ...]


@dataclass(frozen=True, slots=True)
class Valid:
    """A usable record of the source; it may stand for several records kept, the last gives the answer.

    ``traceparent`` is the trace that its events belong to; the intake puts it in.
    """

    records: tuple[SourceRecord, ...]
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Invalid:
    """A record that cannot be used: kept as it came, with the field to blame and the reason.

    ``field`` and ``reason`` hold no personal data; ``record_id`` is none where it cannot be told.
    """

    kind: str
    record_id: str | None
    content: Any
    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """A usable record that a rule leaves out; it is not kept."""

    kind: str
    record_id: str
    reason: str


Candidate = Valid | Invalid | Skipped


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one record sent.

    Attributes:
        changes: of UPDATED: ``{field: [old, new]}``.
        field: of INVALID: the field to blame.
        reason: of INVALID, SKIPPED and ERROR.
        events: how many events were written for it (0 when nothing it stands for changed).
        known: of INVALID: the very same record was refused before.
        missing: of SKIPPED: id of the record that has to come first; the one sent is parked.
    """

    kind: str
    record_id: str | None
    status: Status
    changes: Mapping[str, list[Any]] | None = None
    field: str | None = None
    reason: str | None = None
    events: int = 0
    known: bool = False
    missing: str | None = None


class State(NamedTuple):
    """The record as it is kept.

    Attributes:
        revision: counts its changes, from 1.
        version: its newest version, also where that changed nothing.
        digest: of its content.
        replaced: digests of contents that this version had before, one after the other.
        content: JSON; only where it was asked for.
    """

    revision: int
    version: Version
    digest: bytes
    replaced: bytes
    content: str | None


class Verdict(NamedTuple):
    """What a record that comes in means beside the one kept."""

    status: Status
    state: State
    reason: str | None = None


def canonical(content: Any) -> str:
    """Return JSON text that is the same for equal content: fields sorted, no blanks, values quoted."""
    return msgspec.json.encode(content, order="deterministic").decode()


def digest_of(text: str) -> bytes:
    """Return the hash by which contents are compared."""
    return hashlib.blake2b(text.encode(), digest_size=_DIGEST_SIZE).digest()


def decide(state: State | None, version: Version, digest: bytes, content: str) -> Verdict:
    """Compare a record (``version``, ``digest``, ``content``) with the one kept, if any."""
    if state is None:
        return Verdict(Status.NEW, State(1, version, digest, b"", content))
    if digest == state.digest:
        newest = state if version <= state.version else state._replace(version=version, replaced=b"")
        return Verdict(Status.UNCHANGED, newest)
    if version < state.version:
        return Verdict(Status.SKIPPED, state, OLDER_VERSION)
    if version > state.version:
        return Verdict(Status.UPDATED, State(state.revision + 1, version, digest, b"", content))
    if digest in _digests(state.replaced):
        return Verdict(Status.SKIPPED, state, REPLACED)
    replaced = (state.replaced + state.digest)[-_REMEMBERED * _DIGEST_SIZE :]
    return Verdict(Status.UPDATED, State(state.revision + 1, version, digest, replaced, content))


def _digests(joined: bytes) -> list[bytes]:
    return [joined[start : start + _DIGEST_SIZE] for start in range(0, len(joined), _DIGEST_SIZE)]


def changes(old: str, new: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the fields of ``new`` that differ from the content ``old`` (JSON), as ``[old, new]``."""
    before: dict[str, Any] = msgspec.json.decode(old)
    fields = [*before, *(name for name in new if name not in before)]
    pairs = {name: [before.get(name), new.get(name)] for name in fields}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def storable(value: Any) -> Any:
    """Return ``value`` (JSON) as PostgreSQL can keep it: no NUL, no half of a surrogate pair."""
    if isinstance(value, str):
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {storable(str(name)): storable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    return value


class Tally(NamedTuple):
    """Answers counted; ``fresh`` are those that brought something not known before."""

    seen: int = 0
    new: int = 0
    unchanged: int = 0
    updated: int = 0
    invalid: int = 0
    skipped: int = 0
    errors: int = 0
    events: int = 0
    fresh: int = 0

    def __add__(self, other: object) -> "Tally":
        """Add count by count."""
        if not isinstance(other, Tally):
            return NotImplemented
        return Tally(*map(sum, zip(self, other, strict=True)))


def tally(answers: Iterable[Answer]) -> Tally:
    """Count ``answers``."""
    counts = dict.fromkeys(Status, 0)
    events = fresh = 0
    for answer in answers:
        counts[answer.status] += 1
        events += answer.events
        fresh += bool(answer.events) or (answer.status is Status.INVALID and not answer.known)
    return Tally(
        sum(counts.values()),
        counts[Status.NEW],
        counts[Status.UNCHANGED],
        counts[Status.UPDATED],
        counts[Status.INVALID],
        counts[Status.SKIPPED],
        counts[Status.ERROR],
        events,
        fresh,
    )
