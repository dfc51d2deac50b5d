"""Moodle's form: nested parameters as flat variables, and how many entries fit into one form."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypeVar

Value = str | int | float | Mapping[str, "Value"] | Sequence["Value"]
Params = Mapping[str, Value]
T = TypeVar("T")

FRAME: Final = 3
"""Variables of every call: token, function and format."""


def flatten(params: Params) -> list[tuple[str, str]]:
    """Return ``params`` as form variables in order: ``{"users": [{"id": 4}]}`` as ``users[0][id]=4``."""
    return [pair for name, value in params.items() for pair in _pairs(name, value)]


def _pairs(name: str, value: Value) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _pairs(f"{name}[{key}]", part)
    elif isinstance(value, str | int | float):
        yield name, str(int(value)) if isinstance(value, bool) else str(value)
    else:
        for index, part in enumerate(value):
            yield from _pairs(f"{name}[{index}]", part)


def variables(value: Value) -> int:
    """Return how many form variables ``value`` makes."""
    return sum(1 for _ in _pairs("", value))


def fitting(
    items: Sequence[T], most: int, limit: int, size: Callable[[T], int] = lambda _: 1, other: int = 0
) -> list[list[T]]:
    """Split ``items``, in their order, into as few lists as can each be sent in one call.

    Args:
        items: the entries to be sent.
        most: most entries in a call.
        limit: form variables that the site takes (``max_input_vars``).
        size: the number of variables of an entry.
        other: variables of the call beside its entries and the `FRAME`.

    Returns:
        Non-empty lists. An entry that is too large alone is in a list of its own.
    """
    room = limit - FRAME - other
    lists: list[list[T]] = []
    left = count = 0
    for item in items:
        needed = size(item)
        if not lists or needed > left or count == most:
            lists.append([])
            left, count = room, 0
        lists[-1].append(item)
        left, count = left - needed, count + 1
    return lists


def entries(params: Params) -> int:
    """Return how many entries a call is about: the length of its longest list, at least 1."""
    lists = [len(v) for v in params.values() if isinstance(v, Sequence) and not isinstance(v, str)]
    return max([1, *lists])
