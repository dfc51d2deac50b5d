"""Fetches the jars of the embedded Kafka and schema registry with Maven.

`python -m infra.embedded.jars` fills `.rosterhub/jars` once; Maven's own settings decide where from.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import sys
from pathlib import Path

from infra.embedded.errors import EmbeddedError
from infra.embedded.process import run_logged

POM = Path(__file__).with_name("pom.xml")
DEFAULT_DATA = Path(".rosterhub")


def main() -> int:
    """Fill the default folder; the exit code is 1 after one line that says what is missing."""
    try:
        ensure(DEFAULT_DATA / "jars")
    except EmbeddedError as error:
        print(error.message, file=sys.stderr)
        return 1
    return 0


def locate(data: Path) -> Path:
    """Give the folder of the jars: the data folder's own, else the project's.

    Raises:
        EmbeddedError: They were not fetched yet.
    """
    project = POM.parents[2]
    for base in (data, DEFAULT_DATA, project / DEFAULT_DATA):
        if is_complete(base / "jars"):
            return (base / "jars").resolve()
    raise EmbeddedError("the jars of Kafka and the registry are missing: fetch them with `make setup`")


def is_complete(folder: Path) -> bool:
    """Tell whether the folder holds what today's `pom.xml` asks for."""
    marker = folder / ".complete"
    return marker.is_file() and marker.read_text().strip() == _fingerprint()


def ensure(folder: Path) -> None:
    """Fetch the jars into the folder unless they are there; the second time asks nothing of Maven.

    Raises:
        EmbeddedError: Java or Maven is missing, or Maven failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_complete(folder):
            _fill(folder)
        # Touched in any case: make compares its time with that of the pom.
        (folder / ".complete").write_text(_fingerprint() + "\n")


def _fill(folder: Path) -> None:
    programs = {name: program_path(name) for name in ("java", "mvn")}
    for part in ("kafka", "registry", ".markers"):
        shutil.rmtree(folder / part, ignore_errors=True)
    log = folder / "maven.log"
    target = f"-Djars={folder.resolve()}"
    if not run_logged([programs["mvn"], "-B", "-ntp", "-f", str(POM), target, "generate-resources"], log):
        message = f"Maven could not fetch the jars of Kafka and the registry; read {log}"
        raise EmbeddedError(message)


def program_path(name: str) -> str:
    """Find a program on the PATH.

    Raises:
        EmbeddedError: It is not there.
    """
    path = shutil.which(name)
    if path is None:
        wanted = {"java": "Java 17 or newer", "mvn": "Maven"}[name]
        message = f"{wanted} is needed for the embedded Kafka: install it and put '{name}' on the PATH"
        raise EmbeddedError(message)
    return path


def _fingerprint() -> str:
    return hashlib.sha256(POM.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
