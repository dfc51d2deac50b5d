"""The sinks tell of each call which entities it was about, and nothing of their content."""

from __future__ import annotations

from dataclasses import replace

from connectors.elm_sink.client import POST, READ_BACK
from connectors.elm_sink.sink import ElmSink
from connectors.moodle.client import MULTIPLEX
from infra.calls import REFERENCES, Call
from infra.simulators.elm.app import serve
from infra.simulators.elm.faults import Fault
from infra.simulators.elm.state import ElmState
from schemas.ids import PersonId
from tests.unit.moodle_commands import bench, course, enrolment, person
from tests.unit.test_elm_sink import callbacks, settings, written
from tests.unit.test_moodle_sink_groups import furnished


async def test_the_calls_that_write_accounts_name_them() -> None:
    async with bench() as b:
        await b.write(person(1), person(2))
        await b.write(person(1, first_name="Other"))
    about = {call.function: call.references for call in b.calls}
    tenant = person(1).tenant
    assert about["core_user_create_users"] == (f"user|{tenant}|GUID1", f"user|{tenant}|GUID2")
    assert about["core_user_update_users"] == (f"user|{tenant}|GUID1",)
    assert "example.test" not in repr(b.calls)


async def test_look_ups_name_those_for_whom_they_are_made() -> None:
    tenant = person(1).tenant
    async with bench(batch_size=2) as b:
        await b.write(person(1), person(2), person(3), course(7))
    reads = {call.references for call in b.calls if "_get_" in call.function or call.function == MULTIPLEX}
    assert reads == {
        (f"user|{tenant}|GUID1", f"user|{tenant}|GUID2"),
        (f"user|{tenant}|GUID3",),
        (f"course|{tenant}|7",),
    }


async def test_every_call_of_the_sink_names_somebody_and_at_most_a_hundred() -> None:
    async with bench(prepare=furnished) as b:
        await b.write(*(person(number) for number in range(120)))
        await b.write(*(enrolment(user, 2, section_ids=("s",)) for user in (4, 5, 9_999)))
    assert {call.function for call in b.calls} >= {"core_user_get_users_by_field", MULTIPLEX}
    assert [call.function for call in b.calls if not call.references] == []
    assert max(len(call.references) for call in b.calls) == REFERENCES
    assert "example.test" not in repr([call.references for call in b.calls])


async def test_the_calls_to_elm_name_the_enrolments() -> None:
    calls: list[Call] = []
    one, two = callbacks(2)
    two = replace(two, person_id=PersonId("B|B"))
    async with serve(ElmState("secret-token")) as elm:
        elm.state.faults.add(Fault(kind="status", endpoint="completion", method="POST", count=1))
        sink = ElmSink(settings(elm.completion_url), on_call=calls.append)
        await sink.open()
        await written(sink, [one, two])
        await sink.close()
    first = f"enrolment|{one.tenant}|{one.course_id}|{one.person_id}"
    other = rf"enrolment|{two.tenant}|{two.course_id}|B\|B"
    reads, posts = ([call for call in calls if call.function == kind] for kind in (READ_BACK, POST))
    assert {(call.references, call.code, call.http_status) for call in reads[:1]} == {
        ((first, other), "ok", 200)
    }
    assert sorted(call.references for call in posts) in (
        [(first,), (first,), (other,)],
        [(first,), (other,), (other,)],
    )
    failed = [call for call in posts if call.code != "ok"]
    assert [(call.code, call.http_status, call.attempt) for call in failed] == [("http_503", 503, 1)]
    assert sorted(call.attempt for call in posts) == [1, 1, 2]
    assert all(call.sent > 100 for call in posts)
    for secret in (one.email, one.last_name, "secret-token"):
        assert secret not in repr(calls)
