"""The way of a request that brings records: taken in, answered for each, and the same again for the same key.

Once the answer is sent, the records are durable. A handler reads its records from the body, says by `Work`
how they are taken in, and by a function how the answers are told.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web
from sqlalchemy import Connection

from producers.candidates import Answer
from producers.web.batcher import Work
from producers.web.body import read_body
from producers.web.idempotency import REPLAYED, AnsweredError, Entry, Store, entry_of, in_progress
from producers.web.locks import LOCKS
from producers.web.services import INTAKE, SERVICES

Render = Callable[[Sequence[Answer]], bytes]
"""Returns the JSON body of the answer; called in a thread with the answers in the order of the records."""

_BIG: Final = 500
"""Answers from which on a body is made in a thread."""


async def answer(request: web.Request, work: Work, render: Render) -> web.Response:
    """Take ``work`` in and return the answer 200, or that which was given to the same request before.

    Args:
        request: its idempotency key, if it has one, counts for tenant and address.
        work: all records of the request, any number.
        render: makes the body of the answer.

    Raises:
        Problem: 400 the idempotency key cannot be used; 409 it is in use, or was used with another body;
            503 too much waits.
        RetryLater: the database is away; nothing of the last chunk is stored, and nothing was answered.
    """
    entry = entry_of(request, await read_body(request))
    if entry is None:
        return _json(await _rendered(render, await request.app[INTAKE].take_all(work)))
    return await _once(request, entry, work, render)


async def _once(request: web.Request, entry: Entry, work: Work, render: Render) -> web.Response:
    store = request.app[SERVICES].answers
    async with request.app[LOCKS].held(entry.name):
        if (before := await asyncio.to_thread(store.find, entry)) is not None:
            return _json(before, replayed=True)
        try:
            return await _first(request.app, store, entry, work, render)
        except AnsweredError:  # by another process
            if (before := await asyncio.to_thread(store.find, entry)) is None:
                raise in_progress() from None
            return _json(before, replayed=True)


async def _first(
    app: web.Application, store: Store, entry: Entry, work: Work, render: Render
) -> web.Response:
    body = b""

    def keep(connection: Connection, answers: Sequence[Answer]) -> None:
        nonlocal body
        body = render(answers)
        store.put(connection, entry, body)

    if len(work.records) <= app[INTAKE].chunk_size:
        # The key is kept with the records: of two that came at once, one waits for the other's commit.
        await app[INTAKE].take_all(work, keep)
        return _json(body)
    async with _claimed(store, entry):
        if (before := await asyncio.to_thread(store.find, entry)) is not None:
            return _json(before, replayed=True)
        await app[INTAKE].take_all(work, keep)
    return _json(body)


@asynccontextmanager
async def _claimed(store: Store, entry: Entry) -> AsyncIterator[None]:
    claim = store.claim(entry)
    await asyncio.to_thread(claim.__enter__)
    try:
        yield
    finally:
        await asyncio.to_thread(claim.__exit__, None, None, None)


async def _rendered(render: Render, answers: Sequence[Answer]) -> bytes:
    if len(answers) < _BIG:
        return render(answers)
    return await asyncio.to_thread(render, answers)


def _json(body: bytes, *, replayed: bool = False) -> web.Response:
    headers = {REPLAYED: "true"} if replayed else None
    return web.Response(body=body, content_type="application/json", headers=headers)
