"""The documentation: the OpenAPI document, and Swagger UI and ReDoc that show it, all served from here.

The assets come from the package ``drf-spectacular-sidecar``, which carries both programs and follows their
releases; nothing of it is imported. The pages load nothing from elsewhere, and their policy forbids it.
"""

import hashlib
from collections.abc import Mapping
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import msgspec
from aiohttp import web

from producers.web.problems import Problem
from producers.web.routes import Handler

_PACKAGE: Final = "drf_spectacular_sidecar"
_FILES: Final[Mapping[str, tuple[str, str]]] = {
    "swagger-ui.css": ("swagger-ui-dist/swagger-ui.css", "text/css"),
    "swagger-ui-bundle.js": ("swagger-ui-dist/swagger-ui-bundle.js", "text/javascript"),
    "favicon.png": ("swagger-ui-dist/favicon-32x32.png", "image/png"),
    "redoc.standalone.js": ("redoc/bundles/redoc.standalone.js", "text/javascript"),
}
# Both programs set styles on their elements; ReDoc searches in a worker made of a blob.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_DAY: Final = "public, max-age=86400"
_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Rosterhub API</title>
<link rel="icon" href="docs/assets/favicon.png">
{head}
</head>
<body>
<div id="page"></div>
{scripts}
</body>
</html>
"""
_SWAGGER: Final = """"use strict";
window.ui = SwaggerUIBundle({
  url: new URL("openapi.json", document.baseURI).href,
  dom_id: "#page",
  deepLinking: true,
  persistAuthorization: false,
  validatorUrl: null,
});
"""
_REDOC: Final = """"use strict";
Redoc.init(new URL("openapi.json", document.baseURI).href, {}, document.getElementById("page"));
"""


def mount(app: web.Application, document: Mapping[str, Any]) -> None:
    """Serve ``document`` at ``/openapi.json`` and its pages at ``/docs`` and ``/redoc``."""
    style = '<link rel="stylesheet" href="docs/assets/swagger-ui.css">'
    app.router.add_get("/openapi.json", _fixed(msgspec.json.encode(document), "application/json"))
    app.router.add_get("/docs", _page(style, "swagger-ui-bundle.js", "swagger.js"))
    app.router.add_get("/redoc", _page("", "redoc.standalone.js", "redoc.js"))
    app.router.add_get("/docs/assets/swagger.js", _fixed(_SWAGGER.encode(), "text/javascript"))
    app.router.add_get("/docs/assets/redoc.js", _fixed(_REDOC.encode(), "text/javascript"))
    app.router.add_get("/docs/assets/{name}", _asset)


def assets() -> Path | None:
    """Return the folder of the assets, or none if the package is not installed."""
    found = find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        return None
    return Path(found.submodule_search_locations[0]) / "static" / _PACKAGE


def _page(head: str, *scripts: str) -> Handler:
    tags = "\n".join(f'<script src="docs/assets/{name}"></script>' for name in scripts)
    return _fixed(_PAGE.format(head=head, scripts=tags).encode(), "text/html")


def _fixed(body: bytes, content_type: str) -> Handler:
    """Return a handler that always answers ``body``, or 304 to who has it."""
    tag = hashlib.sha256(body).hexdigest()[:32]

    async def answer(request: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache", "ETag": f'"{tag}"'}
        if any(etag.value == tag for etag in request.if_none_match or ()):
            return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
        return web.Response(body=body, content_type=content_type, charset="utf-8", headers=headers)

    return answer


async def _asset(request: web.Request) -> web.StreamResponse:
    path, content_type = _FILES.get(request.match_info["name"], (None, ""))
    folder = assets()
    if path is None or folder is None:
        raise Problem(HTTPStatus.NOT_FOUND, "There is no such part of the documentation.")
    headers = {"Content-Type": content_type, "Cache-Control": _DAY}
    return web.FileResponse(folder / path, headers=headers)
