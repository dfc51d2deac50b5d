"""Settings of the ELM poll."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from zoneinfo import ZoneInfo

from infra.settings import ElmFeed
from schemas.ids import TenantId


@dataclass(frozen=True, slots=True)
class Rules:
    """How a record of the feed is read.

    Attributes:
        tenant: whose people and courses these are.
        release: which release's order of versions applies.
        zone: of times and days that come without one.
        names: the feed's own name of a field, where it differs from the usual one.
        ignored_courses: COURSE_IDENTIFIERs (as text) that are passed over.
        create_courses: whether the hub makes a course that Moodle lacks.
    """

    tenant: TenantId
    release: ElmFeed = ElmFeed.POSITION
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("America/Vancouver"))
    names: Mapping[str, str] = field(default_factory=dict)
    ignored_courses: frozenset[str] = frozenset()
    create_courses: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ElmFeedSettings:
    """Where the feed is and how it is polled.

    Attributes:
        url: of the feed, ending in ``/Datamart_ELM_Course_Enrollment_info``.
        token: value of the header ``x-cdata-authtoken``.
        tenant: whose feed it is.
        release: 1.4 (by time) or 1.5 (by position).
        lookback_minutes: rolling window of a 1.4 feed; grows by itself over an outage.
        overlap_ids: positions below the mark of a 1.5 feed that every poll reads again.
        overlap_minutes: what was created so shortly before a poll is read again by the next (1.5), and so
            much earlier than the last complete poll the window starts (1.4).
        interval_seconds: from the start of a poll to that of the next.
        page_size: records asked for at once (``$top``).
        timezone: IANA name of the zone of ELM's server.
        field_names: the feed's own name of a field, by the usual name.
        ignored_courses: COURSE_IDENTIFIERs to pass over.
        create_courses: whether the hub makes courses that Moodle lacks.
        timeout: seconds for one page.
        backoff_seconds: first wait after a failed poll; doubled each time up to the interval, with jitter.
    """

    url: str
    token: str = field(repr=False)
    tenant: TenantId
    release: ElmFeed = ElmFeed.POSITION
    lookback_minutes: int = 120
    overlap_ids: int = 1_000
    overlap_minutes: int = 10
    interval_seconds: float = 60.0
    page_size: int = 1_000
    timezone: str = "America/Vancouver"
    field_names: Mapping[str, str] = field(default_factory=dict)
    ignored_courses: frozenset[str] = frozenset()
    create_courses: bool = False
    timeout: float = 60.0
    backoff_seconds: float = 1.0

    @property
    def lookback(self) -> timedelta:
        """Length of the rolling window."""
        return timedelta(minutes=self.lookback_minutes)

    @property
    def overlap(self) -> timedelta:
        """The overlap in time."""
        return timedelta(minutes=self.overlap_minutes)

    def rules(self) -> Rules:
        """Return how the records are read.

        Raises:
            KeyError: there is no such time zone (`zoneinfo.ZoneInfoNotFoundError`).
        """
        return Rules(
            tenant=self.tenant,
            release=self.release,
            zone=ZoneInfo(self.timezone),
            names=self.field_names,
            ignored_courses=self.ignored_courses,
            create_courses=self.create_courses,
        )
