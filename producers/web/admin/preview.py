"""The routes by which people look at a piece of ELM's feed, and take chosen records in by hand."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta
from sqlalchemy import Connection, Engine

from producers.candidates import Answer, Origin
from producers.decisions import Act, note
from producers.elm import preview
from producers.elm.preview import Choice, Previewed
from producers.elm.settings import ElmFeedSettings
from producers.elm.to_events import SOURCE
from producers.intake import Intake
from producers.web.admin import bodies
from producers.web.admin.actions import action_route
from producers.web.admin.bodies import Body, Done, DryRun, Moment, Text
from producers.web.admin.listing import BY_TENANT
from producers.web.admin.lists import Desk, answered
from producers.web.admin.threads import Threads
from producers.web.problems import Problem
from producers.web.routes import KEY, TENANT, Route
from schemas.ids import TenantId

_MOST = preview.MOST
_LOOK_ABOUT = """Records are read from ELM now, 200 at most; nothing is stored. `standing`: `DONE` (Moodle is
so), `READY`, `NEW_USER` (ready, and an account is made), `BLOCKED`, `MISMATCH` (perhaps another person's
account), `OLDER` (a newer record is kept), `INVALID`, `IGNORED`."""
_TAKE_ABOUT = """The records are read again, and those whose digest is chosen are taken in as a poll would:
what is known already is unchanged, nothing newer is replaced. The cursor of the poll does not move."""


class ChoiceBody(Body, frozen=True):
    """Which records of ELM's feed: those to which all of this applies."""

    learner: Annotated[Text | None, Meta(description="A GUID or an e-mail address")] = None
    course: Annotated[Text | None, Meta(description="ELM's number of a course, or its short name")] = None
    since: Annotated[Moment | None, Meta(description="Created after then")] = None
    until: Annotated[Moment | None, Meta(description="Created before then")] = None

    @property
    def choice(self) -> Choice:
        """The same for the feed."""
        return Choice(self.learner or "", self.course or "", self.since, self.until)


class TakeBody(ChoiceBody, frozen=True):
    """Which records are taken in."""

    records: Annotated[tuple[Text, ...], Meta(description="Digests, of the preview", max_length=_MOST)] = ()
    dry_run: DryRun = False


class PreviewRow(msgspec.Struct, frozen=True, kw_only=True):
    """One record of the feed, and what it would do."""

    digest: str
    standing: str
    reason: str | None
    enrolment_id: str | None
    person_id: str | None
    course_id: str | None
    wish: str | None
    at: datetime | None


class PreviewAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Records of the feed, and what they would do."""

    items: list[PreviewRow]
    more: bool
    """There are more than are shown: choose less."""


@dataclass(frozen=True)
class Preview:
    """ELM's feed as people look at it.

    Attributes:
        desk: reads what the hub knows.
        pool: of the hub's database.
        threads: in which records are taken in.
        feed: of ELM; none: there is none.
    """

    desk: Desk
    pool: Engine
    threads: Threads
    feed: ElmFeedSettings | None = None

    def routes(self) -> list[Route]:
        """Return the routes."""
        path = "/admin/intake/elm"
        look, take = "Look at a piece of ELM's feed", "Take chosen records of ELM's feed in"
        of_tenant = partial(action_route, query=(BY_TENANT,))
        return [
            of_tenant(f"{path}/preview", self._look, look, ChoiceBody, PreviewAnswer, _LOOK_ABOUT),
            of_tenant(f"{path}/apply", self._take, take, TakeBody, Done, _TAKE_ABOUT),
        ]

    async def look(self, tenant: TenantId, choice: Choice) -> tuple[list[Previewed], bool]:
        """Return the records of ``choice`` and what they would do, and whether there are more.

        Raises:
            Problem: this tenant has no feed (404).
            BadArgument: nothing is chosen.
            RetryLater: the feed or the database is away.
        """
        feed = self._feed_of(tenant)
        records = await preview.read(choice, feed)
        found = await self.desk.within(
            lambda cursor: preview.preview(
                records[: preview.MOST], feed, lambda pairs: preview.known_of(cursor, tenant, pairs)
            )
        )
        return found, len(records) > preview.MOST

    def _feed_of(self, tenant: TenantId) -> ElmFeedSettings:
        if self.feed is None or not self.feed.url or self.feed.tenant != tenant:
            raise Problem(HTTPStatus.NOT_FOUND, "This tenant has no feed of ELM.")
        return self.feed

    async def _look(self, request: web.Request) -> web.StreamResponse:
        body = await bodies.read(request, ChoiceBody)
        found, more = await self.look(request[TENANT], body.choice)
        return answered(PreviewAnswer(items=[shown(one) for one in found], more=more))

    async def _take(self, request: web.Request) -> web.StreamResponse:
        body, tenant = await bodies.read(request, TakeBody), request[TENANT]
        found, _ = await self.look(tenant, body.choice)
        wanted = frozenset(body.records)
        chosen = [one for one in found if one.digest in wanted]
        if body.dry_run or not chosen:
            outcomes = Counter(one.standing.value for one in chosen)
            return answered(Done(done=0, matched=len(chosen), dry_run=body.dry_run, outcomes=outcomes))
        act = Act(request[KEY], "intake.apply", f"source/{SOURCE}", tenant, body.why)
        answers = await self.threads.run(self._store, tenant, chosen, act)
        outcomes = Counter(answer.status.value for answer in answers)
        return answered(Done(done=len(answers), matched=len(chosen), outcomes=outcomes))

    def _store(self, tenant: TenantId, chosen: Sequence[Previewed], act: Act) -> list[Answer]:
        def noting(connection: Connection, answers: Sequence[Answer]) -> None:
            counts = Counter(answer.status.value for answer in answers)
            details = {status: str(count) for status, count in counts.items()}
            note(connection, [replace(act, details=details)])

        origin = Origin(tenant, SOURCE)
        return Intake(self.pool).take(origin, [one.candidate for one in chosen], noting)


def shown(found: Previewed) -> PreviewRow:
    """Return ``found`` as it is answered."""
    same = ("digest", "reason", "enrolment_id", "person_id", "course_id", "wish", "at")
    return PreviewRow(standing=found.standing.value, **{name: getattr(found, name) for name in same})
