"""Everything the ELM stand-in remembers: the feed, the completions, settings, faults and counts."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from infra.simulators.elm.columns import COMPLETION_FIELDS, FEED_POSITION, feed_fields
from infra.simulators.elm.faults import Endpoint, Faults
from infra.simulators.elm.journal import Journal
from infra.simulators.elm.table import Record, Table


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the server behaves.

    Attributes:
        feed: Release of the feed; 1.4 knows no `record_enrol_id`.
        zone: The server's zone (IANA name): timestamps without zone in a filter are meant in it.
        page_cap: Most records of one answer whatever `$top` says; None: no cap.
        next_link: Whether a page cut by the cap carries `@odata.nextLink`.
    """

    feed: Literal["1.4", "1.5"] = "1.5"
    zone: str = "America/Vancouver"
    page_cap: int | None = None
    next_link: bool = False

    def __post_init__(self) -> None:
        """Refuse what the server could not work with."""
        if self.page_cap is not None and self.page_cap < 1:
            raise ValueError("page_cap must be at least 1, or null for no cap")
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            msg = f"zone {self.zone!r} is not a known time zone"
            raise ValueError(msg) from error


class ElmState:
    """The server's memory.

    Args:
        token: What `x-cdata-authtoken` must be for the feed.
        completion_token: The same for completions; the feed's token when None.
        settings: How the server behaves at first.
        seed: Feed records present from the start; `reset` goes back to them.
        journal: Where to keep what is added later; None: in memory only.
    """

    def __init__(
        self,
        token: str,
        *,
        completion_token: str | None = None,
        settings: Settings | None = None,
        seed: Iterable[Record] = (),
        journal: Journal | None = None,
    ) -> None:
        self.tokens: dict[Endpoint, str] = {"feed": token, "completion": completion_token or token}
        self.settings = settings or Settings()
        self.faults = Faults()
        self.calls: Counter[str] = Counter()
        zone = ZoneInfo(self.settings.zone)
        self.feed = Table(feed_fields(self.settings.feed), zone)
        self.completions = Table(COMPLETION_FIELDS, zone)
        self._last_position = 0
        self._journal = journal
        self.feed.append(self._positioned(seed))
        self._seeded = (len(self.feed), self._last_position)
        self._replay()

    def append(self, records: Iterable[Record]) -> list[Record]:
        """Add feed records; one without `record_enrol_id` gets the next. Gives them as stored."""
        stored = list(self._positioned(records))
        if self._journal:
            self._journal.add("record", stored)
        self.feed.append(stored)
        return stored

    def complete(self, record: Record) -> None:
        """Store a completion; a repeated one is stored again, so that double delivery shows."""
        if self._journal:
            self._journal.add("completion", [record])
        self.completions.append([record])

    def completed(self) -> list[Record]:
        """Give all completions in order of arrival."""
        return [msgspec.json.decode(self.completions.encoded(row)) for row in range(len(self.completions))]

    def configure(self, **changes: Any) -> Settings:
        """Change settings by name; raises msgspec.ValidationError naming what is wrong."""
        self.settings = msgspec.convert(msgspec.structs.asdict(self.settings) | changes, Settings)
        zone = ZoneInfo(self.settings.zone)
        self.feed.describe(feed_fields(self.settings.feed), zone)
        self.completions.describe(COMPLETION_FIELDS, zone)
        return self.settings

    def reset(self) -> None:
        """Go back to the seeded records: no completions, faults or counts. Settings stay."""
        if self._journal:
            self._journal.clear()
        length, self._last_position = self._seeded
        self.feed.truncate(length)
        self.completions.truncate(0)
        self.faults.clear()
        self.calls.clear()

    def _replay(self) -> None:
        for entry in self._journal.entries() if self._journal else ():
            if entry.kind == "record":
                self.feed.append(self._positioned([entry.data]))
            else:
                self.completions.append([entry.data])

    def _positioned(self, records: Iterable[Record]) -> Iterator[Record]:
        for record in records:
            position = record.get(FEED_POSITION, self._last_position + 1)
            self._last_position = max(self._last_position, int(position))
            yield {FEED_POSITION: position, **record}
