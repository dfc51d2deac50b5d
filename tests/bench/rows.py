"""One line of the table of measured figures."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """A measured figure beside what it has to be.

    Attributes:
        name: what was measured.
        value: the figure.
        unit: its unit; empty for a ratio.
        target: what it has to be, such as ``>= 0.9``; empty if nothing is asked of it.
    """

    name: str
    value: float
    unit: str
    target: str = ""
