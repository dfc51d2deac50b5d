"""What is kept of the simulators: ports and token for good, their size by the first who runs them."""

from __future__ import annotations

from pathlib import Path

from infra.cli.endpoints import Demo, notes_of


def test_a_command_that_only_looks_does_not_decide_how_much_the_simulators_hold(tmp_path: Path) -> None:
    looked = notes_of(tmp_path / "data", Demo())
    made = notes_of(tmp_path / "data", Demo(records=2_000, students=200))
    assert (made["records"], made["students"]) == (2_000, 200)
    assert {name: made[name] for name in ("elm_port", "token")} == {
        name: looked[name] for name in ("elm_port", "token")
    }
    assert notes_of(tmp_path / "data") == made


def test_simulators_that_have_run_keep_what_they_hold(tmp_path: Path) -> None:
    made = notes_of(tmp_path, Demo(records=2_000, students=200))
    (tmp_path / "moodle-simulator.jsonl").touch()
    assert notes_of(tmp_path, Demo()) == made
    assert notes_of(tmp_path, Demo(records=5)) == made
