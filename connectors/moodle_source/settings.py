"""What the Moodle source needs to know; filled from the environment by the entry point."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from zoneinfo import ZoneInfo

from schemas.ids import Target, TenantId

PERSON, COURSE, TIME = "person", "course", "completed"

HEADINGS = MappingProxyType({PERSON: "ID number", COURSE: "Course ID number", TIME: "Time completed"})
"""The columns that a report must have, by their English headings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoodleSourceSettings:
    """Settings of the Moodle source.

    Attributes:
        tenant: whose courses and people the site holds.
        target: name of the site; the topic carries it.
        zone: zone in which the service user reads dates, and in which a day of completion is meant.
        catalogue_interval: seconds between reads of the course catalogue.
        completions_interval: seconds between reads of the recent completions.
        sweep_interval: seconds between reads of all completions; the first is made at the start.
        recent_report_id: custom report of recent completions; if none, it is found by its name.
        recent_report_name: its name.
        all_report_id: custom report of all participants; if none, it is found by its name.
        all_report_name: its name.
        headings: headings of the columns needed, where they are not the English ones.
        time_formats: forms of the times in a report, in the notation of `datetime.strptime`; the first that
            fits counts.
        rest_factor: after a read the next of its kind comes no sooner than so many times its duration later,
            so that a large site is not busy with the hub all day.
        read_timeout: seconds for an answer with the catalogue, a page of a report or the learners of courses.
        page_size: rows of a report in one call.
        status_batch: completion statuses asked for in one call, where there is no report.
        opt_in_field: short name of the course custom field that switches completions on.
        first_backoff: seconds to wait after transient trouble at most; doubles with each failure.
        longest_backoff: longest such wait in seconds.
        stop_retry: seconds between tries while configuration or credentials are wrong.
    """

    tenant: TenantId
    target: Target
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    catalogue_interval: float = 60.0
    completions_interval: float = 30.0
    sweep_interval: float = 86_400.0
    rest_factor: float = 10.0
    read_timeout: float = 300.0
    recent_report_id: int | None = None
    recent_report_name: str = "Hub completions last 24h"
    all_report_id: int | None = None
    all_report_name: str = "Hub all participants"
    headings: Mapping[str, str] = field(default_factory=lambda: HEADINGS)
    time_formats: tuple[str, ...] = ("%A, %d %B %Y, %I:%M %p",)
    page_size: int = 5_000
    status_batch: int = 100
    opt_in_field: str = "completion_opt_in"
    first_backoff: float = 2.0
    longest_backoff: float = 300.0
    stop_retry: float = 60.0
