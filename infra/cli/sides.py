"""The side of a conflict that Moodle is: what it has, read now; for the others see `producers.sides`.

It holds personal data: for the eyes of whoever has to decide.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from connectors.moodle.client import MoodleClient
from connectors.moodle.faults import Refused
from connectors.moodle.form import Params
from connectors.moodle.settings import MoodleSettings
from infra.cli.parts import mapping_of
from infra.cli.systems import moodle_of
from infra.errors import RetryLater
from infra.settings import Settings
from producers.held import Conflict
from producers.sides import Side
from schemas.moodle import CommandKind

_SECONDS: Final = 20.0
"""Somebody looks on."""
_USER: Final = ("id", "idnumber", "username", "email", "firstname", "lastname", "suspended", "lastaccess")
_COURSE: Final = ("id", "idnumber", "shortname", "fullname", "categoryname", "visible")


def asking(settings: Settings) -> Callable[[Conflict, Sequence[Side]], list[Side]]:
    """Return what asks the Moodle site of the tenant of a conflict; see `of_moodle`."""

    def ask(conflict: Conflict, ours: Sequence[Side]) -> list[Side]:
        target = mapping_of(settings).of(conflict.tenant).target
        site = settings if target == settings.moodle_target else settings.at_site(target)
        return of_moodle(moodle_of(site), conflict, ours)

    return ask


def of_moodle(settings: MoodleSettings, conflict: Conflict, ours: Sequence[Side]) -> list[Side]:
    """Return the accounts or courses of Moodle that stand against each other.

    Args:
        settings: of the site.
        conflict: what is in conflict.
        ours: what the sources say; a course is looked for by their short names, too.

    Raises:
        RetryLater, Stop: Moodle does not answer.
    """
    return asyncio.run(_read(settings, conflict, ours))


async def _read(settings: MoodleSettings, conflict: Conflict, ours: Sequence[Side]) -> list[Side]:
    of_user = conflict.subject is CommandKind.USER
    calls = _of_user(conflict) if of_user else _of_course(conflict, ours)
    try:
        async with asyncio.timeout(_SECONDS), MoodleClient(settings) as moodle:
            answers = await moodle.multiplex(calls)
    except TimeoutError:
        msg = f"Moodle does not answer within {_SECONDS:.0f} s"
        raise RetryLater(msg) from None
    found: dict[int, Side] = {}
    for answer in answers:
        if isinstance(answer, Refused):
            continue  # such as an id that Moodle does not know
        for row in answer if of_user else answer["courses"]:
            names = _USER if of_user else _COURSE
            found[row["id"]] = Side("moodle", {name: row[name] for name in names if row.get(name)})
    return [found[number] for number in sorted(found)]


def _of_user(conflict: Conflict) -> list[tuple[str, Params]]:
    ids = [str(one) for one in (conflict.moodle_user_id, conflict.other_moodle_user_id) if one]
    wanted = {"idnumber": [conflict.person_id or ""], "id": ids}
    return [
        ("core_user_get_users_by_field", {"field": field, "values": values})
        for field, values in wanted.items()
        if values
    ]


def _of_course(conflict: Conflict, ours: Sequence[Side]) -> list[tuple[str, Params]]:
    values = [("idnumber", conflict.course_id or "")]
    if conflict.moodle_course_id is not None:
        values.append(("id", str(conflict.moodle_course_id)))
    for side in ours:
        values += [(field, str(side.fields[field])) for field in ("shortname", "id") if field in side.fields]
    return [
        ("core_course_get_courses_by_field", {"field": field, "value": value})
        for field, value in dict.fromkeys(values)
    ]
