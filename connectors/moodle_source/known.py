"""What was already told: only what differs from it is told again."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from schemas.ids import Target, TenantId, key
from schemas.moodle import CompletionObserved, CourseObserved, MoodleObserved, ObservedKind

Seen = CourseObserved | CompletionObserved
_KINDS: Final = frozenset({ObservedKind.COURSE, ObservedKind.COMPLETION})


class Known:
    """The last told state of every entity, as a fingerprint that holds for this process only."""

    def __init__(self) -> None:
        self._told: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._told)

    def learn(self, records: Iterable[MoodleObserved]) -> None:
        """Take note of records that were told."""
        for record in records:
            self._told[record.key] = _fingerprint(record)

    def learn_one(self, record_key: str, record: MoodleObserved | None) -> None:
        """Take note of one record as the topic holds it; none where it was removed.

        Those of other kinds have other writers and are passed over.
        """
        if record is None:
            self._told.pop(record_key, None)
        elif record.kind in _KINDS:
            self.learn([record])

    def has(self, tenant: TenantId, completion: tuple[str, str]) -> bool:
        """Tell whether any completion of (person, course) was told."""
        return key(tenant, ObservedKind.COMPLETION, *completion) in self._told

    def news(
        self, seen: Iterable[Seen], tenant: TenantId, target: Target, observed_at: datetime
    ) -> list[MoodleObserved]:
        """Return a record for everything seen that is new or differs; nothing is learnt by it."""
        records = (_record(body, tenant, target, observed_at) for body in seen)
        return [record for record in records if self._told.get(record.key) != _fingerprint(record)]


def _fingerprint(record: MoodleObserved) -> int:
    return hash(record.course or record.completion)


def _record(body: Seen, tenant: TenantId, target: Target, observed_at: datetime) -> MoodleObserved:
    if isinstance(body, CourseObserved):
        return MoodleObserved(
            tenant=tenant, target=target, kind=ObservedKind.COURSE, observed_at=observed_at, course=body
        )
    return MoodleObserved(
        tenant=tenant, target=target, kind=ObservedKind.COMPLETION, observed_at=observed_at, completion=body
    )
