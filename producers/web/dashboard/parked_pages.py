"""What waits for something, and what is refused: neither goes on by itself as long as nothing changes."""

from collections.abc import Sequence
from typing import Final

from producers.web.admin import resources as res
from producers.web.dashboard.bulk import BulkPage
from producers.web.dashboard.deeds import Deed
from producers.web.dashboard.lists import Cell, ListPage
from producers.web.dashboard.page import Menu, Page
from producers.web.dashboard.people_pages import COURSE, PERSON

_PATH: Final = "/ui/parked"
RELEASE: Final = Deed(
    f"{_PATH}/release",
    "Ask anew",
    "Ask anew for",
    _PATH,
    "/admin/parked/release",
    about=(
        "Moodle is asked again for the accounts and courses that are waited for, each once, however many"
        " wait for it. What waits for a term, a program or a learner's enrolment is passed over: it goes on"
        " when its source tells of that. Nothing that is parked expires."
    ),
    previews=True,
    told=lambda answer: f"Moodle is asked for {answer['done']:,}, for which {answer['matched']:,} wait.",
)
PARKED: Final = BulkPage(
    _PATH,
    "Parked",
    res.PARKED,
    (
        Cell("what"),
        PERSON,
        COURSE,
        Cell("waits_for", "Waits for", badge=True),
        Cell("reason", code=True),
        Cell("since"),
    ),
    about="What waits for something that is missing. It goes on by itself as soon as that appears.",
    choices={
        "what": ("enrolment", "course", "completion"),
        "waits_for": ("account", "course", "term", "program", "learner or enrolment"),
    },
    deeds={"release": RELEASE},
    template="parked.html",
    empty="Nothing waits.",
    menu=Menu.DECIDE,
    fields={
        **{name: name for name in ("what", "waits_for", "reason", "person_id", "course_id")},
        "until": "before",
    },
)
REFUSED: Final = ListPage(
    "/ui/refused",
    "Refused",
    res.REFUSED,
    (Cell("what"), PERSON, COURSE, Cell("reason", code=True), Cell("since")),
    about=(
        "What Moodle or ELM does not take as it is. It goes on when its source changes it, or when what is"
        " wrong there is mended and it is synced."
    ),
    choices={"what": ("account", "course", "enrolment", "completion")},
    empty="Nothing is refused.",
    menu=Menu.DECIDE,
)
PAGES: Final[Sequence[Page]] = (PARKED.page, RELEASE.page, REFUSED.page)
