"""The command ``hub``.

Exit status: 0 done, 1 failed, 2 bad arguments or settings, 3 refused for safety, 4 a service is away;
128 and more: ended by a signal before all was done, 130 by Ctrl-C.
"""

import signal
import sys
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Final

import typer
from pydantic import ValidationError

from infra.cli.lazy import lazy_group
from infra.embedded.errors import EmbeddedError
from infra.errors import BadArgument, HubError, RetryLater, Unsafe
from infra.settings import problems

COMMANDS: Final[Mapping[str, str]] = {
    "run": "infra.cli.run_commands:run",
    "demo": "infra.cli.run_commands:demo",
    "setup": "infra.cli.setup_command:setup",
    "rebuild": "infra.cli.rebuild_command:rebuild",
    "trace": "infra.cli.trace_command:trace",
    "state": "infra.cli.state_command:state",
    "reconcile": "infra.cli.reconcile_command:reconcile_",
    "test-connection": "infra.cli.connection_command:check_connections",
    "cleanup": "infra.cli.cleanup_command:clean",
    "moodle_cleanup": "infra.cli.cleanup_command:moodle_cleanup",
    "replay": "infra.cli.replay_command:replay",
    "dev": "infra.embedded.commands:dev",
    "topics": "infra.cli.topics_commands:topics",
    "import": "infra.cli.imports:imports",
    "moodle_sync": "infra.cli.connection_command:moodle_sync",
    "schedule": "infra.cli.schedule_commands:schedule",
    "runs": "infra.cli.runs_commands:runs",
    "alerts": "infra.cli.alerts_commands:alerts",
    "config": "infra.cli.config_commands:config",
    "keys": "infra.cli.keys_commands:keys",
    "users": "infra.cli.users_commands:users",
    "pull": "infra.cli.pull_commands:pull",
    "dlq": "infra.cli.dlq_commands:dlq",
    "mapping": "infra.cli.mapping_commands:mapping",
    "selection": "infra.cli.mapping_commands:selection",
    "parked": "infra.cli.parked_commands:parked",
    "conflicts": "infra.cli.conflicts_commands:conflicts",
    "sync": "infra.cli.sync_commands:sync",
}
"""Every command by its name: the module that is imported when it is called, and its function or group."""

_OLDER_NAMES: Final = frozenset({"moodle_cleanup", "moodle_sync"})

app = typer.Typer(
    cls=lazy_group(COMMANDS, hidden=_OLDER_NAMES),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def hub() -> None:
    """Rosterhub: changes in ELM, Zoho and the SIS reach Moodle, completions go back, by events on Kafka."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; every failure that is not a bug ends with one clear line."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores one of them
            signal.signal(number, _end)
    try:
        app(args=arguments)
    except ValidationError as error:
        print(*problems(error), sep="\n", file=sys.stderr)
        sys.exit(2)
    except (HubError, EmbeddedError) as error:
        print(error, file=sys.stderr)
        sys.exit(_status(error))


def _status(error: Exception) -> int:
    statuses: dict[type[Exception], int] = {BadArgument: 2, Unsafe: 3, RetryLater: 4}
    return next((status for kind, status in statuses.items() if isinstance(error, kind)), 1)


def _end(number: int, _frame: FrameType | None) -> None:
    """Leave in order, so that services that are just being started are stopped again."""
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
