"""The picture of the flow: no line runs over a box on its way, and none begins or ends where another does."""

import re
from itertools import pairwise
from typing import Final

import pytest

from producers.web.dashboard.flow_picture import WIDTH, Line, Node, Picture, drawn

COLUMNS: Final = (
    ("relay", "clock", "source"),
    ("people", "terms"),
    ("courses", "completions"),
    ("moodle", "elm"),
)
NODES: Final = [Node(name, column) for column, names in enumerate(COLUMNS) for name in names]
PAIRS: Final = {
    *((begin, end) for begin in COLUMNS[0] for end in (*COLUMNS[1], *COLUMNS[2])),
    *(("people", end) for end in ("courses", "moodle")),
    ("courses", "moodle"),
    ("completions", "elm"),
    ("moodle", "people"),
    ("moodle", "courses"),
    ("elm", "completions"),
    ("completions", "terms"),
}
_STEP: Final = re.compile(r"([MCHV])([-\d ]+)")


def corners(line: Line) -> list[tuple[int, int]]:
    """Return the points between which ``line`` runs."""
    x = y = 0
    found = []
    for kind, text in _STEP.findall(line.path):
        numbers = [int(one) for one in text.split()]
        match kind:
            case "H":
                x = numbers[0]
            case "V":
                y = numbers[0]
            case _:
                x, y = numbers[-2:]
        found.append((x, y))
    return found


@pytest.fixture(name="picture", scope="module")
def fixture_picture() -> Picture:
    return drawn(NODES, PAIRS)


def test_every_pair_has_its_line(picture: Picture) -> None:
    assert {(line.begin, line.end) for line in picture.lines} == PAIRS


def test_no_line_passes_through_a_box(picture: Picture) -> None:
    for line in picture.lines:
        for (x1, y1), (x2, y2) in pairwise(corners(line)):
            for box in picture.boxes:
                beside = max(x1, x2) <= box.x or min(x1, x2) >= box.x + WIDTH
                assert beside or max(y1, y2) < box.y or min(y1, y2) > box.y + box.height, (line, box)


def test_no_two_lines_begin_or_end_at_the_same_place(picture: Picture) -> None:
    for at in (0, -1):
        ends = [corners(line)[at] for line in picture.lines]
        assert len(set(ends)) == len(ends)


def test_all_is_within_the_picture(picture: Picture) -> None:
    for x, y in [point for line in picture.lines for point in corners(line)]:
        assert 0 < x < picture.width
        assert 0 < y < picture.height


def test_without_parts_there_is_nothing() -> None:
    assert (drawn([], []).boxes, drawn([], []).lines) == ((), ())
