"""A seeded generator of a whole CRM: people, programs, units, classes and what connects them.

The same plan always gives the same records, in an order in which each comes after those it refers to.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any, Final

from infra.simulators import seed as elm

Record = dict[str, Any]

FIRST_ID: Final = 5_437_000_000_000_000
"""Zoho's ids have some 18 digits; those of a module begin at a multiple of a million above this."""
START: Final = datetime(2026, 1, 12, 8, tzinfo=UTC)
_PROGRAMS: Final = ("Business", "Computing", "Creative Media", "Engineering", "Health and Social Care")
_GRADES: Final = ("Pass", "Merit", "Distinction", "Refer")
_STATUSES: Final = ("Active", "Active", "Active", "Completed", "Withdrawn")


@dataclass(frozen=True, slots=True)
class ZohoPlan:
    """How much there is.

    Attributes:
        seed: Decides everything random.
        students: Number of students; each has a registration and an enrolment in one to three classes.
        classes: Number of classes, each with a teacher.
        teachers: Number of teachers.
        units: Number of units.
    """

    seed: int = 1
    students: int = 60
    classes: int = 6
    teachers: int = 3
    units: int = 8


def records(plan: ZohoPlan) -> Iterator[tuple[str, Record]]:
    """Give the records of a plan with their modules."""
    for number in range(plan.teachers):
        yield "BTEC_Teachers", _person(plan, "teachers", 1_000_000 + number, number)
    for number in range(plan.students):
        yield "BTEC_Students", _person(plan, "students", number, number)
    for number, name in enumerate(_PROGRAMS):
        yield "Products", _program(number, name)
    for number in range(plan.units):
        yield "BTEC", _unit(number)
    for number in range(plan.classes):
        yield "BTEC_Classes", _class(plan, number)
    for number in range(plan.students):
        yield from _of_student(plan, number)


_MODULE_NUMBERS: Final = {
    name: number
    for number, name in enumerate(
        (
            "teachers",
            "students",
            "programs",
            "units",
            "classes",
            "registrations",
            "enrolments",
            "payments",
            "grades",
        )
    )
}


def record_id(kind: str, number: int) -> str:
    """Give the id of the record of this number."""
    return str(FIRST_ID + _MODULE_NUMBERS[kind] * 1_000_000_000 + number)


def _stamped(record: Record, days: float = 0.0) -> Record:
    moment = (START + timedelta(days=days)).isoformat()
    return {**record, "Created_Time": moment, "Modified_Time": moment}


def _person(plan: ZohoPlan, kind: str, invented: int, number: int) -> Record:
    person = elm.person(plan.seed, invented)
    name = f"{person.given} {person.family}"
    return _stamped(
        {
            "id": record_id(kind, number),
            "Name": name,
            "First_Name": person.given,
            "Last_Name": person.family,
            "Academic_Email": f"z.{person.email}",
            "Phone_Number": f"+000 555 {number:04d}",
            "Status": "Active",
        }
    )


def _program(number: int, name: str) -> Record:
    return _stamped(
        {
            "id": record_id("programs", number),
            "Product_Name": f"{name} (level {3 + number % 3})",
            "Product_Code": f"PRG-{number + 1}",
            "Program_Price": 4_500.0 + 250 * number,
            "Status": "Active",
        }
    )


def _unit(number: int) -> Record:
    criteria = {f"P{each}_description": f"Criterion {each} of unit {number + 1}" for each in range(1, 4)}
    return _stamped({"id": record_id("units", number), "Name": f"Unit {number + 1}", **criteria})


def _class(plan: ZohoPlan, number: int) -> Record:
    begins = date(2026, 1, 19) + timedelta(days=7 * (number % 4))
    return _stamped(
        {
            "id": record_id("classes", number),
            "BTEC_Class_Name": f"Unit {number % plan.units + 1}, group {number + 1}",
            "Short_Name": f"Z-{number + 1:03d}",
            "Class_Status": "Active",
            "Start_Date": begins.isoformat(),
            "End_Date": (begins + timedelta(days=90)).isoformat(),
            "Teacher": {"id": record_id("teachers", number % plan.teachers), "name": "Teacher"},
            "Unit": {
                "id": record_id("units", number % plan.units),
                "name": f"Unit {number % plan.units + 1}",
            },
            "BTEC_Program": {"id": record_id("programs", number % len(_PROGRAMS)), "name": "Program"},
        }
    )


def _of_student(plan: ZohoPlan, number: int) -> Iterator[tuple[str, Record]]:
    random = Random(f"{plan.seed} zoho {number}")  # noqa: S311 - nothing secret
    student = {"id": record_id("students", number), "name": "Student"}
    registration = {"id": record_id("registrations", number), "name": f"R-{number + 1:05d}"}
    yield "BTEC_Registrations", _registration(random, number, student)
    for place, lesson in enumerate(random.sample(range(plan.classes), min(plan.classes, 1 + number % 3))):
        yield (
            "BTEC_Enrollments",
            _stamped(
                {
                    "id": record_id("enrolments", number * 3 + place),
                    "Enrolled_Students": student,
                    "Classes": {"id": record_id("classes", lesson), "name": f"Z-{lesson + 1:03d}"},
                    "Status": random.choice(_STATUSES),
                    "Start_Date": "2026-01-19",
                }
            ),
        )
    paid = {"Payment_Amount": 1_500.0, "Payment_Date": "2026-01-15", "Bank_Name": "Example Bank"}
    payment = {"id": record_id("payments", number), "Registration_ID": registration, "Student_ID": student}
    yield "BTEC_Payments", _stamped({**payment, **paid, "Name": f"PAY-{number + 1:05d}"})
    if number % 2:
        unit = {"id": record_id("units", number % plan.units), "name": "Unit"}
        grade = {"Grade": random.choice(_GRADES), "Attempt_Number": "1", "Attempt_Date": "2026-02-20"}
        about = {"id": record_id("grades", number), "Student": student, "BTEC_Unit": unit}
        yield "BTEC_Grades", _stamped({**about, **grade})


def _registration(random: Random, number: int, student: Record) -> Record:
    program = random.randrange(len(_PROGRAMS))
    schedule = [
        {
            "Installment_No": place + 1,
            "Due_Date": (date(2026, 2, 1) + timedelta(days=30 * place)).isoformat(),
            "Installment_Amount": 1_500.0,
            "Installment_Status": "Paid" if place == 0 else "Pending",
        }
        for place in range(3)
    ]
    return _stamped(
        {
            "id": record_id("registrations", number),
            "Student_ID": student,
            "Program": {"id": record_id("programs", program), "name": _PROGRAMS[program]},
            "Registration_Status": "Active",
            "Registration_Number": f"R-{number + 1:05d}",
            "Registration_Date": "2026-01-10",
            "Program_Price": 4_500.0 + 250 * program,
            "Currency": "USD",
            "Payment_Schedule": schedule,
        }
    )
