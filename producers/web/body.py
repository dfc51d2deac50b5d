"""Reading the body of a request: of bounded size, and never a reason for a 5xx."""

import asyncio
from http import HTTPStatus
from typing import Any, Final

import msgspec
from aiohttp import ClientError, web

from producers.web.problems import Problem

_BIG: Final = 256 * 1024
"""Bytes from which on a body is decoded in a thread."""


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
        return msgspec.json.decode(_utf8(body, charset))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        where = error if isinstance(error, msgspec.DecodeError) else "wrong character set"
        raise Problem(HTTPStatus.BAD_REQUEST, f"The body is not JSON: {where}.") from None
    except RecursionError:
        raise Problem(HTTPStatus.BAD_REQUEST, "The JSON is nested too deeply.") from None


def _utf8(body: bytes, charset: str | None) -> bytes | str:
    body = body.removeprefix(b"\xef\xbb\xbf")
    if charset is None or charset.lower().replace("_", "-") in ("utf-8", "utf8", "us-ascii"):
        return body
    try:
        return body.decode(charset)
    except LookupError:
        detail = "The character set of the body is not known."
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail) from None


def _too_large(limit: int) -> Problem:
    detail = f"The body is larger than {limit} bytes."
    return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, title="Content Too Large")
