"""People: the list, accounts, and all about one person."""

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

from producers import entities
from producers.web.admin import resources as res
from producers.web.admin.lists import DETAILS
from producers.web.admin.reads import Row
from producers.web.dashboard.entities import EntityPage, Lead, Part, sync_deed
from producers.web.dashboard.lists import Cell
from producers.web.dashboard.page import Menu, Page
from producers.web.dashboard.search import SearchPage
from producers.web.dashboard.telling import conflict_address

_PATH: Final = "/ui/people"
_ONE: Final = f"{_PATH}/{{person_id}}"
PERSON: Final = Cell("person_id", "Person", link=_ONE, code=True)
COURSE: Final = Cell("course_id", "Course", link="/ui/courses/{course_id}", code=True)
LIST: Final = SearchPage(
    _PATH,
    "People",
    res.PEOPLE,
    (
        PERSON,
        Cell("first_name", "First name"),
        Cell("last_name", "Last name"),
        Cell("email", "E-mail"),
        Cell("username"),
        Cell("source"),
        Cell("source_status", "Status"),
        Cell("deleted", "Gone"),
        Cell("recorded_at", "Told"),
    ),
    about="Everybody as each source tells of them; who several sources know has several rows.",
    empty="No person matches. A source may not have told of them yet.",
    filters=("source", "source_status", "deleted", "email", "username", "person_id", "source_record_id"),
    menu=Menu.RECORDS,
    finds="Beginnings of names, e-mail address, username or id",
)
ACCOUNTS: Final = SearchPage(
    "/ui/accounts",
    "Accounts",
    res.ACCOUNTS,
    (
        PERSON,
        Cell("moodle_user_id", "Moodle's id", code=True),
        Cell("missing"),
        Cell("blocked", badge=True),
        Cell("other_moodle_user_id", "Other account", code=True),
        Cell("generation"),
        Cell("since"),
    ),
    about="Each person's account in Moodle, or why there is none.",
    empty="No account matches.",
    menu=Menu.RECORDS,
    finds="Beginning of the person's id",
)
_CLAIMS: Final = (
    Cell("reason", code=True),
    Cell("state", badge=True),
    Cell("moodle_user_id", "Account", code=True),
    Cell("other_moodle_user_id", "Other account", code=True),
    Cell("moodle_course_id", "Course in Moodle", code=True),
    Cell("since"),
)


def held(*names: Cell) -> tuple[Part, ...]:
    """Return the lists of what does not go on by itself, with ``names`` telling what else it is about."""
    what, reason, since = Cell("what"), Cell("reason", code=True), Cell("since")
    return (
        Part("parked", "Waits", (what, *names, Cell("waits_for", "For"), reason, since)),
        Part("conflicts", "In conflict", _CLAIMS, address=conflict_address, button="Both sides"),
        Part("refused", "Refused", (what, *names, reason, since)),
    )


RECORDS: Final = (
    Cell("source"),
    Cell("source_record_id", "Its record", code=True),
    Cell("source_status", "Status", badge=True),
)
COMPLETIONS: Final = Part(
    "completions",
    "Completed in Moodle",
    (PERSON, COURSE, Cell("completed_on", "On"), Cell("target", "Site"), Cell("observed_at", "Seen")),
)


def _lead(found: Mapping[str, Sequence[Row]]) -> Lead:
    records, account = found["records"], next(iter(found["accounts"]), None)
    here = [row for row in records if not row["deleted"]] or records
    name = next((_name(row) for row in here if _name(row)), "")
    states = [] if account is None else [_account(account)]
    if records and all(row["deleted"] for row in records):
        states.append(("gone from all sources", "warn"))
    facts = {
        "E-mail": next((row["email"] for row in here if row["email"]), None),
        "Username": next((row["username"] for row in here if row["username"]), None),
        "Account in Moodle": str(account["moodle_user_id"] or "") if account else None,
        "Since": account["since"] if account else None,
    }
    return Lead(name, states, facts, _links(found))


def _links(found: Mapping[str, Sequence[Row]]) -> list[tuple[str, str]]:
    person = quote(str(next(row["person_id"] for rows in found.values() for row in rows)), safe="")
    return [
        (words, f"/ui/{page}?person_id={person}")
        for words, page in (
            ("All enrolments", "enrolments"),
            ("Commands", "commands"),
            ("Results", "results"),
        )
    ]


def _name(row: Row) -> str:
    return " ".join(part for part in (row["first_name"], row["last_name"]) if part)


def _account(account: Row) -> tuple[str, str]:
    if account["blocked"]:
        return f"account: {account['blocked']}", "bad"
    if account["missing"]:
        return "no account in Moodle", "warn"
    return ("account known", "good") if account["moodle_user_id"] else ("account not known yet", "plain")


ONE: Final = EntityPage(
    _ONE,
    "Person",
    next(one for one in DETAILS if one.name == "people"),
    (
        *held(COURSE),
        Part(
            "enrolments",
            "Enrolments",
            (
                COURSE,
                Cell("wanted", badge=True, link="/ui/enrolments/{person_id}/{course_id}"),
                Cell("actual", "Moodle has", badge=True),
                Cell("reason", code=True),
                Cell("role"),
                Cell("last_access"),
                Cell("synced_at", "Synced"),
            ),
            always=True,
        ),
        Part(
            "records",
            "Records",
            (
                *RECORDS,
                Cell("first_name", "First name"),
                Cell("last_name", "Last name"),
                Cell("email", "E-mail"),
                Cell("username"),
                Cell("deleted", "Gone"),
                Cell("version_time", "Version of"),
            ),
            always=True,
        ),
        COMPLETIONS,
    ),
    entities.person,
    sync_deed(_ONE, "person", _PATH),
    _lead,
    ((LIST.title, LIST.path),),
)
PAGES: Final[Sequence[Page]] = (LIST.page, ACCOUNTS.page, ONE.page, ONE.sync.page)
