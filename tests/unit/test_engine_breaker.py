from __future__ import annotations

import pytest

from infra.engine.breaker import Breaker
from infra.engine.config import SinkConfig
from infra.errors import RetryLater, Stop
from infra.telemetry import Status

CONFIG = SinkConfig(base_delay=1.0, max_delay=10.0, stop_retry_seconds=60.0)


@pytest.fixture
def status() -> Status:
    status = Status("sink")
    status.ready()
    return status


def breaker(status: Status) -> Breaker:
    return Breaker("sink", CONFIG, status, jitter=lambda _low, high: high)


def test_waits_double_up_to_the_bound_and_begin_anew_after_a_success(status: Status) -> None:
    one = breaker(status)
    assert [one.opened(RetryLater("away")) for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    one.closed()
    assert one.opened(RetryLater("away")) == 1


def test_the_other_side_is_given_the_time_it_asks_for(status: Status) -> None:
    one = breaker(status)
    assert one.opened(RetryLater("limit", retry_after=30.0)) == 30.0
    assert one.opened(RetryLater("limit", retry_after=0.1)) == 2.0


def test_its_state_is_shown(status: Status) -> None:
    one = breaker(status)
    one.trying()
    assert status.facts["breaker"] == {"state": "closed", "failures": 0}
    one.opened(RetryLater("away"))
    assert status.facts["breaker"] == {"state": "open", "failures": 1, "reason": "away", "seconds": 1.0}
    assert status.reason == "", "trouble of the other system does not make this process unready"
    one.trying()
    assert status.facts["breaker"] == {"state": "half-open", "failures": 1}
    one.closed()
    assert status.facts["breaker"] == {"state": "closed", "failures": 0}


def test_an_alarm_makes_the_process_unready_until_a_success(status: Status) -> None:
    one = breaker(status)
    assert one.alarm(Stop("the token was refused")) == 60.0
    assert status.reason == "the token was refused"
    one.closed()
    assert status.reason == ""
