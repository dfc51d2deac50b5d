"""The style sheet, scripts and pictures: read once, served under an address that holds their hash.

So browsers keep them for good, and take another version under its other address.
"""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from aiohttp import web

from producers.web.problems import Problem

TYPES: Final[Mapping[str, str]] = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
"""Content types by suffix; other files are not served."""
_FOR_GOOD: Final = "public, max-age=31536000, immutable"
_HASH_LENGTH: Final = 16


@dataclass(frozen=True, slots=True)
class Asset:
    """One file.

    Attributes:
        name: below ``static``, such as ``vendor/htmx.min.js``.
        body: its bytes.
        short: the same compressed.
        digest: by which its address differs from those of other versions.
    """

    name: str
    body: bytes = field(repr=False)
    short: bytes = field(repr=False)
    digest: str

    @property
    def address(self) -> str:
        """Where it is served."""
        return f"/static/{self.digest}/{self.name}"


@cache
def assets() -> Mapping[str, Asset]:
    """Return all files by name; they are read once."""
    found = _below(files(__package__) / "static", "")
    return {name: _asset(name, body) for name, body in found.items()}


def _below(folder: Traversable, prefix: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for one in folder.iterdir():
        if one.is_dir():
            found |= _below(one, f"{prefix}{one.name}/")
        elif one.name.endswith(tuple(TYPES)):
            found[prefix + one.name] = one.read_bytes()
    return found


def _asset(name: str, body: bytes) -> Asset:
    digest = hashlib.sha256(body).hexdigest()[:_HASH_LENGTH]
    return Asset(name, body, gzip.compress(body, mtime=0), digest)


def mount(app: web.Application, found: Mapping[str, Asset]) -> None:
    """Serve ``found`` under ``/static``."""

    async def answer(request: web.Request) -> web.Response:
        asset = found.get(request.match_info["name"])
        if asset is None or asset.digest != request.match_info["digest"]:
            raise Problem(HTTPStatus.NOT_FOUND, "There is no such file.")
        is_short = "gzip" in request.headers.get("Accept-Encoding", "")
        headers = {"Cache-Control": _FOR_GOOD, "Vary": "Accept-Encoding"}
        if is_short:
            headers["Content-Encoding"] = "gzip"
        suffix = "." + asset.name.rpartition(".")[2]
        body = asset.short if is_short else asset.body
        return web.Response(body=body, content_type=TYPES[suffix], charset="utf-8", headers=headers)

    app.router.add_get("/static/{digest}/{name:.+}", answer)
