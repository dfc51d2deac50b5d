"""axe-core, as npm installs it once for each lock file: it finds what hinders people on a page."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Page

_HERE: Final = Path(__file__).parent
_FOLDER: Final = _HERE.parents[1] / ".rosterhub" / "axe"
_NPM: Final = ("ci", "--omit-lockfile-registry-resolved", "--ignore-scripts", "--no-audit", "--no-fund")
_SECONDS: Final = 120
_RUN: Final = """
    async () => {
        const found = await axe.run(document, {resultTypes: ["violations"]});
        return found.violations.map(({id, impact, nodes}) => (
            {id, impact, where: nodes.map((node) => node.target.join(" ") + ": " + node.failureSummary)}
        ));
    }
"""
SERIOUS: Final = frozenset({"serious", "critical"})


class Missing(Exception):
    """axe cannot be had here; the text says why."""


def source() -> str:
    """Give the text of axe; install it if need be.

    Raises:
        Missing: npm is not there, or does not get it.
    """
    lock = (_HERE / "package-lock.json").read_bytes()
    folder = _FOLDER / hashlib.sha256(lock).hexdigest()[:16]
    script = folder / "node_modules" / "axe-core" / "axe.min.js"
    if not script.exists():
        _install(folder)
    return script.read_text("utf-8")


def _install(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise Missing("npm is not there, which brings axe")
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(_HERE / name, folder)
    try:
        subprocess.run([npm, *_NPM], cwd=folder, check=True, capture_output=True, timeout=_SECONDS)
    except (subprocess.SubprocessError, OSError) as error:
        msg = f"npm does not get axe ({type(error).__name__})"
        raise Missing(msg) from None


def serious(page: Page, axe: str) -> list[dict[str, Any]]:
    """Give what hinders people seriously on the page as it is shown."""
    page.evaluate(axe)
    found: list[dict[str, Any]] = page.evaluate(_RUN)
    return [one for one in found if one["impact"] in SERIOUS]
