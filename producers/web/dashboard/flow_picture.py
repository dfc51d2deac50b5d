"""The picture of the flow: where boxes stand, and lines that pass no box on their way from one to another."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 136
"""Of each box."""
_HEIGHT: Final = 50
_PORT: Final = 17
"""Between two lines that begin or end at the same side of a box: a label has room."""
_ACROSS: Final = 164
"""Between two columns."""
_BELOW: Final = 40
"""Between two boxes below each other."""
_MARGIN: Final = 24
_TRACK: Final = 9
"""Between two lines that run side by side."""
_CLEAR: Final = 10
"""Between a line and a box that it passes."""
_TIP: Final = 4
_LABEL: Final = 30
"""From the end of a label to the box that its line leads to; lines that lead back go up within."""


@dataclass(frozen=True, slots=True)
class Node:
    """What gets a box.

    Attributes:
        name: unlike all others.
        column: from 0, from left to right.
    """

    name: str
    column: int


@dataclass(frozen=True, slots=True)
class Box:
    """Where a box stands: its upper left corner and its height, in units of the picture."""

    name: str
    column: int
    x: int
    y: int
    height: int


@dataclass(frozen=True, slots=True)
class Line:
    """A line from one box to another.

    Attributes:
        begin: name of the box where it begins.
        end: name of the box where it ends.
        path: in SVG's words.
        x: of its label's end.
        y: of its label's foot.
    """

    begin: str
    end: str
    path: str
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Picture:
    """Boxes, lines between them, and the size of it all."""

    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    width: int
    height: int


def drawn(nodes: Sequence[Node], pairs: Iterable[tuple[str, str]]) -> Picture:
    """Return a picture of ``nodes`` with a line for each of ``pairs``, of which none leads to itself."""
    wanted = sorted(set(pairs))
    boxes = {box.name: box for box in _placed(nodes, wanted)}
    wanted.sort(key=lambda pair: (boxes[pair[0]].y, boxes[pair[1]].column, boxes[pair[1]].y))
    low = max((box.y + box.height for box in boxes.values()), default=0)
    ports = _ports(boxes, wanted)
    forth = [pair for pair in wanted if boxes[pair[0]].column < boxes[pair[1]].column]
    back = [pair for pair in wanted if pair not in forth]
    lanes = _Lanes(boxes, low + _MARGIN)
    lines = [_forth(boxes, pair, ports, lanes) for pair in forth]
    low = max(low + _MARGIN, lanes.lowest + _TRACK)
    lines += [_back(boxes, pair, ports, number, low) for number, pair in enumerate(back)]
    right = max((box.x + WIDTH for box in boxes.values()), default=0)
    height = low + (len(back) * _PORT if back else 0)
    return Picture(tuple(boxes.values()), tuple(lines), right + _MARGIN + _TRACK * len(back), height)


def _placed(nodes: Sequence[Node], pairs: Sequence[tuple[str, str]]) -> list[Box]:
    """Return boxes as high as their lines need; the columns stand around a common middle."""
    columns: dict[int, list[tuple[Node, int]]] = defaultdict(list)
    for node in nodes:
        most = max(sum(pair[side] == node.name for pair in pairs) for side in (0, 1)) if pairs else 0
        columns[node.column].append((node, max(_HEIGHT, _PORT * most + 8)))
    heights = {at: sum(high + _BELOW for _, high in held) - _BELOW for at, held in columns.items()}
    boxes = []
    for at, held in columns.items():
        y = _MARGIN + (max(heights.values()) - heights[at]) // 2
        for node, high in held:
            boxes.append(Box(node.name, at, _MARGIN + at * (WIDTH + _ACROSS), y, high))
            y += high + _BELOW
    return boxes


_Ports = dict[tuple[str, str], tuple[int, int]]


def _ports(boxes: dict[str, Box], pairs: Sequence[tuple[str, str]]) -> _Ports:
    """Return the heights at which each line begins and ends, in the order of what is at the other end."""
    found: _Ports = {}
    for side in (0, 1):
        for box in boxes.values():
            here = [pair for pair in pairs if pair[side] == box.name]
            here.sort(key=lambda pair: (_leads_back(boxes, pair), _middle(boxes[pair[1 - side]])))
            first = _middle(box) - _PORT * (len(here) - 1) // 2
            for number, pair in enumerate(here):
                y = first + _PORT * number
                found[pair] = (y, 0) if side == 0 else (found[pair][0], y)
    return found


def _leads_back(boxes: dict[str, Box], pair: tuple[str, str]) -> bool:
    return boxes[pair[0]].column >= boxes[pair[1]].column


def _middle(box: Box) -> int:
    return box.y + box.height // 2


class _Lanes:
    """Where lines may pass a column: heights at which no box stands, each for one line."""

    def __init__(self, boxes: dict[str, Box], low: int) -> None:
        self.lowest = 0
        self._free: dict[int, list[int]] = {}
        for column in {box.column for box in boxes.values()}:
            here = [box for box in boxes.values() if box.column == column]
            self._free[column] = [
                y
                for y in range(_TRACK, low + _TRACK * len(boxes) ** 2, _TRACK)
                if not any(box.y - _CLEAR < y < box.y + box.height + _CLEAR for box in here)
            ]

    def taken(self, column: int, wish: int) -> int:
        """Return the free height next to ``wish``, which is free no more."""
        free = self._free.get(column)
        if free is None:
            return wish
        found = min(free, key=lambda y: abs(y - wish))
        free.remove(found)
        self.lowest = max(self.lowest, found)
        return found


def _forth(boxes: dict[str, Box], pair: tuple[str, str], ports: _Ports, lanes: _Lanes) -> Line:
    """Return a line to the right; it passes the columns between where they have no box."""
    begin, end = boxes[pair[0]], boxes[pair[1]]
    y1, y2 = ports[pair]
    x, y = begin.x + WIDTH, y1
    path, columns = f"M{x} {y}", end.column - begin.column
    for step in range(1, columns):
        left = begin.x + step * (WIDTH + _ACROSS)
        lane = lanes.taken(begin.column + step, y1 + (y2 - y1) * step // columns)
        path += f"{_curve(x, y, left, lane)}H{left + WIDTH}"
        x, y = left + WIDTH, lane
    path += f"{_curve(x, y, end.x - _LABEL, y2)}H{end.x - _TIP}"
    return Line(*pair, path, end.x - _LABEL, y2 - 4)


def _curve(x1: int, y1: int, x2: int, y2: int) -> str:
    half = (x1 + x2) // 2
    return f"C{half} {y1} {half} {y2} {x2} {y2}"


def _back(boxes: dict[str, Box], pair: tuple[str, str], ports: _Ports, number: int, low: int) -> Line:
    """Return a line to the left: out on the right, along below everything, up before the box at its end."""
    begin, end = boxes[pair[0]], boxes[pair[1]]
    y1, y2 = ports[pair]
    right = begin.x + WIDTH + _TRACK * (number + 1)
    left = end.x - _TIP - _TRACK - number % 4 * 5
    lane = low + number * _PORT
    path = f"M{begin.x + WIDTH} {y1}H{right}V{lane}H{left}V{y2}H{end.x - _TIP}"
    return Line(*pair, path, right - _LABEL, lane - 4)
