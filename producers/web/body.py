"""Reading the body of a request: of bounded size, and never a reason for a 5xx."""

import asyncio
from http import HTTPStatus
from typing import Any, Final

import msgspec
from aiohttp import ClientError, web

from producers.web.problems import Problem

_BIG: Final = 256 * 1024
"""Bytes from which on a body is decoded in a thread."""
_NESTS: Final = frozenset({dict, list})
MAX_DEPTH: Final = 100
"""Lists and objects within one another. Further on, records pass through functions that call themselves."""


async def read_body(request: web.Request) -> bytes:
    """Return the whole body, decompressed; a second call returns the same.

    Raises:
        Problem: it is too large (413) or did not arrive as a whole (400).
    """
    limit = request.client_max_size
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise _too_large(limit) from None
    except (ClientError, web.RequestPayloadError, OSError, ValueError) as error:
        detail = f"The body could not be read ({type(error).__name__})."
        # What follows on the connection cannot be told from the rest of the body.
        raise Problem(HTTPStatus.BAD_REQUEST, detail, headers={"Connection": "close"}) from None


async def read_json(request: web.Request) -> Any:
    """Return the body as JSON values.

    Raises:
        Problem: 400 broken or no JSON, 413 too large, 415 in an unknown character set.
    """
    body = await read_body(request)
    if len(body) < _BIG:
        return decoded(body, request.charset)
    return await asyncio.to_thread(decoded, body, request.charset)


def decoded(body: bytes, charset: str | None = None) -> Any:
    """Return the JSON values in ``body``.

    Raises:
        Problem: see `read_json`.
    """
    if not body.strip():
        raise Problem(HTTPStatus.BAD_REQUEST, "The body is empty; JSON is needed.")
    try:
        text = _utf8(body, charset)
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError) as error:
        where = error if isinstance(error, msgspec.DecodeError) else "wrong character set"
        raise Problem(HTTPStatus.BAD_REQUEST, f"The body is not JSON: {where}.") from None
    except RecursionError:
        raise _too_deep() from None
    if text.count(b"[") + text.count(b"{") > MAX_DEPTH and _is_deeper(found, MAX_DEPTH):
        raise _too_deep()
    return found


def _is_deeper(value: Any, limit: int) -> bool:
    """Tell whether lists and objects are nested more than ``limit`` deep; level by level, so of any depth."""
    level = [value] if type(value) in _NESTS else []
    for _ in range(limit):
        level = [
            inner
            for each in level
            for inner in (each if type(each) is list else each.values())
            if type(inner) in _NESTS
        ]
        if not level:
            return False
    return True


def _too_deep() -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, "The JSON is nested too deeply.")


def _utf8(body: bytes, charset: str | None) -> bytes:
    body = body.removeprefix(b"\xef\xbb\xbf")
    if charset is None or charset.lower().replace("_", "-") in ("utf-8", "utf8", "us-ascii"):
        return body
    try:
        return body.decode(charset).encode()
    except LookupError:
        detail = "The character set of the body is not known."
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail) from None


def _too_large(limit: int) -> Problem:
    detail = f"The body is larger than {limit} bytes."
    return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, title="Content Too Large")
