"""Grades taken back: one row by POST, its correction by PUT, as the SIS's own routes do it."""

from datetime import UTC, datetime
from decimal import Decimal

import msgspec
from aiohttp import web

from infra.simulators.sis.state import CHANGEABLE, Grade, SisState


class GradeRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A grade as it is sent."""

    enrollment_id: int
    class_part_id: int
    numeric_score: Decimal | None = None
    letter_grade: str | None = None
    notes: str = ""


def add_grade_routes(app: web.Application, state: SisState) -> None:
    """Serve ``POST /grading/grades`` and ``PUT /grading/grades/{id}``."""

    async def post(request: web.Request) -> web.Response:
        row = await _row(request, state)
        if isinstance(row, web.Response):
            return row
        pair = (row.enrollment_id, row.class_part_id)
        if any((each.enrollment_id, each.class_part_id) == pair for each in state.grades.values()):
            return _error(409, "this enrolment has a grade in this part")
        number = len(state.grades) + 1
        state.grades[number] = _grade(number, row)
        return _shown(state.grades[number], 201)

    async def put(request: web.Request) -> web.Response:
        row = await _row(request, state)
        if isinstance(row, web.Response):
            return row
        before = state.grades.get(int(request.match_info["id"]))
        if before is None:
            return _error(404, "there is no such grade")
        if before.grade_status not in CHANGEABLE:
            return _error(409, "the grade is approved or final")
        state.grades[before.id] = _grade(before.id, row)
        return _shown(state.grades[before.id], 200)

    app.router.add_post("/grading/grades", post)
    app.router.add_put(r"/grading/grades/{id:\d+}", put)


async def _row(request: web.Request, state: SisState) -> GradeRow | web.Response:
    if request.headers.get("Authorization") != f"Bearer {state.credentials.grades_token}":
        return _error(401, "the token is missing or not valid")
    try:
        row = msgspec.json.decode(await request.read(), type=GradeRow)
    except msgspec.DecodeError as error:
        return _error(422, str(error))
    if row.enrollment_id not in state.enrolments or row.class_part_id not in state.parts:
        return _error(404, "there is no such enrolment or part")
    if row.numeric_score is not None and not 0 <= row.numeric_score <= 100:
        return _error(422, "numeric_score is not between 0 and 100")
    return row


def _grade(number: int, row: GradeRow) -> Grade:
    # A score of 0 counts as none, as in the SIS.
    score = row.numeric_score or None
    return Grade(
        number,
        datetime.now(UTC),
        enrollment_id=row.enrollment_id,
        class_part_id=row.class_part_id,
        numeric_score=None if score is None else round(score, 2),
        letter_grade=row.letter_grade,
        notes=row.notes,
    )


def _shown(grade: Grade, status: int) -> web.Response:
    return web.Response(body=msgspec.json.encode(grade), status=status, content_type="application/json")


def _error(status: int, detail: str) -> web.Response:
    return web.json_response({"detail": detail}, status=status)
