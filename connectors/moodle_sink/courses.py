"""Course commands: find courses, make the missing and change the existing ones where that is wished."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from connectors.moodle.client import MoodleClient
from connectors.moodle.faults import Refused, UnknownOutcome
from connectors.moodle.form import Params, fitting, variables
from connectors.moodle_sink.batches import isolate, rival_free, together
from connectors.moodle_sink.categories import Categories
from connectors.moodle_sink.course_plan import (
    Course,
    Fields,
    Make,
    changes,
    course,
    fault_of,
    mismatch,
    new_fields,
    step,
)
from connectors.moodle_sink.groups import GroupWriter
from connectors.moodle_sink.verdicts import Ledger, Verdict, made_for, rejected
from schemas.ids import CourseId, MoodleCourseId
from schemas.moodle import Action, CourseWish, MoodleCommand, Outcome
from schemas.reasons import Reason

BY_FIELD: Final = "core_course_get_courses_by_field"
CREATE: Final = "core_course_create_courses"
UPDATE: Final = "core_course_update_courses"
CATALOGUE: Final = "core_course_get_courses"
COURSES_A_CALL: Final = 25
CATALOGUE_FROM: Final = 200
"""From so many courses on, the whole catalogue is read instead of each by its id number."""

REFUSALS: Final = {
    "shortnametaken": Reason.SHORTNAME_TAKEN,
    "errorcatcontextnotvalid": Reason.CATEGORY_NOT_FOUND,
    "unknowncategory": Reason.CATEGORY_NOT_FOUND,
    "invalidparameter": Reason.INVALID_FIELD,
    "errorinvalidparam": Reason.INVALID_FIELD,
    "enddatebeforestartdate": Reason.INVALID_FIELD,
    "nostartdatenoenddate": Reason.INVALID_FIELD,
}
"""Why Moodle refuses to create or change one course; every other code is a plain refusal."""

New = tuple[MoodleCommand, Fields]
Change = tuple[MoodleCommand, MoodleCourseId, Fields]


class CourseWriter:
    """Applies the course commands of one batch, at most one for each course."""

    def __init__(self, moodle: MoodleClient, ledger: Ledger, default_category_id: int) -> None:
        """Note every outcome in ``ledger``."""
        self._moodle = moodle
        self._ledger = ledger
        self._default_category = default_category_id
        self._categories = Categories(moodle)
        self._groups = GroupWriter(moodle, ledger)
        self._named: dict[MoodleCourseId, Course] = {}
        self._found: dict[CourseId, dict[MoodleCourseId, Course]] = {}
        self._claimed: set[MoodleCourseId] = set()
        self._new: list[New] = []
        self._changes: list[Change] = []

    async def write(self, commands: Sequence[MoodleCommand]) -> None:
        """Apply ``commands``.

        Raises:
            RetryLater, Stop: for the batch; what had ended is in the ledger.
        """
        for command in commands:
            if not _wish(command).course_id.strip():
                self._ledger.settle(command, rejected(Reason.INVALID_FIELD))
        await self._look_up_named(self._ledger.fresh(commands))
        await self._look_up([one for one in self._ledger.fresh(commands) if not self._is_right(_wish(one))])
        steps = [(one, self._step(_wish(one))) for one in self._ledger.fresh(commands)]
        await self._categories.make([_wish(one) for one, todo in steps if _needs_category(_wish(one), todo)])
        for command, todo in steps:
            self._decide(command, todo)
        await self._update()  # first: it may free short names
        for wave in rival_free(self._new, lambda new: [new[1]["shortname"]]):
            await self._create(wave)
        await self._groups.write(self._ledger.held(commands))

    async def _look_up_named(self, commands: Sequence[MoodleCommand]) -> None:
        ids = sorted({one.moodle_course_id for one in map(_wish, commands) if one.moodle_course_id})
        for part in fitting(ids, self._moodle.settings.batch_size, self._moodle.max_input_vars):
            rows = await self._moodle.call(CATALOGUE, {"options": {"ids": part}})
            self._named |= {one.id: one for one in map(course, rows) if one.category}

    def _is_right(self, wish: CourseWish) -> bool:
        """Whether the course that the wish names by Moodle's id carries its id number."""
        named = self._named.get(wish.moodle_course_id) if wish.moodle_course_id else None
        return named is not None and named.idnumber == wish.course_id

    async def _look_up(self, commands: Sequence[MoodleCommand]) -> None:
        if len(commands) >= CATALOGUE_FROM:
            self._remember(await self._moodle.call(CATALOGUE, {}))
            return
        parts = range(0, len(commands), COURSES_A_CALL)
        await together(self._look_up_each(commands[at : at + COURSES_A_CALL]) for at in parts)

    async def _look_up_each(self, commands: Sequence[MoodleCommand]) -> None:
        calls: list[tuple[str, Params]] = [
            (BY_FIELD, {"field": "idnumber", "value": _wish(command).course_id}) for command in commands
        ]
        with made_for(commands):
            answers = await self._moodle.multiplex(calls)
        for command, answer in zip(commands, answers, strict=True):
            if isinstance(answer, Refused):
                self._ledger.settle(command, rejected(Reason.INVALID_FIELD))
            else:
                self._remember(answer["courses"])

    def _remember(self, rows: Iterable[Mapping[str, Any]]) -> None:
        for found in map(course, rows):
            self._found.setdefault(CourseId(found.idnumber), {})[found.id] = found

    def _step(self, wish: CourseWish) -> Verdict | Make | Course:
        named = self._named.get(wish.moodle_course_id) if wish.moodle_course_id else None
        return step(wish, named, list(self._found.get(wish.course_id, {}).values()))

    def _decide(self, command: MoodleCommand, todo: Verdict | Make | Course) -> None:
        """Settle ``command``, or put it among what is to be created or changed."""
        if isinstance(todo, Verdict):
            self._ledger.settle(command, todo)
            return
        wish = _wish(command)
        category = self._categories.of(wish) if _needs_category(wish, todo) else wish.category_id
        if isinstance(category, Reason):
            known = todo.id if isinstance(todo, Course) else None
            self._ledger.settle(command, rejected(category, moodle_course_id=known))
        elif isinstance(todo, Make):
            self._decide_new(command, self._default_category if category is None else category)
        else:
            self._decide_existing(command, todo, category)

    def _decide_new(self, command: MoodleCommand, category_id: int) -> None:
        fields = new_fields(_wish(command), category_id)
        fault = fault_of(fields, _wish(command).custom_fields)
        if fault:
            self._ledger.settle(command, rejected(fault))
        else:
            self._new.append((command, fields))

    def _decide_existing(self, command: MoodleCommand, there: Course, category_id: int | None) -> None:
        fields = changes(_wish(command), there, category_id)
        fault = fault_of(fields, _wish(command).custom_fields)
        if fault:
            self._ledger.settle(command, rejected(fault, moodle_course_id=there.id))
        elif there.id in self._claimed:
            self._ledger.settle(command, mismatch(there.id))
        elif fields:
            self._changes.append((command, there.id, fields))
        else:
            self._reached(command, Verdict(outcome=Outcome.UNCHANGED, moodle_course_id=there.id))
        self._claimed.add(there.id)

    def _reached(self, command: MoodleCommand, verdict: Verdict) -> None:
        """Settle ``command``; hold it if its groups are still to be seen to."""
        if _wish(command).groups:
            self._ledger.hold(command, verdict)
        else:
            self._ledger.settle(command, verdict)

    async def _create(self, news: Sequence[New]) -> None:
        """Create courses, one request after the other: in parallel Moodle is slower at it."""
        settings, limit = self._moodle.settings, self._moodle.max_input_vars
        for part in fitting(news, settings.batch_size, limit, lambda new: variables(new[1])):
            await isolate(part, self._send_new, self._not_created)

    async def _send_new(self, news: Sequence[New]) -> None:
        with self._ledger.doubting((command, Action.CREATED) for command, _ in news):
            rows = await self._moodle.call(CREATE, {"courses": [fields for _, fields in news]})
            if len(rows) != len(news):
                raise UnknownOutcome("Moodle names fewer new courses than it was sent")
        for (command, _), row in zip(news, rows, strict=True):
            self._reached(command, _done(Action.CREATED, MoodleCourseId(row["id"])))

    def _not_created(self, new: New, refusal: Refused) -> None:
        self._ledger.settle(new[0], rejected(REFUSALS.get(refusal.code, Reason.REFUSED)))

    async def _update(self) -> None:
        """Change courses, one request after the other: in parallel Moodle is slower at it."""
        settings, limit = self._moodle.settings, self._moodle.max_input_vars
        for part in fitting(
            self._changes, settings.batch_size, limit, lambda change: 1 + variables(change[2])
        ):
            await isolate(part, self._send_changes, self._not_changed)

    async def _send_changes(self, todo: Sequence[Change]) -> None:
        courses: list[Params] = [{"id": course_id, **fields} for _, course_id, fields in todo]
        with self._ledger.doubting((command, Action.UPDATED) for command, _, _ in todo):
            answer = await self._moodle.call(UPDATE, {"courses": courses})
        warned = {row["itemid"]: str(row["warningcode"]) for row in answer["warnings"]}
        for change in todo:
            code = warned.get(change[1])
            if code == "dmlwriteexception" and len(todo) > 1:
                await self._send_changes([change])  # a deadlock does not come back when tried alone
            elif code is not None:
                self._warned(change, code)
            else:
                self._reached(change[0], _done(Action.UPDATED, change[1]))

    def _not_changed(self, change: Change, refusal: Refused) -> None:
        self._warned(change, refusal.code)

    def _warned(self, change: Change, code: str) -> None:
        reason = REFUSALS.get(code, Reason.REFUSED)
        self._ledger.settle(change[0], rejected(reason, moodle_course_id=change[1]))


def _wish(command: MoodleCommand) -> CourseWish:
    if command.course is None:
        raise AssertionError
    return command.course


def _needs_category(wish: CourseWish, todo: Verdict | Make | Course) -> bool:
    """Whether the path of categories matters: for a new course, and one that may have to be moved."""
    return bool(wish.categories) and (isinstance(todo, Make) or (isinstance(todo, Course) and wish.update))


def _done(action: Action, course_id: MoodleCourseId) -> Verdict:
    return Verdict(outcome=Outcome.APPLIED, action=action, moodle_course_id=course_id)
