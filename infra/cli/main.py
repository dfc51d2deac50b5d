"""The command ``hub``.

Exit status: 0 done, 1 failed, 2 bad arguments or settings, 3 refused for safety, 4 a service is away;
128 and more: ended by a signal before all was done, 130 by Ctrl-C.
"""

import signal
import sys
from collections.abc import Sequence
from types import FrameType

import typer
from pydantic import ValidationError

from infra.cli.cleanup_command import clean, moodle_cleanup
from infra.cli.config_commands import config
from infra.cli.conflicts_commands import conflicts
from infra.cli.connection_command import check_connections, moodle_sync
from infra.cli.dlq_commands import dlq
from infra.cli.imports import imports
from infra.cli.keys_commands import keys
from infra.cli.mapping_commands import mapping, selection
from infra.cli.parked_commands import parked
from infra.cli.pull_commands import pull
from infra.cli.rebuild_command import rebuild
from infra.cli.reconcile_command import reconcile_, sync_courses, sync_users
from infra.cli.replay_command import replay
from infra.cli.run_commands import demo, run
from infra.cli.runs_commands import runs
from infra.cli.schedule_commands import schedule
from infra.cli.state_command import state
from infra.cli.sync_commands import sync
from infra.cli.topics_commands import topics
from infra.cli.trace_command import trace
from infra.embedded.commands import dev
from infra.embedded.errors import EmbeddedError
from infra.errors import BadArgument, HubError, RetryLater, Unsafe

app = typer.Typer(
    help="Rosterhub: changes in ELM, Zoho and the SIS reach Moodle, completions go back, by events on Kafka.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(run)
app.command()(demo)
app.command()(rebuild)
app.command()(trace)
app.command()(state)
app.add_typer(replay, name="replay")
app.add_typer(dev, name="dev")
app.add_typer(topics, name="topics")
app.add_typer(imports, name="import")
app.command("reconcile")(reconcile_)
app.command("test-connection")(check_connections)
app.add_typer(moodle_sync, name="moodle_sync", hidden=True)
app.add_typer(schedule, name="schedule")
app.add_typer(runs, name="runs")
app.command("cleanup")(clean)
app.command("moodle_cleanup", hidden=True)(moodle_cleanup)
app.add_typer(config, name="config")
app.add_typer(keys, name="keys")
app.add_typer(pull, name="pull")
app.add_typer(dlq, name="dlq")
app.add_typer(mapping, name="mapping")
app.add_typer(selection, name="selection")
app.add_typer(parked, name="parked")
app.add_typer(conflicts, name="conflicts")
app.add_typer(sync, name="sync")
sync.command("users")(sync_users)
sync.command("courses")(sync_courses)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; every failure that is not a bug ends with one clear line."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores one of them
            signal.signal(number, _end)
    try:
        app(args=arguments)
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            print(f"{name}: {problem['msg']}", file=sys.stderr)
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
