"""What the mapping makes of records: events of several sources in, commands out."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.mapping import parse
from infra.memory import MemoryHub
from infra.stage import Output
from processors import preview
from processors.parking import standing
from processors.topology import topology
from schemas.academics import Payment, Program, Section, Term
from schemas.events import AccountPolicy, Course, Enrolment, EnrolmentStatus, Operation, Person, Role
from schemas.ids import (
    CourseId,
    EnrolmentId,
    MoodleCourseId,
    PaymentId,
    PersonId,
    ProgramId,
    RegistrationId,
    SectionId,
    Target,
    TenantId,
    TermId,
)
from schemas.joins import Tick
from schemas.moodle import CommandKind, CourseWish, MoodleCommand, UserWish
from schemas.topics import sites
from tests.flow.moodle_model import NOW, MoodleModel
from tests.flow.test_stages import NO_RULES, SITES, TARGET, TENANT, TOPICS, World

ANN, CLASS = PersonId("6f1c"), CourseId("naga:ch:7")
ACTIVE, SUSPENDED, REMOVED = EnrolmentStatus.ACTIVE, EnrolmentStatus.SUSPENDED, EnrolmentStatus.REMOVED
END = datetime(2027, 3, 31, tzinfo=UTC)


def at(hour: int) -> datetime:
    return datetime(2026, 11, 1, tzinfo=UTC) + timedelta(hours=hour)


def common(source: str, record_id: str, hour: int) -> dict[str, Any]:
    return {
        "tenant": TENANT,
        "operation": Operation.UPSERT,
        "source_system": source,
        "source_record_id": record_id,
        "version_time": at(hour),
        "version_sequence": 0,
        "recorded_at": NOW,
    }


def person(source: str = "sis", hour: int = 0, **changes: Any) -> Output:
    fields: dict[str, Any] = {
        "person_id": ANN,
        "account_policy": AccountPolicy.ALWAYS,
        "attributes": {
            "id": "17",
            "student_id": "123",
            "personal_name": "DARA",
            "family_name": "SOK",
            "school_email": "dara.sok@example.test",
        },
    }
    return Output(TOPICS.people, Person(**common(source, "17", hour) | fields | changes))


def course(source: str = "sis", hour: int = 0, record_id: str = "7", **changes: Any) -> Output:
    fields: dict[str, Any] = {
        "course_id": CLASS,
        "source_status": "SCHEDULED",
        "term_id": TermId("T1"),
        "attributes": {
            "course_code": "ACCT-301",
            "title": "Accounting",
            "section": "A",
            "time_of_day": "EVE",
            "division": "ACAD",
            "cycle": "BA",
        },
    }
    return Output(TOPICS.courses, Course(**common(source, record_id, hour) | fields | changes))


def term(hour: int = 0, **changes: Any) -> Output:
    fields: dict[str, Any] = {
        "term_id": TermId("T1"),
        "code": "251215B-T4",
        "term_type": "BA",
        "ends_at": END,
    }
    return Output(TOPICS.terms, Term(**common("sis", "T1", hour) | fields | changes))


def enrolment(status: str | None, hour: int = 1, source: str = "sis", **changes: Any) -> Output:
    fields: dict[str, Any] = {
        "enrolment_id": EnrolmentId("900"),
        "person_id": ANN,
        "course_id": CLASS,
        "status": ACTIVE,
        "role": Role.STUDENT,
        "source_status": status,
    }
    return Output(TOPICS.enrolments, Enrolment(**common(source, "900", hour) | fields | changes))


def section(section_id: str, name: str, hour: int = 0, **changes: Any) -> Output:
    fields: dict[str, Any] = {"section_id": SectionId(section_id), "course_id": CLASS, "name": name}
    return Output(TOPICS.sections, Section(**common("sis", section_id, hour) | fields | changes))


def tick(moment: datetime) -> Output:
    return Output(TOPICS.ticks, Tick(partition=0, at=moment))


def world(rules: str = "", **moodle: Any) -> World:
    return World(MoodleModel(TOPICS, **moodle), parse(rules))


def users(commands: Sequence[MoodleCommand]) -> list[UserWish]:
    return [command.user for command in commands if command.user is not None]


def courses(commands: Sequence[MoodleCommand]) -> list[CourseWish]:
    return [command.course for command in commands if command.course is not None]


CHANGES = "[sources.%s]\nuser.email_change = '%s'"
AUTHORITY = "[authority]\n'person.email' = ['%s']"


@pytest.mark.parametrize(
    ("source", "rules", "expected"),
    [
        ("elm", "", False),
        ("push", "", False),
        ("zoho", "", True),
        ("sis", "", True),
        ("elm", CHANGES % ("elm", "update"), True),
        ("push", CHANGES % ("push", "update"), True),
        ("sis", CHANGES % ("sis", "conflict"), False),
        ("elm", CHANGES % ("zoho", "update"), False),
    ],
)
def test_the_source_decides_whether_a_changed_address_reaches_the_account(
    source: str, rules: str, expected: bool
) -> None:
    fields = {"email": "d@example.test", "school_email": "d@example.test"}
    [wish] = users(world(rules).feed(person(source, attributes=fields)))
    assert (wish.email, wish.update_email) == ("d@example.test", expected)


@pytest.mark.parametrize(("authority", "expected"), [("elm", False), ("sis", True)])
def test_the_rule_on_addresses_is_that_of_the_source_whose_address_is_used(
    authority: str, expected: bool
) -> None:
    hub = world(AUTHORITY % authority)
    hub.feed(person("elm", email="elm@example.test"))
    hub.feed(person("sis", attributes={"school_email": "sis@example.test"}))
    issued = users(hub.moodle.commands)[-1]
    assert (issued.email, issued.update_email) == (f"{authority}@example.test", expected)


def test_a_made_up_address_replaces_none() -> None:
    [wish] = users(world().feed(person(attributes={"id": "17", "student_id": "123"})))
    assert (wish.email, wish.update_email) == ("17@no-address.invalid", False)


def statuses(commands: Sequence[MoodleCommand]) -> list[EnrolmentStatus]:
    return [command.enrolment.status for command in commands if command.enrolment is not None]


def test_a_person_of_the_sis_gets_an_account_by_the_built_in_rules() -> None:
    (wish,) = users(world().feed(person()))
    assert wish == UserWish(
        person_id=ANN,
        create=True,
        username="sis_00123",
        email="dara.sok@example.test",
        first_name="DARA",
        last_name="SOK",
        auth="manual",
        update_email=True,
    )


def test_the_authority_decides_field_by_field_and_the_next_source_fills_the_gaps() -> None:
    rules = """
        [authority]
        person = ["zoho", "sis"]
        "person.username" = ["sis"]
        [sources.sis.user.profile_fields]
        student_number = "{student_id|pad:6}"
    """
    zoho = {"email": "d@crm.test", "display_name": "Dara"}
    hub = world(rules)
    hub.feed(person("zoho", account_policy=AccountPolicy.ALWAYS, attributes=zoho))
    (wish,) = users(hub.feed(person()))
    assert (wish.username, wish.email) == ("sis_00123", "d@crm.test")
    assert (wish.first_name, wish.last_name) == ("Dara", "Dara")
    assert wish.profile_fields == {"student_number": "000123"}


def test_an_account_is_suspended_when_every_source_has_deleted_the_person_and_comes_back() -> None:
    hub = world()
    hub.feed(person(), person("zoho", attributes={"email": "d@crm.test", "display_name": "Dara"}))
    assert hub.feed(person("zoho", 1, operation=Operation.DELETE)) == []
    assert [wish.suspended for wish in users(hub.feed(person(hour=1, operation=Operation.DELETE)))] == [True]
    assert [wish.suspended for wish in users(hub.feed(person(hour=2)))] == [False]


def test_nobody_gets_an_account_to_have_it_suspended() -> None:
    assert world().feed(person(operation=Operation.DELETE)) == []


@pytest.mark.parametrize(
    ("status", "in_moodle"),
    [
        ("ENROLLED", ACTIVE),
        ("active", ACTIVE),
        ("AUDIT", ACTIVE),
        ("COMPLETED", SUSPENDED),
        ("FAILED", SUSPENDED),
        ("INCOMPLETE", SUSPENDED),
        ("something new", SUSPENDED),
        ("DROPPED", None),
        ("WITHDRAWN", None),
        ("NO_SHOW_ACADEMIC", None),
    ],
)
def test_a_status_of_the_sis_means_in_suspended_or_out(
    status: str, in_moodle: EnrolmentStatus | None
) -> None:
    hub = world()
    hub.feed(person(), term(), course(), enrolment("ENROLLED"))
    hub.feed(enrolment(status, 2))
    assert hub.moodle.enrolments.get((ANN, CLASS)) == in_moodle


@pytest.mark.parametrize(
    ("policy", "in_moodle"), [("leave", ACTIVE), ("suspend", SUSPENDED), ("remove", None)]
)
@pytest.mark.parametrize("way", ["on_delete", "on_removed"])
def test_who_is_out_is_treated_by_policy(policy: str, in_moodle: EnrolmentStatus | None, way: str) -> None:
    hub = world(f'[sources.sis.enrolment]\n{way} = "{policy}"')
    hub.feed(person(), term(), course(), enrolment("ENROLLED"))
    gone = enrolment("DROPPED", 2) if way == "on_removed" else enrolment(None, 2, operation=Operation.DELETE)
    hub.feed(gone)
    assert hub.moodle.enrolments.get((ANN, CLASS)) == in_moodle


def test_a_course_is_made_when_it_is_final_and_its_enrolments_wait_for_that() -> None:
    hub = world()
    commands = hub.feed(person(), term(), course(source_status="DRAFT"), enrolment("ENROLLED"))
    assert [wish.create for wish in courses(commands)] == [False]
    assert hub.moodle.enrolments == {}
    commands = hub.feed(course(hour=1))
    (wish,) = courses(commands)
    assert wish.create
    assert (wish.short_name, wish.full_name) == ("ACCT-301-A-EVE-251215B-T4", "Accounting (A, 251215B-T4)")
    assert [category.idnumber for category in wish.categories] == [
        "ACAD",
        "ACAD|BA",
        "ACAD|BA|251215B-T4",
    ]
    assert hub.moodle.enrolments == {(ANN, CLASS): ACTIVE}


def final_wish(hub: World) -> CourseWish:
    hub.feed(tick(NOW + timedelta(days=2)))
    return replace(courses(hub.moodle.commands)[-1], update=False)


@given(
    st.permutations(
        [course(), course(hour=1, source_status="ACTIVE"), term(), term(1, code="T9"), section("s", "Lab")]
    )
)
def test_course_term_and_section_may_come_in_any_order(inputs: list[Output]) -> None:
    hub = world()
    for one in inputs:
        hub.feed(one)
    wish = final_wish(hub)
    assert wish.short_name == "ACCT-301-A-EVE-T9"
    assert [group.name for group in wish.groups] == ["Lab"]
    assert wish.ends_at == END


def test_changes_of_an_existing_course_are_kept_for_the_day() -> None:
    hub = world()
    hub.feed(term(), course())
    renamed = course(
        hour=1,
        attributes={
            "course_code": "ACCT-302",
            "title": "Accounting II",
            "section": "A",
            "time_of_day": "EVE",
        },
    )
    assert hub.feed(renamed) == []
    assert hub.feed(tick(NOW + timedelta(hours=1))) == []
    (wish,) = courses(hub.feed(tick(NOW + timedelta(days=1))))
    assert (wish.update, wish.full_name) == (True, "Accounting II (A, 251215B-T4)")
    assert hub.feed(tick(NOW + timedelta(days=3))) == []


@pytest.mark.parametrize(("when", "updates"), [("at once", [True]), ("never", [])])
def test_changes_go_out_at_once_or_never_by_rule(when: str, updates: list[bool]) -> None:
    hub = world(f'[sources.sis.course]\nmetadata = "{when}"')
    hub.feed(term(), course())
    commands = hub.feed(course(hour=1, attributes={"title": "Other", "section": "A"}))
    assert [wish.update for wish in courses(commands)] == updates
    assert hub.feed(tick(NOW + timedelta(days=3))) == []


ARCHIVE = """
    [sources.sis.course.archive]
    after_days = 14
    [[sources.sis.course.archive.category]]
    idnumber = "archive"
    name = "Archive"
