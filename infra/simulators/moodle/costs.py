"""How long the recorded site took: milliseconds per call and per entry, and how it bears parallel calls."""

import json
from typing import Any, NamedTuple


class Cost(NamedTuple):
    """Milliseconds per call and per entry; `speedup` is the gain in throughput of 4 parallel calls."""

    call_ms: float
    entry_ms: float
    speedup: float = 2.0
    by_result: bool = False


# Derived from the recorded rates: calls of one entry against batches, and batches against 4 in parallel.
COSTS: dict[str, Cost] = {
    "core_user_create_users": Cost(15.0, 1.77, 2.4),
    "core_user_update_users": Cost(14.6, 1.5, 2.0),
    "core_user_get_users_by_field": Cost(17.0, 2.4, 1.9),
    "enrol_manual_enrol_users": Cost(16.0, 4.2, 1.9),
    "enrol_manual_unenrol_users": Cost(13.0, 4.2, 1.9),
    "core_course_create_courses": Cost(10.0, 20.0, 0.39),
    "core_course_update_courses": Cost(11.0, 10.0, 0.39),
    "core_course_delete_courses": Cost(11.0, 340.0, 0.39),
    "core_course_get_courses": Cost(13.3, 3.5, 1.9, by_result=True),
    "core_course_get_courses_by_field": Cost(11.0, 10.0, 1.9),
    "core_completion_get_course_completion_status": Cost(14.6, 2.6),
    "core_enrol_get_enrolled_users": Cost(13.0, 1.4, 1.9, by_result=True),
    "core_enrol_get_users_courses": Cost(12.0, 4.0, 1.9, by_result=True),
    "core_reportbuilder_retrieve_report": Cost(74.0, 0.115, 1.2, by_result=True),
    "tool_mobile_call_external_functions": Cost(12.0, 0.0),
}
_DEFAULT = Cost(14.0, 0.0)

# Creating a user becomes slower by this for every user that is there already (an unindexed check).
_CREATE_MS_PER_USER = 0.26 / 1000


def milliseconds(function: str, params: Any, result: Any, entries: int, users_present: int) -> float:
    """What the call would have taken alone on the recorded site.

    Args:
        function: the web service function.
        params: its parameters; those of multiplexed calls are looked into.
        result: its answer, which decides for the reading functions.
        entries: number of entries sent.
        users_present: accounts on the site.
    """
    cost = COSTS.get(function, _DEFAULT)
    number = _rows(result) if cost.by_result else entries
    growth = _CREATE_MS_PER_USER * users_present if function == "core_user_create_users" else 0.0
    total = cost.call_ms + number * (cost.entry_ms + growth)
    if function == "tool_mobile_call_external_functions":
        requests = params.get("requests")
        inner = requests.values() if isinstance(requests, dict) else []
        total += sum(_inner(request, users_present) for request in inner)
    return total


def _inner(request: Any, users_present: int) -> float:
    try:
        function, params = request["function"], json.loads(request["arguments"])
        lists = [len(value) for value in params.values() if isinstance(value, list)]
    except (ValueError, TypeError, KeyError, AttributeError):
        return 0.0
    cost = COSTS.get(function, _DEFAULT)
    alone = milliseconds(function, params, None, max(lists, default=1), users_present)
    return max(alone - cost.call_ms, 2.0)


def _rows(result: Any) -> int:
    if isinstance(result, dict) and "data" in result:
        return len(result["data"]["rows"])
    return len(result) if isinstance(result, list) else 1


def stretched(alone_ms: float, function: str, in_progress: int) -> float:
    """The time a call takes beside others: 4 in parallel gain `speedup`, more gain nothing further."""
    speedup = COSTS.get(function, _DEFAULT).speedup
    gained = 1 + (speedup - 1) * (min(in_progress, 4) - 1) / 3
    return alone_ms * in_progress / gained
