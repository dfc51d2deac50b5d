"""Faults that the tests with hostile requests have found, one by one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from producers.sis import push
from producers.sis.records import Refused
from producers.web.body import MAX_DEPTH, decoded
from producers.web.openapi import document
from producers.web.problems import Problem
from producers.web.routes import Route, Scope
from producers.web.settings import WebSettings

NOW = datetime(2026, 2, 1, tzinfo=UTC)


def lists(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def objects(depth: int) -> bytes:
    return b'{"a":' * (depth - 1) + b"{}" + b"}" * (depth - 1)


@pytest.mark.parametrize("nested", [lists, objects])
def test_json_is_nested_to_a_limit_only(nested: Any) -> None:
    decoded(nested(MAX_DEPTH))
    for depth in (MAX_DEPTH + 1, 500, 100_000):
        with pytest.raises(Problem, match="nested too deeply") as refused:
            decoded(nested(depth))
        assert refused.value.status == 400
    wide = b"[" + b",".join([lists(MAX_DEPTH - 1)] * 5) + b"]"
    assert len(decoded(wide)) == 5


def test_the_limit_counts_in_any_character_set() -> None:
    body = lists(500).decode().encode("utf-7")
    with pytest.raises(Problem, match="nested too deeply"):
        decoded(body, "utf-7")


@pytest.mark.parametrize("charset", ["undefined", "idna", "punycode", "utf-16", "ascii"])
def test_a_body_that_its_character_set_does_not_allow_is_refused(charset: str) -> None:
    with pytest.raises(Problem, match="wrong character set") as refused:
        decoded(b'{"a":"\xff\xfe"}\xff', charset)
    assert refused.value.status == 400


def test_half_of_a_surrogate_pair_is_no_text_in_any_character_set() -> None:
    with pytest.raises(Problem, match="wrong character set"):
        decoded(b'"\\ud800"', "unicode_escape")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("updated_at", "0001-01-01T00:00:00+23:59"),
        ("updated_at", "9999-12-31T23:59:59-23:59"),
        ("updated_at", "1899-12-31T23:59:59Z"),
        ("start_date", "0001-01-01"),
        ("end_date", "9999-12-31"),
    ],
)
def test_a_time_far_from_ours_is_refused_for_its_record_alone(field: str, value: str) -> None:
    found = push.to_record("terms", {"id": "t", "code": "t", field: value}, NOW)
    assert isinstance(found, Refused)
    assert (found.id, found.field) == ("t", field)


@pytest.mark.parametrize("name", ["a\0b", "\0", "x" * 100_000])
def test_an_unknown_field_is_told_as_it_can_be_kept(name: str) -> None:
    found = push.to_record("terms", {"id": "t", "code": "t", name: 1}, NOW)
    assert isinstance(found, Refused)
    assert "\0" not in found.field + found.reason
    assert max(len(found.field), len(found.reason)) <= 200


async def _nothing(_: Any) -> Any:
    return None


def test_what_a_tenants_name_may_be_is_described() -> None:
    described = document([Route("GET", "/x", _nothing, Scope.READ, "X", "x")], WebSettings())
    (tenant,) = described["paths"]["/x"]["get"]["parameters"]
    assert tenant["schema"]["pattern"] == "^[!-~]([ -~]*[!-~])?$"
