"""What people do by forms: asked once more, then done by the route of the admin API that does it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import msgspec
from aiohttp import web

from infra.errors import BadArgument, Unsafe
from producers.web.admin.bodies import FIELDS, refusal
from producers.web.dashboard.guard import FIELD, TENANT_FIELD
from producers.web.dashboard.page import HUB, SESSION, Page, local_path, may, render, see
from producers.web.problems import Problem
from producers.web.routes import Scope

STEP: Final = "step"
DO: Final = "do"
BACK: Final = "back"
_OURS: Final = frozenset({FIELD, TENANT_FIELD, STEP, BACK})
_NO_CHOICE: Final = frozenset({"why", "ownerless"})
"""Fields that choose nothing by themselves."""
_WRONG: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY})


Act = Callable[[web.Request, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""Does something with the fields of a form; returns what `Deed.told` puts in words."""


def _counted(answer: Mapping[str, Any]) -> str:
    """Return what `bodies.Done` says, in words."""
    outcomes = answer.get("outcomes") or {}
    told = ", ".join(f"{words.lower().replace('_', ' ')}: {count}" for words, count in outcomes.items())
    return f"Done: {answer.get('done', 0)} of {answer.get('matched', 0)}" + (f" ({told})." if told else ".")


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that people do by a form.

    Attributes:
        path: its form is sent to; variables as in ``route``.
        title: of the page that asks once more, and of the button that leads there.
        verb: on the button that does it.
        back: where it leads afterwards, unless the form says where it came from.
        route: of the admin API that does it, without prefix.
        about: a sentence on what it does, and how it is taken back.
        act: does it where there is no route for it; refuses with `BadArgument` or `Unsafe`.
        scope: that is needed.
        method: of the route.
        previews: the route has a dry run.
        danger: it cannot be taken back.
        lists: fields that are lists.
        told: what its answer says, in words; no personal data.
    """

    path: str
    title: str
    verb: str
    back: str
    route: str = ""
    about: str = ""
    act: Act | None = None
    scope: Scope = Scope.OPERATOR
    method: str = "POST"
    previews: bool = False
    danger: bool = False
    lists: tuple[str, ...] = ()
    told: Callable[[Mapping[str, Any]], str] = _counted

    @property
    def page(self) -> Page:
        """The address that its form is sent to, for the table of pages."""
        return Page(self.path, self._sent, self.title, self.scope, method="POST")

    async def _sent(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        fields = self.fields_of([(name, text) for name, text in form.items() if isinstance(text, str)])
        back = local_path(str(form.get(BACK, "")), self.back)
        if form.get(STEP) != DO:
            return await self._ask(request, fields, back)
        try:
            answer = await self._do(request, fields)
        except Problem as problem:
            if problem.status not in _WRONG:
                raise
            return self._asking(request, fields, back, problem=problem)
        return see(request, back, self.told(answer))

    async def _ask(self, request: web.Request, fields: Mapping[str, Any], back: str) -> web.Response:
        if not self.previews:
            return self._asking(request, fields, back)
        if not fields.keys() - _NO_CHOICE:
            return see(request, back, "Nothing was chosen, so nothing was done.", "warn")
        answer = await perform(request, self.method, self.route, {**fields, "dry_run": True})
        return self._asking(request, fields, back, preview=answer)

    async def _do(self, request: web.Request, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        if self.act is None:
            answer: Mapping[str, Any] = await perform(request, self.method, self.route, fields)
            return answer
        try:
            return await self.act(request, fields)
        except (BadArgument, Unsafe) as error:
            raise refusal(error) from None

    def _asking(
        self,
        request: web.Request,
        fields: Mapping[str, Any],
        back: str,
        preview: Mapping[str, Any] | None = None,
        problem: Problem | None = None,
    ) -> web.Response:
        status = problem.status if problem else HTTPStatus.OK
        sent = [(name, one) for name, value in fields.items() for one in _each(value) if name != "why"]
        why = fields.get("why", "")
        return render(
            request,
            "deed.html",
            status,
            title=self.title,
            deed=self,
            subject=request.match_info,
            sent=sent,
            why=why,
            back=back,
            preview=preview,
            problem=problem,
        )

    def fields_of(self, form: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """Return what the route is sent of the fields of a form; those left empty are left out."""
        found: dict[str, Any] = {}
        for name, text in form:
            if name in _OURS or not text:
                continue
            if name in self.lists:
                found.setdefault(name, []).append(text)
            else:
                found[name] = text
        return found


def _each(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]


async def perform(request: web.Request, method: str, route: str, fields: Mapping[str, Any]) -> Any:
    """Have a route of the admin API do something for who asks, and return its answer.

    Args:
        request: its address has the variables of the route, and its query the parameters.
        method: of the route.
        route: its path, without prefix.
        fields: of the body; numbers and truth values may be texts.

    Raises:
        Problem: the route refuses it, or the user may not (403).
    """
    found = request.app[HUB].admin.by_path[method, route]
    if found.scope is None or not may(request[SESSION], found.scope):
        raise Problem(HTTPStatus.FORBIDDEN, "Your role may not do this.")
    request[FIELDS] = fields
    answer = await found.handler(request)
    if not isinstance(answer, web.Response) or not isinstance(answer.body, bytes):
        msg = f"{route} gives no answer of JSON"
        raise TypeError(msg)
    return msgspec.json.decode(answer.body)
