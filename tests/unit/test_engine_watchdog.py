from __future__ import annotations

import threading

import pytest

from infra.engine.watchdog import HUNG_EXIT_CODE, Watchdog
from infra.telemetry import Status


@pytest.mark.parametrize(("limit", "stop_limit", "is_stopped"), [(0.1, 60.0, False), (60.0, 0.1, True)])
def test_a_worker_that_hangs_or_does_not_stop_is_ended(
    limit: float, stop_limit: float, is_stopped: bool
) -> None:
    ended = threading.Event()
    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        ended.set()

    stop = threading.Event()
    if is_stopped:
        stop.set()
    with Watchdog(stop, Status("w"), limit=limit, stop_limit=stop_limit, end=end):
        assert ended.wait(20)
    assert codes == [HUNG_EXIT_CODE]


def test_a_worker_that_goes_on_is_left_alone() -> None:
    codes: list[int] = []
    status = Status("w")
    with Watchdog(threading.Event(), status, limit=60.0, stop_limit=60.0, end=codes.append) as watchdog:
        watchdog.beat()
        assert status.is_live
    assert codes == []
