"""The pages of the documentation, and the commands that they show."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```(sh|console)\n(.*?)^```", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a page.

    Attributes:
        page: path of the page below the folder of the project.
        words: as a shell splits it.
    """

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        """Return the command as one line."""
        return " ".join(self.words)


def blocks(page: Path) -> list[str]:
    """Give what a page has people type, block by block; of a `console` block without what is printed."""
    return [
        text if language == "sh" else "".join(re.findall(r"^\$ (.*\n)", text, re.MULTILINE))
        for language, text in _BLOCK.findall(page.read_text("utf-8"))
    ]


def commands(page: Path) -> Iterator[Command]:
    """Give the commands of a page one by one."""
    for block in blocks(page):
        for words in split(block):
            yield Command(str(page.relative_to(ROOT)), words)


def split(block: str) -> Iterator[tuple[str, ...]]:
    """Give the words of each command of a block; one may go over several lines. Comments are left out."""
    pending = ""
    for line in block.splitlines():
        pending += line
        if pending.endswith("\\"):
            pending = pending[:-1]
            continue
        try:
            words = shlex.split(pending, comments=True)
        except ValueError:  # within quotes
            pending += "\n"
            continue
        if words:
            yield tuple(words)
        pending = ""
    if pending.strip():
        msg = f"a quote is not closed: {pending}"
        raise ValueError(msg)


def anchors(text: str) -> set[str]:
    """Give the anchors of the headings of a page, as GitHub makes them."""
    found: dict[str, int] = {}
    plain = re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.DOTALL | re.MULTILINE)
    for heading in re.findall(r"^#{1,6} +(.*?) *$", plain, re.MULTILINE):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found[name] = found.get(name, -1) + 1
    return {name if not n else f"{name}-{n}" for name, last in found.items() for n in range(last + 1)}
