"""The rate limit of a key."""

from __future__ import annotations

import pytest

from producers.web.limits import RateLimits


def test_without_a_limit_nobody_waits() -> None:
    limits = RateLimits(0)
    assert [limits.wait("a", 0.0) for _ in range(1_000)] == [0.0] * 1_000


def test_a_burst_passes_and_then_the_rate_counts() -> None:
    limits = RateLimits(60)
    assert [limits.wait("a", 100.0) for _ in range(6)] == [0.0] * 6
    assert limits.wait("a", 100.0) == pytest.approx(1.0)
    assert limits.wait("a", 100.5) == pytest.approx(0.5)
    assert limits.wait("a", 101.01) == 0.0
    assert limits.wait("a", 101.01) == pytest.approx(0.99)


def test_in_the_long_run_no_more_pass_than_allowed() -> None:
    limits = RateLimits(120)
    passed = sum(limits.wait("a", tenth / 10) == 0.0 for tenth in range(6_000))
    assert passed == pytest.approx(1_200, abs=15)


def test_keys_do_not_disturb_each_other() -> None:
    limits = RateLimits(1)
    assert limits.wait("a", 0.0) == 0.0
    assert limits.wait("a", 0.0) > 0.0
    assert limits.wait("b", 0.0) == 0.0


def test_a_refusal_costs_no_token() -> None:
    limits = RateLimits(60)
    for _ in range(6):
        limits.wait("a", 0.0)
    for _ in range(50):
        limits.wait("a", 0.5)
    assert limits.wait("a", 1.01) == 0.0
