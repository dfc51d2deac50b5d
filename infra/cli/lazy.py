"""A group of commands each of which is imported when it is called, or when help is asked for."""

from collections import UserDict
from collections.abc import Collection, Mapping
from typing import Any

from typer import Typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

from infra.cli.places import found


def lazy_group(places: Mapping[str, str], hidden: Collection[str] = ()) -> type[TyperGroup]:
    """Return the class of a group of commands, in the order of ``places``.

    Args:
        places: of each command, by its name: module and, after a colon, a function or a `typer.Typer`.
        hidden: the names that help does not list.
    """

    class LazyGroup(TyperGroup):
        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes)
            self.commands = _Commands(places, hidden)

    return LazyGroup


class _Commands(UserDict[str, Any]):
    """Commands by name; Typer finds them here, and the names alone for its "Did you mean"."""

    def __init__(self, places: Mapping[str, str], hidden: Collection[str]) -> None:
        super().__init__(places)
        self._hidden = hidden

    def __getitem__(self, name: str) -> Any:
        own = found(self.data[name])
        command = get_group(own) if isinstance(own, Typer) else _single(own)
        command.name, command.hidden = name, name in self._hidden
        return command


def _single(function: Any) -> Any:
    app = Typer(add_completion=False)
    app.command()(function)
    return get_command(app)
