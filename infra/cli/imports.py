"""`hub import`: files of a SIS, or what an existing Moodle holds."""

from typing import Any

import typer
from typer.core import TyperGroup

from infra.cli.adopt_command import moodle
from infra.cli.import_command import import_


class _FilesUnlessNamed(TyperGroup):
    """Takes what is no command as files: `hub import FILE...` was there before the commands."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command for files before arguments that name none."""
        if args and args[0] not in (*self.commands, "--help"):
            args = ["files", *args]
        return super().parse_args(ctx, args)


imports = typer.Typer(
    cls=_FilesUnlessNamed,
    help="CSV files of a SIS (`hub import FILE...`), or the accounts and courses of an existing Moodle.",
    no_args_is_help=True,
)
imports.command("files")(import_)
imports.command("moodle")(moodle)
