"""The ELM stand-in as a process: says where it answers, keeps what was added, ends on SIGTERM."""

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def _running(data_file: Path) -> Iterator[dict[str, Any]]:
    command = [sys.executable, "-m", "infra.simulators.elm", "--token", "t", "--records", "50"]
    with subprocess.Popen(
        [*command, "--feed", "1.4", "--data-file", str(data_file)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == 0


def _call(url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"x-cdata-authtoken": "t"})
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


def test_process_keeps_what_was_added(tmp_path: Path) -> None:
    with _running(tmp_path / "elm.jsonl") as said:
        assert said["records"] == 50
        value = _call(said["feed"])["value"]
        assert len(value) == 50
        assert "record_enrol_id" not in value[0]
        assert _call(said["control"] + "/records", {"records": [{"GUID": "late"}]})["appended"] == 1
    with _running(tmp_path / "elm.jsonl") as said:
        assert _call(said["feed"])["value"][-1] == {"GUID": "late"}
