"""The recorded session: what was done by hand between the calls, when, and the calls noted only in words."""

from collections.abc import Callable
from decimal import Decimal

from infra.simulators.moodle import (
    CoursePatch,
    Fault,
    MoodleState,
    NewCompletion,
    Seed,
    SeedCourse,
    SeedUser,
    add_completions,
    patch_course,
    seed,
)
from infra.simulators.moodle.completion import run_cron
from infra.simulators.moodle.grades import set_grade
from tests.contract.database import VARS_COURSE

Pairs = list[tuple[str, str]]

# From which recording on the site's clock showed which second.
CLOCK = {
    1: 1795238019,
    34: 1795238020,
    42: 1795238021,
    94: 1795238022,
    145: 1795238023,
    148: 1795238025,
    160: 1795238026,
    182: 1795238027,
    203: 1795238028,
    255: 1795238045,
    278: 1795239206,
    287: 1795240297,
}


def clock_at(number: int) -> int:
    """The site's time when this recording was made."""
    return CLOCK[max(start for start in CLOCK if start <= number)]


def _fault(kind: str, count: int | None = 1) -> Callable[[MoodleState], None]:
    return lambda state: state.faults.add(Fault(kind, count=count))


def _debug(on: bool) -> Callable[[MoodleState], None]:
    def switch(state: MoodleState) -> None:
        state.settings.debug = on

    return switch


def _cron(state: MoodleState) -> None:
    with state.transaction():
        run_cron(state)


def _after_races(state: MoodleState) -> None:
    """What the parallel calls left behind: four courses of one name, and accounts up to id 2374."""
    names = {14: "RACE2", 15: "RACE2", 17: "RACE2", 16: "RACE2"}
    names |= {18: "RACE3-0", 19: "RACE3-3", 21: "RACE3-2", 20: "RACE3-1"}
    for number, name in names.items():
        state.sequences["courses"] = number - 1
        title = name.capitalize()
        seed(state, Seed(courses=[SeedCourse(name, title, name, self_completion=False)]))
    state.sequences["courses"] = 21
    state.sequences["users"] = 2374


def _second_site(state: MoodleState) -> None:
    state.install()
    state.settings.debug = False
    users = [SeedUser(f"x{n}@example.test", idnumber=f"X{n:06}") for n in range(100)]
    seed(state, Seed(courses=[SeedCourse("A", "A", "A")], users=users))
    state.sequences["users"] = 1110
    last = SeedUser("x9000@example.test", firstname="First9000", lastname="Last9000", idnumber="00123")
    seed(state, Seed(users=[last]))


def _third_site(state: MoodleState) -> None:
    state.install()
    users = [SeedUser(f"x{n}@example.test", "", "F", "L", f"X{n}") for n in range(3)]
    seed(state, Seed(courses=[SeedCourse("A", "A", "A", self_completion=False)], users=users))


def _new_token_but_service_disabled(state: MoodleState) -> None:
    state.faults.clear()
    state.faults.add(Fault("access_denied", count=1))


# Recording -> what was done by hand just before it.
BEFORE: dict[int, Callable[[MoodleState], None]] = {
    145: lambda state: patch_course(state, CoursePatch(2, self_completion=True)),
    147: lambda state: void(add_completions(state, [NewCompletion(11, 2, 1795238023, aggregated=False)])),
    148: _cron,
    150: lambda state: void(add_completions(state, [NewCompletion(12, 2, criterion=False)])),
    173: lambda state: set_grade(state, 11, 2, Decimal("77.5")),
    217: _debug(True),
    226: _debug(False),
    241: lambda state: void(seed(state, Seed(courses=[SeedCourse("VARS", self_completion=False)]))),
    255: _after_races,
    256: _fault("user_suspended"),
    257: _fault("token_expired", None),
    259: _new_token_but_service_disabled,
    260: _fault("access_denied"),
    261: _fault("access_denied"),
    262: _fault("web_services_off"),
    263: _fault("web_services_off"),
    265: _fault("maintenance_cli"),
    266: _fault("maintenance_ui"),
    267: _fault("upgrade_running"),
    271: _fault("database_down"),
    273: _fault("bad_gateway"),
    277: _fault("worker_killed"),
    278: _second_site,
    287: _third_site,
}


def void(_value: object) -> None:
    """Drop a result."""


def _user(number: int, name: str = "user", width: int = 6) -> dict[str, str]:
    address = f"{name}{number}@example.test"
    return {
        "username": address,
        "firstname": f"First{number}",
        "lastname": f"Last{number}",
        "email": address,
        "auth": "oauth2",
        "idnumber": f"{'GUID' if name == 'user' else 'X'}{number:0{width}}",
    }


_FURTHER = {"department": "D", "institution": "I", "city": "C", "country": "UA"}


def _users(first: int, number: int, *, further: bool = False, name: str = "user") -> Pairs:
    rows = [_user(first + n, name) | (_FURTHER if further else {}) for n in range(number)]
    return [(f"users[{n}][{key}]", value) for n, row in enumerate(rows) for key, value in row.items()]


def _enrolments(number: int, courseid: int, first_user: int, *, dates: bool) -> Pairs:
    row = {"roleid": "5", "userid": "", "courseid": str(courseid)}
    row |= {"timestart": "0", "timeend": "0"} if dates else {}
    return [
        (f"enrolments[{n}][{key}]", str(first_user + n) if key == "userid" else value)
        for n in range(number)
        for key, value in row.items()
    ]


# Calls whose parameters were noted in words; the first 28 accounts are those of the calls before.
IN_WORDS: dict[int, Pairs] = {
    233: [("field", "idnumber"), ("values[0]", "GUID000021")],
    234: [],
    235: [],
    236: _users(20000, 499, further=True),
    237: _users(21000, 500, further=True),
    238: _users(22000, 1000, further=True),
    239: _users(24000, 1000, further=True),
    240: _users(26000, 900),
    241: _enrolments(1300, VARS_COURSE, 29, dates=True),
    242: [("field", "idnumber"), *((f"values[{n}]", f"GUID{20000 + n:06}") for n in range(6000))],
    275: _users(0, 500, name="x"),
    277: _users(30000, 800),
    283: _enrolments(100, 2, 4, dates=False),
}
