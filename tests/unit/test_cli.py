"""The command line as a person uses it, as far as it needs no service: what it prints, its exit status."""

import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest

from infra.cli.main import main
from infra.settings import reference


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: object
    stdout: str
    stderr: str


def environment(**env: str) -> dict[str, str]:
    """Give this process's environment without settings of the hub, and with ``env``."""
    settings = {name for name, _, _ in reference()}
    return {name: value for name, value in os.environ.items() if name not in settings} | env


def hub(folder: Path, *arguments: str, **env: str) -> Done:
    """Run a command in this process, in ``folder``."""
    output, errors = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(output), redirect_stderr(errors):
        patch.setattr(os, "environ", environment(**env))
        patch.chdir(folder)
        with pytest.raises(SystemExit) as ended:
            main(arguments)
    return Done(ended.value.code, output.getvalue(), errors.getvalue())


def test_without_arguments_it_lists_the_commands(tmp_path: Path) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "infra.cli.main"],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(Path(__file__).parents[2])),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    ).stdout
    assert all(command in shown for command in ("run", "demo", "dev", "topics", "config"))


@pytest.mark.parametrize(
    ("arguments", "env", "named"),
    [
        (["run", "peple"], {}, "peple"),
        (["run"], {"MOODLE_BATCH_SIZE": "many"}, "MOODLE_BATCH_SIZE"),
        (["config", "check"], {"ELM_FEED": "1.6"}, "ELM_FEED"),
        (["demo"], {"MOODLE_URL": "https://moodle.example.org"}, "MOODLE_URL"),
        (["dev", "raise"], {}, "raise"),
    ],
)
def test_bad_arguments_and_settings_end_with_status_2_and_a_name(
    tmp_path: Path, arguments: list[str], env: dict[str, str], named: str
) -> None:
    done = hub(tmp_path, *arguments, **env)
    assert done.returncode == 2
    assert named in done.stderr
    assert "Traceback" not in done.stderr


def test_config_show_masks_secrets(tmp_path: Path) -> None:
    done = hub(
        tmp_path, "config", "show", MOODLE_API_TOKEN="hush-hush", MOODLE_URL="https://moodle.example.org"
    )
    assert done.returncode == 0
    assert "MOODLE_URL=https://moodle.example.org" in done.stdout
    assert "hush-hush" not in done.stdout + done.stderr


def test_an_unreachable_broker_ends_with_status_4_and_one_line(tmp_path: Path) -> None:
    done = hub(
        tmp_path,
        "topics",
        "diff",
        KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1",
        SCHEMA_REGISTRY_URL="http://127.0.0.1:1",
        DATABASE_URL="postgresql://127.0.0.1:1/none",
    )
    assert done.returncode == 4
    assert "Kafka brokers do not answer" in done.stderr
    assert "Traceback" not in done.stderr
