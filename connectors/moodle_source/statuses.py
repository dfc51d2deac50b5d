"""Answers of completion status calls as completions: the way without a report."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from schemas.ids import CourseId, PersonId
from schemas.moodle import CompletionObserved

_ANY: Final = 2  # COMPLETION_AGGREGATION_ANY of Moodle's lib/completionlib.php


def completion(
    answer: Mapping[str, Any], person: PersonId, course: CourseId, zone: ZoneInfo, today: date
) -> CompletionObserved | None:
    """Return the completion that an answer of `core_completion_get_course_completion_status` tells, if any.

    The answer has no time of completion. Where the criteria carry times, the day is taken from these (all
    needed: the last; any: the first); otherwise it is the day on which the completion was seen.

    Args:
        answer: what Moodle answered.
        person: the learner.
        course: the course.
        zone: the site's zone.
        today: the day there now.
    """
    status = answer["completionstatus"]
    if not status["completed"]:
        return None
    day = _day(status.get("completions") or (), status.get("aggregation"), zone) or today
    return CompletionObserved(person_id=person, course_id=course, completed_on=day)


def _day(criteria: Any, aggregation: object, zone: ZoneInfo) -> date | None:
    times = [one["timecompleted"] for one in criteria if one.get("complete") and one.get("timecompleted")]
    if not times:
        return None
    moment = min(times) if aggregation == _ANY else max(times)
    return datetime.fromtimestamp(moment, UTC).astimezone(zone).date()
