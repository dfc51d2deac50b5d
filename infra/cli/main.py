"""The command ``hub``. Exit status: 0 done, 1 failed, 2 bad arguments or settings, 4 a service is away.

128 and more: ended by a signal before all was done, 130 by Ctrl-C.
"""

import signal
import sys
from collections.abc import Sequence
from types import FrameType

import typer
from pydantic import ValidationError

from infra.cli.config_commands import config
from infra.cli.import_command import import_
from infra.cli.keys_commands import keys
from infra.cli.mapping_commands import mapping, selection
from infra.cli.pull_commands import pull
from infra.cli.rebuild_command import rebuild
from infra.cli.run_commands import demo, run
from infra.cli.topics_commands import topics
from infra.embedded.commands import dev
from infra.embedded.errors import EmbeddedError
from infra.errors import HubError, RetryLater

app = typer.Typer(
    help="Rosterhub: changes in ELM, Zoho and the SIS reach Moodle, completions go back, by events on Kafka.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(run)
app.command()(demo)
app.command()(rebuild)
app.add_typer(dev, name="dev")
app.add_typer(topics, name="topics")
app.command("import")(import_)
app.add_typer(config, name="config")
app.add_typer(keys, name="keys")
app.add_typer(pull, name="pull")
app.add_typer(mapping, name="mapping")
app.add_typer(selection, name="selection")


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
        sys.exit(4 if isinstance(error, RetryLater) else 1)


def _end(number: int, _frame: FrameType | None) -> None:
    """Leave in order, so that services that are just being started are stopped again."""
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
