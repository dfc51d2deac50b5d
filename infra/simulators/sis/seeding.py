"""A seeded SIS: the same plan always gives the same people, classes and enrolments. Nobody real is meant."""

import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Final

from infra.simulators.seed_names import SCRIPTS
from infra.simulators.sis.state import Course, Enrolment, Header, Part, Person, SisState, Term

START: Final = datetime(2026, 1, 5, 1, 0, tzinfo=UTC)
_FIRST_STUDENT: Final = 18_001
_KHMER: Final = next(script for script in SCRIPTS if script.name == "khmer")
_TIMES: Final = ("MORN", "AFT", "EVE", "NIGHT")
_TERM_TYPES: Final = (("BA", "T1"), ("ENG A", "T1E"), ("MA", "T1M"))
_CURRICULUM: Final = (
    ("ACCT-101", "Principles of Accounting", "ACAD", "BA", "BUSADMIN"),
    ("ACCT-301", "Cost Accounting", "ACAD", "BA", "FIN-BANK"),
    ("TOUR-210", "Hospitality Operations", "ACAD", "BA", "TOUR-HOSP"),
    ("IR-220", "Regional Relations", "ACAD", "BA", "IR"),
    ("GESL-05", "General English 5", "LANG", "LANG", "GESL"),
    ("IEAP-02", "Academic English 2", "LANG", "LANG", "IEAP"),
    ("MBA-510", "Managing Change", "ACAD", "MASTERS", "MBA"),
    ("TESOL-330", "Teaching Practice", "ACAD", "BA", "TESOL"),
)
_STATUSES: Final = (
    ("ENROLLED", 70),
    ("ACTIVE", 8),
    ("AUDIT", 2),
    ("COMPLETED", 6),
    ("FAILED", 2),
    ("INCOMPLETE", 2),
    ("DROPPED", 4),
    ("WITHDRAWN", 3),
    ("NO_SHOW_ACADEMIC", 2),
    ("NO_SHOW_LANGUAGE", 1),
)


@dataclass(frozen=True, slots=True)
class SisPlan:
    """How much there is.

    Attributes:
        seed: decides everything random.
        students: number of students.
        teachers: number of teachers; every tenth is a student as well.
        terms: number of terms.
        classes: number of class headers over all terms.
        load: classes of each student.
        start: time of the first record; every further one is a millisecond later.
    """

    seed: int = 1
    students: int = 200
    teachers: int = 12
    terms: int = 3
    classes: int = 24
    load: int = 3
    start: datetime = START


def seeded(plan: SisPlan | None = None) -> SisState:
    """Return a SIS with the records of ``plan``."""
    chosen = plan or SisPlan()
    random = Random(chosen.seed)  # noqa: S311 - not for secrets
    state = SisState(started_at=chosen.start)
    clock = _Clock(chosen.start)
    _add_terms(state, chosen, clock)
    _add_courses(state, clock)
    _add_people(state, chosen, random, clock)
    _add_classes(state, chosen, random, clock)
    _add_enrolments(state, chosen, random, clock)
    return state


class _Clock:
    def __init__(self, start: datetime) -> None:
        self._now = start

    def __call__(self) -> datetime:
        self._now += timedelta(milliseconds=1)
        return self._now


def _add_terms(state: SisState, plan: SisPlan, clock: _Clock) -> None:
    for number in range(plan.terms):
        term_type, suffix = _TERM_TYPES[number % len(_TERM_TYPES)]
        begins = date(2026, 1, 12) + timedelta(weeks=14 * (number // len(_TERM_TYPES)))
        state.terms[number + 1] = Term(
            number + 1,
            clock(),
            code=f"{begins:%y%m%d}-{suffix}",
            term_type=term_type,
            start_date=begins,
            end_date=begins + timedelta(weeks=12),
        )


def _add_courses(state: SisState, clock: _Clock) -> None:
    for number, (code, title, division, cycle, major) in enumerate(_CURRICULUM, 1):
        state.courses[number] = Course(
            number, clock(), code=code, title=title, division=division, cycle=cycle, major=major
        )


def _add_people(state: SisState, plan: SisPlan, random: Random, clock: _Clock) -> None:
    for number in range(1, plan.students + plan.teachers + 1):
        is_student = number <= plan.students
        is_teacher = not is_student or number % 100 == 10
        given, family = random.choice(_KHMER.given), random.choice(_KHMER.family)
        student_id = _FIRST_STUDENT + number if is_student else None
        address = f"s{student_id}" if is_student else f"{given[1]}.{family[1]}{number}"
        state.people[number] = Person(
            number,
            clock(),
            unique_id=str(uuid.UUID(int=random.getrandbits(128), version=4)),
            family_name=family[1].upper(),
            personal_name=given[1].upper(),
            khmer_name=f"{family[0]} {given[0]}",
            school_email=f"{address}@uni.example" if number % 25 else None,
            personal_email=f"p{number}@mail.example" if number % 3 == 0 else None,
            student_id=student_id,
            student_status="ACTIVE" if is_student else None,
            teacher_status="ACTIVE" if is_teacher else None,
        )


def _add_classes(state: SisState, plan: SisPlan, random: Random, clock: _Clock) -> None:
    """Add class headers with one or two sessions of one or two parts; one class in twelve is combined."""
    teachers = [person.id for person in state.people.values() if person.teacher_status]
    for number in range(plan.classes):
        slot, course = divmod(number, len(state.courses))
        term = 1 + slot % max(1, len(state.terms))
        repeat = slot // max(1, len(state.terms))
        header = Header(
            number + 1,
            clock(),
            course=course + 1,
            term=term,
            section_id=chr(ord("A") + repeat % 26),
            time_of_day=_TIMES[(repeat // 26) % len(_TIMES)],
            class_type="COMBINED" if number % 12 == 11 else "STANDARD",
            status="DRAFT" if number % 10 == 9 else random.choice(("SCHEDULED", "ACTIVE", "ACTIVE")),
            combined_group=number // 12 + 1 if number % 12 in (10, 11) else None,
        )
        state.headers[header.id] = header
        sessions = 2 if state.courses[header.course].division == "LANG" else 1
        for session in range(1, sessions + 1):
            for kind in ("MAIN",) if sessions == 1 else ("GRAMMAR", "CONVERSATION"):
                part = len(state.parts) + 1
                teacher = random.choice(teachers) if teachers and random.random() < 0.9 else None
                state.parts[part] = Part(
                    part,
                    clock(),
                    header=header.id,
                    session_number=session,
                    part_type=kind,
                    teacher=teacher,
                )


def _add_enrolments(state: SisState, plan: SisPlan, random: Random, clock: _Clock) -> None:
    headers, statuses = list(state.headers), [name for name, _ in _STATUSES]
    weights = [weight for _, weight in _STATUSES]
    students = [person.id for person in state.people.values() if person.student_id is not None]
    for person in students:
        for header in random.sample(headers, min(plan.load, len(headers))):
            number = len(state.enrolments) + 1
            status = random.choices(statuses, weights)[0]
            state.enrolments[number] = Enrolment(number, clock(), person=person, header=header, status=status)