"""


def test_a_course_is_put_away_when_its_term_has_ended_and_comes_back_with_a_new_end() -> None:
    hub = world(ARCHIVE)
    hub.feed(person(), term(), course(), enrolment("ENROLLED"))
    assert hub.feed(tick(END + timedelta(days=13))) == []
    commands = hub.feed(tick(END + timedelta(days=15)))
    (wish,) = courses(commands)
    assert (wish.visible, wish.update, [one.idnumber for one in wish.categories]) == (
        False,
        True,
        ["archive"],
    )
    assert statuses(commands) == [SUSPENDED]
    assert hub.feed(tick(END + timedelta(days=16)), term(), enrolment("ENROLLED", 2)) == []
    commands = hub.feed(term(5, ends_at=END + timedelta(days=90), recorded_at=END + timedelta(days=17)))
    assert statuses(commands) == [ACTIVE]
    (wish,) = courses(hub.feed(tick(END + timedelta(days=18))))
    assert (wish.visible, [one.idnumber for one in wish.categories][-1]) == (True, "ACAD|BA|251215B-T4")


def test_a_course_that_leaves_the_selection_suspends_its_enrolments_and_takes_them_back() -> None:
    hub = world("""
        [sources.sis.courses]
        include = { division = ["acad"], term_type = ["BA"] }
        on_leave = "suspend"
    """)
    assert hub.feed(person(), course(), enrolment("ENROLLED"))[1:] == []
    assert statuses(hub.feed(term())) == [ACTIVE]
    assert statuses(hub.feed(term(1, term_type="X"))) == [SUSPENDED]
    assert hub.feed(enrolment("ENROLLED", 3)) == []
    assert statuses(hub.feed(term(2))) == [ACTIVE]


def test_people_out_of_the_selection_get_no_account() -> None:
    hub = world('[sources.sis.people]\nexclude = { status = ["FROZEN"] }')
    assert hub.feed(person(source_status="FROZEN")) == []
    assert len(users(hub.feed(person(hour=1, source_status="ACTIVE")))) == 1


def test_sections_become_groups_and_enrolments_name_theirs() -> None:
    hub = world()
    hub.feed(person(), term(), section("s1", "Lecture"), course())
    (wish,) = courses(hub.feed(section("s2", "Lab")))
    assert [(group.section_id, group.name) for group in wish.groups] == [("s1", "Lecture"), ("s2", "Lab")]
    commands = hub.feed(enrolment("ENROLLED", section_ids=(SectionId("s2"),)))
    assert [c.enrolment.section_ids for c in commands if c.enrolment] == [("s2",)]


def test_an_enrolment_joins_a_section_that_comes_after_it() -> None:
    hub = world()
    hub.feed(person(), term(), course(), enrolment("ENROLLED", section_ids=(SectionId("s1"),)))
    commands = hub.feed(section("s1", "Lecture"))
    assert [command.kind for command in commands] == [CommandKind.COURSE, CommandKind.ENROLMENT]
    assert hub.feed(section("s1", "Lecture", 1)) == []


def test_two_classes_of_one_source_feed_one_course() -> None:
    hub = world()
    hub.feed(term(), course(), course(record_id="8", source_status="DRAFT"))
    assert len(courses(hub.moodle.commands)) == 1
    hub.feed(course(hour=1, operation=Operation.DELETE))
    assert hub.moodle.courses == {CLASS: 10}


def test_a_class_of_zoho_that_is_renamed_is_changed_the_next_day() -> None:
    hub = world()
    first: dict[str, Any] = {"source_status": "Active", "term_id": None}
    hub.feed(course("zoho", attributes={"name": "BTEC 1"}, **first))
    assert hub.feed(course("zoho", 1, attributes={"name": "BTEC 2"}, **first)) == []
    (wish,) = courses(hub.feed(tick(NOW + timedelta(days=1))))
    assert (wish.full_name, wish.update) == ("BTEC 2", True)


def test_a_course_that_was_put_away_stays_so_when_its_source_deletes_it() -> None:
    hub = world("[sources.sis.course.archive]\nafter_days = 0")
    hub.feed(person(), term(), course(), enrolment("ENROLLED"))
    assert statuses(hub.feed(tick(END + timedelta(hours=1)))) == [SUSPENDED]
    assert hub.feed(course(hour=5, operation=Operation.DELETE)) == []
    assert hub.feed(tick(END + timedelta(days=2))) == []
    assert statuses(hub.feed(enrolment("DROPPED", 6))) == [REMOVED]


def test_a_course_that_left_the_selection_stays_out_when_its_source_deletes_it() -> None:
    hub = world('[sources.sis.courses]\nexclude = { division = ["OLD"] }\non_leave = "suspend"')
    gone = {"division": "OLD", "title": "Accounting"}
    hub.feed(person(), term(), course(), enrolment("ENROLLED"))
    assert statuses(hub.feed(course(hour=1, attributes=gone))) == [SUSPENDED]
    assert hub.feed(course(hour=2, attributes=gone, operation=Operation.DELETE)) == []
    assert statuses(hub.feed(course(hour=3))) == [ACTIVE]


def test_a_course_named_by_its_source_is_taken_and_a_program_gives_the_category() -> None:
    program = {"program_id": ProgramId("P1"), "name": "Business", "moodle_category_id": 44}
    hub = world()
    event = course(
        "zoho",
        source_status="Planned",
        term_id=None,
        program_id=ProgramId("P1"),
        moodle_course_id=MoodleCourseId(5),
        attributes={"name": "BTEC 1"},
    )
    hub.feed(event)
    (wish,) = courses(hub.moodle.commands)
    assert (wish.moodle_course_id, wish.create, wish.full_name) == (5, False, "BTEC 1")
    other = world()
    other.feed(
        Output(TOPICS.programs, Program(**common("zoho", "P1", 0) | program)),
        course(
            "zoho", source_status="Active", term_id=None, program_id=ProgramId("P1"), attributes={"name": "B"}
        ),
    )
    wish = courses(other.moodle.commands)[-1]
    assert (wish.create, wish.short_name, wish.category_id) == (True, "B", 44)


def test_a_course_waits_for_its_program_and_says_so() -> None:
    hub = world()
    assert hub.feed(course("zoho", source_status="Active", term_id=None, program_id=ProgramId("P1"))) == []
    stands = standing({name: table.entries for name, table in hub.hub.tables.items()})
    assert [(held.what, held.course_id, held.waits_for) for held in stands.held] == [
        ("course", CLASS, "program")
    ]


def test_each_tenant_is_served_by_its_own_site() -> None:
    north, tenant = Target("north"), TenantId("acme")
    mapping = parse('[tenants.acme]\ntarget = "north"\n')
    both = sites([TARGET, north])
    hub = MemoryHub(topology(mapping, both))
    theirs = person(tenant=tenant)
    outputs = hub.feed([person(), theirs])
    commands = [one.record for one in outputs if isinstance(one.record, MoodleCommand)]
    assert [command.target for command in commands] == ["default", "north"]
    assert [one.topic.name for one in outputs] == ["moodle.default.commands", "moodle.north.commands"]
    assert {topic.name for topic in SITES.all()} < {topic.name for topic in both.all()}


def test_all_kinds_of_commands_have_ids_of_their_own() -> None:
    hub = world(ARCHIVE)
    hub.feed(person(), term(), course(), enrolment("ENROLLED"), tick(END + timedelta(days=15)))
    found = [command.command_id for command in hub.moodle.commands]
    assert len(set(found)) == len(found)
    assert {command.kind for command in hub.moodle.commands} == set(CommandKind)


def test_new_rules_are_followed_at_the_next_tick() -> None:
    hub = world()
    hub.feed(person(), term(), course(), enrolment("ENROLLED"), tick(NOW))
    hub.hub.stages = topology(
        parse("""
            [sources.sis.user]
            username = "{student_id}"
            [sources.sis.courses]
            exclude = { division = ["ACAD"] }
            on_leave = "suspend"
        """),
        SITES,
    )
    commands = hub.feed(tick(NOW + timedelta(minutes=5)))
    assert [wish.username for wish in users(commands)] == ["123"]
    assert statuses(commands) == [SUSPENDED]
    assert hub.feed(tick(NOW + timedelta(minutes=10))) == []


def test_what_a_change_of_rules_would_do_is_counted_before() -> None:
    hub = world()
    other = person("sis", person_id=PersonId("77"), source_status="FROZEN")
    hub.feed(person(), other, term(), course(), enrolment("ENROLLED"))
    new = parse("""
        [sources.sis.user]
        auth = "saml2"
        [sources.sis.people]
        exclude = { status = ["FROZEN"] }
        on_leave = "suspend"
        [sources.sis.courses]
        exclude = { term_type = ["BA"] }
        on_leave = "suspend"
    """)
    tables = {name: table.entries for name, table in hub.hub.tables.items()}
    counts = {name: count for name, count in preview.compare(tables, NO_RULES, new, NOW).items() if count}
    assert counts == {
        preview.COURSES_OUT: 1,
        preview.ENROLMENTS_SUSPENDED: 1,
        preview.ACCOUNTS_CHANGED: 1,
        preview.ACCOUNTS_SUSPENDED: 1,
    }
    hub.hub.stages = topology(new, SITES)
    commands = hub.feed(tick(NOW))
    assert len(users(commands)) == 2
    assert statuses(commands) == [SUSPENDED]
    assert not any(preview.compare(tables, new, new, NOW).values())


OVERDUE = "[sources.zoho.overdue]\nafter_days = 7"
DUE = date(2026, 11, 2)
LATE = datetime(2026, 11, 10, tzinfo=UTC)
"""The first moment at which what was due then is overdue, with seven days of grace."""


def payment(status: str = "Scheduled", hour: int = 0, number: int = 1, **changes: Any) -> Output:
    fields: dict[str, Any] = {
        "payment_id": PaymentId(f"r1-{number}"),
        "registration_id": RegistrationId("r1"),
        "person_id": ANN,
        "amount": Decimal("250"),
        "recorded_at": at(hour),
        "status": status,
        "due_on": DUE,
    }
    return Output(TOPICS.payments, Payment(**common("zoho", f"r1-{number}", hour) | fields | changes))


def enrolled(rules: str) -> World:
    hub = world(rules)
    hub.feed(person(), term(), course(), enrolment("ENROLLED"))
    return hub


def test_an_overdue_payment_suspends_the_student_until_it_is_settled() -> None:
    hub = enrolled(OVERDUE)
    assert hub.feed(payment(), tick(LATE - timedelta(seconds=1))) == []
    assert statuses(hub.feed(tick(LATE))) == [SUSPENDED]
    assert hub.feed(tick(LATE + timedelta(days=1))) == []
    assert statuses(hub.feed(payment("paid", 1))) == [ACTIVE]


@pytest.mark.parametrize(
    "settling",
    [
        payment("Waived", 1),
        payment(hour=1, operation=Operation.DELETE),
        payment(hour=1, due_on=None),
        payment(hour=1, due_on=date(2027, 1, 1)),
    ],
)
def test_what_is_no_longer_owed_suspends_nobody(settling: Output) -> None:
    hub = enrolled(OVERDUE)
    hub.feed(payment(), tick(LATE))
    assert statuses(hub.feed(settling)) == [ACTIVE]


def test_one_of_two_payments_settled_is_not_enough_and_old_news_change_nothing() -> None:
    hub = enrolled(OVERDUE)
    hub.feed(payment(), payment(number=2), tick(LATE))
    assert hub.feed(payment("Paid", 1)) == []
    assert statuses(hub.feed(payment("Paid", 1, number=2))) == [ACTIVE]
    assert hub.feed(payment("Scheduled", 0), tick(LATE + timedelta(days=1))) == []


def test_an_enrolment_that_comes_while_a_payment_is_overdue_is_suspended_and_a_teacher_never() -> None:
    hub = world(OVERDUE)
    hub.feed(person(), term(), course(), payment(), tick(LATE))
    assert statuses(hub.feed(enrolment("ENROLLED"))) == [SUSPENDED]
    assert statuses(hub.feed(enrolment("ENROLLED", 2, role=Role.TEACHER))) == [ACTIVE]


def test_payments_do_nothing_without_the_rule_and_are_known_when_it_comes() -> None:
    hub = enrolled("")
    assert hub.feed(payment(), tick(LATE)) == []
    tables = {name: table.entries for name, table in hub.hub.tables.items()}
    counts = preview.compare(tables, NO_RULES, parse(OVERDUE), LATE)
    assert {name: count for name, count in counts.items() if count} == {preview.ENROLMENTS_SUSPENDED: 1}
    hub.hub.stages = topology(parse(OVERDUE), SITES)
    assert statuses(hub.feed(tick(LATE))) == [SUSPENDED]
    hub.hub.stages = topology(NO_RULES, SITES)
    assert statuses(hub.feed(tick(LATE + timedelta(hours=1)))) == [ACTIVE]
