"""What a source hands to the application: its routes, each with the right it needs."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from aiohttp import web

from schemas.ids import TenantId

TENANT: Final = web.RequestKey("tenant", TenantId)
"""``request[TENANT]``: the tenant the request is about."""
KEY: Final = web.RequestKey("key", str)
"""``request[KEY]``: id of the API key that asks; absent where no key was needed."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Scope(StrEnum):
    """What an API key may be used for."""

    SYNC = "sync"
    EVENTS = "events"
    READ = "read"
    OPERATOR = "operator"
    ADMIN = "admin"


IMPLIED: Final[Mapping[Scope, frozenset[Scope]]] = {
    Scope.ADMIN: frozenset({Scope.OPERATOR, Scope.READ}),
    Scope.OPERATOR: frozenset({Scope.READ}),
}
"""What else a key may do that may do this."""


def permits(scopes: Collection[Scope], wanted: Scope) -> bool:
    """Tell whether a key with ``scopes`` may do ``wanted``."""
    return wanted in scopes or any(wanted in IMPLIED.get(scope, ()) for scope in scopes)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the query, for the documentation; the handler checks it itself.

    Attributes:
        name: as in the address.
        schema: of its values, JSON Schema.
        about: one sentence.
        is_list: may be given several times.
    """

    name: str
    schema: Mapping[str, Any]
    about: str = ""
    is_list: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One route, mounted under ``/v1`` and ``/api/v1``.

    The handler finds ``request[TENANT]``; it raises `Problem` for what it refuses.

    Attributes:
        method: such as ``POST``.
        path: after the prefix, in aiohttp's notation, such as ``/sync/{kind}``.
        handler: answers the request.
        scope: what the key must be allowed; none: no key is needed, or the handler authenticates itself.
            ``request[TENANT]`` is then what the header says (or the default), unproven.
        summary: one line for the documentation.
        tag: heading in the documentation.
        body: type of the request's body, for the documentation; the handler checks it itself.
        answer: type of the body of the answer 200.
        description: more about it, in Markdown.
        idempotent: it goes through `producers.web.answering`, so takes an ``Idempotency-Key``.
        values: what variables of the path may be, for the documentation; the handler checks it itself.
        query: parameters of the query. One of the name ``tenant`` names the tenant as the header does.
        exports: the answer 200 can be had as CSV too.
        known_as: also served at this address, without prefix, by which older programs know it.
    """

    method: str
    path: str
    handler: Handler
    scope: Scope | None
    summary: str
    tag: str
    body: Any = None
    answer: Any = None
    description: str = ""
    idempotent: bool = False
    values: Mapping[str, Sequence[str]] = field(default_factory=dict)
    query: Sequence[Parameter] = ()
    exports: bool = False
    known_as: str = ""
