"""The ``filter`` of a OneRoster request: comparisons of fields with quoted values, joined by AND or OR."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

Test = Callable[[Mapping[str, Any]], bool]

_COMPARISON = re.compile(r"\s*([A-Za-z.]+)\s*(!=|>=|<=|=|>|<|~)\s*'([^']*)'\s*")
_JOINT = re.compile(r"\s*(AND|OR)\s*", re.IGNORECASE)
_TESTS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "=": lambda own, value: own == value,
    "!=": lambda own, value: own != value,
    ">": lambda own, value: own > value,
    ">=": lambda own, value: own >= value,
    "<": lambda own, value: own < value,
    "<=": lambda own, value: own <= value,
    "~": lambda own, value: value.lower() in own.lower(),
}


class FilterError(ValueError):
    """The filter cannot be read."""


def parse(text: str) -> Test:
    """Return the test that a filter stands for; AND and OR bind from left to right.

    Raises:
        FilterError: it is none.
    """
    test, place = _comparison(text, 0)
    while place < len(text):
        joint = _JOINT.match(text, place)
        if joint is None:
            raise FilterError("AND or OR is missing")
        following, place = _comparison(text, joint.end())
        test = _both(test, following) if joint[1].upper() == "AND" else _either(test, following)
    return test


def _comparison(text: str, place: int) -> tuple[Test, int]:
    found = _COMPARISON.match(text, place)
    if found is None:
        raise FilterError("a comparison is not readable")
    path, operator, value = found.groups()
    compare = _TESTS[operator]
    return (lambda record: compare(_value(record, path), value)), found.end()


def _value(record: Mapping[str, Any], path: str) -> str:
    value: Any = record
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return "" if value is None else str(value)


def _both(left: Test, right: Test) -> Test:
    return lambda record: left(record) and right(record)


def _either(left: Test, right: Test) -> Test:
    return lambda record: left(record) or right(record)
