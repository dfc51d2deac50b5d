"""Course commands: find courses by their id number; make a missing one only where that is wished."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from connectors.moodle.client import MoodleClient
from connectors.moodle.faults import Refused, UnknownOutcome
from connectors.moodle.form import Params, fitting
from connectors.moodle_sink.batches import isolate, rival_free, together
from connectors.moodle_sink.verdicts import Ledger, Verdict, rejected
from schemas.ids import CourseId, MoodleCourseId
from schemas.moodle import Action, CourseWish, MoodleCommand, Outcome
from schemas.reasons import Reason

BY_FIELD: Final = "core_course_get_courses_by_field"
CREATE: Final = "core_course_create_courses"
CATALOGUE: Final = "core_course_get_courses"
COURSES_A_CALL: Final = 25
CATALOGUE_FROM: Final = 200
"""From so many courses on, the whole catalogue is read instead of each by its id number."""

WIDTHS: Final = {"shortname": 255, "fullname": 254, "idnumber": 100}
"""Characters that the columns of Moodle's course table hold."""

REFUSALS: Final = {
    "shortnametaken": Reason.SHORTNAME_TAKEN,
    "errorcatcontextnotvalid": Reason.CATEGORY_NOT_FOUND,
    "unknowncategory": Reason.CATEGORY_NOT_FOUND,
    "invalidparameter": Reason.INVALID_FIELD,
    "errorinvalidparam": Reason.INVALID_FIELD,
    "enddatebeforestartdate": Reason.INVALID_FIELD,
    "nostartdatenoenddate": Reason.INVALID_FIELD,
}
"""Why Moodle refuses to create one course; every other code is a plain refusal."""

Fields = Mapping[str, str | int]
New = tuple[MoodleCommand, Fields]


class CourseWriter:
    """Applies the course commands of one batch, at most one for each course."""

    def __init__(self, moodle: MoodleClient, ledger: Ledger, default_category_id: int) -> None:
        """Note every outcome in ``ledger``."""
        self._moodle = moodle
        self._ledger = ledger
        self._category = default_category_id
        self._found: dict[CourseId, set[MoodleCourseId]] = {}
        self._new: list[New] = []

    async def write(self, commands: Sequence[MoodleCommand]) -> None:
        """Apply ``commands``.

        Raises:
            RetryLater, Stop: for the batch; what had ended is in the ledger.
        """
        for command in commands:
            if not _wish(command).course_id.strip():
                self._ledger.settle(command, rejected(Reason.INVALID_FIELD))
        await self._look_up(self._ledger.open(commands))
        for command in self._ledger.open(commands):
            self._decide(command)
        for wave in rival_free(self._new, lambda new: [new[1]["shortname"]]):
            await self._create(wave)

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
        for command, answer in zip(commands, await self._moodle.multiplex(calls), strict=True):
            if isinstance(answer, Refused):
                self._ledger.settle(command, rejected(Reason.INVALID_FIELD))
            else:
                self._remember(answer["courses"])

    def _remember(self, rows: Iterable[Mapping[str, Any]]) -> None:
        for row in rows:
            self._found.setdefault(CourseId(row["idnumber"]), set()).add(MoodleCourseId(row["id"]))

    def _decide(self, command: MoodleCommand) -> None:
        """Settle ``command``, or put it among what is to be created."""
        wish = _wish(command)
        found = self._found.get(wish.course_id, set())
        if found:
            self._ledger.settle(command, _resolved(found))
        elif not wish.create:
            verdict = Verdict(outcome=Outcome.NOT_FOUND, reason=Reason.COURSE_NOT_FOUND)
            self._ledger.settle(command, verdict)
        else:
            fields = _fields(wish, self._category)
            fault = fault_of(fields)
            if fault:
                self._ledger.settle(command, rejected(fault))
            else:
                self._new.append((command, fields))

    async def _create(self, news: Sequence[New]) -> None:
        """Create courses, one request after the other: in parallel Moodle is slower at it."""
        settings, limit = self._moodle.settings, self._moodle.max_input_vars
        for part in fitting(news, settings.batch_size, limit, lambda new: len(new[1])):
            await isolate(part, self._send, self._refused)

    async def _send(self, news: Sequence[New]) -> None:
        with self._ledger.doubting((command, Action.CREATED) for command, _ in news):
            rows = await self._moodle.call(CREATE, {"courses": [fields for _, fields in news]})
            if len(rows) != len(news):
                raise UnknownOutcome("Moodle names fewer new courses than it was sent")
        for (command, _), row in zip(news, rows, strict=True):
            self._ledger.settle(command, _created(MoodleCourseId(row["id"])))

    def _refused(self, new: New, refusal: Refused) -> None:
        self._ledger.settle(new[0], rejected(REFUSALS.get(refusal.code, Reason.REFUSED)))


def _wish(command: MoodleCommand) -> CourseWish:
    if command.course is None:
        raise AssertionError
    return command.course


def _fields(wish: CourseWish, category_id: int) -> Fields:
    """Return the fields of a new course; the required ones last, so that a cut entry is refused."""
    dates = {"startdate": wish.starts_at, "enddate": wish.ends_at}
    short_name = (wish.short_name or "").strip()
    return {
        "idnumber": wish.course_id,
        **{name: int(moment.timestamp()) for name, moment in dates.items() if moment},
        "shortname": short_name,
        "fullname": (wish.full_name or short_name).strip(),
        "categoryid": category_id if wish.category_id is None else wish.category_id,
    }


def fault_of(fields: Fields) -> Reason | None:
    """Return why Moodle would surely refuse one of these fields, or none."""
    texts = {name: value for name, value in fields.items() if isinstance(value, str)}
    if any(len(value) > WIDTHS[name] for name, value in texts.items()):
        return Reason.VALUE_TOO_LONG
    if not all(texts.values()):
        return Reason.INVALID_FIELD
    return None


def _resolved(found: set[MoodleCourseId]) -> Verdict:
    if len(found) > 1:
        return Verdict(outcome=Outcome.CONFLICT, reason=Reason.COURSE_AMBIGUOUS)
    return Verdict(outcome=Outcome.UNCHANGED, moodle_course_id=min(found))


def _created(course_id: MoodleCourseId) -> Verdict:
    return Verdict(outcome=Outcome.APPLIED, action=Action.CREATED, moodle_course_id=course_id)
