"""Which accounts and courses of an existing Moodle are linked, and which are left to a person."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.adoption import Found, Match, State, Wanted, matched

ANN, BO = Wanted("ANN", "a@example.test"), Wanted("BO", "b@example.test")


@pytest.mark.parametrize(
    ("wanted", "found", "expected"),
    [
        ([ANN], [Found(1, "a@example.test", "")], [Match("ANN", State.LINK, (1,))]),
        ([ANN], [Found(1, "a@example.test", "ANN")], [Match("ANN", State.LINK, (1,))]),
        ([ANN], [Found(1, "b@example.test", "")], [Match("ANN", State.NONE)]),
        ([Wanted("ANN", None)], [Found(1, "", "")], [Match("ANN", State.NONE)]),
        (
            [ANN],
            [Found(2, "a@example.test", ""), Found(1, "a@example.test", "")],
            [Match("ANN", State.AMBIGUOUS, (1, 2))],
        ),
        (
            [ANN, Wanted("BO", "a@example.test")],
            [Found(1, "a@example.test", "")],
            [Match("ANN", State.AMBIGUOUS, (1,), ("BO",)), Match("BO", State.AMBIGUOUS, (1,), ("ANN",))],
        ),
        ([ANN], [Found(1, "a@example.test", "BO")], [Match("ANN", State.CLAIMED, (1,), ("BO",))]),
        ([Wanted("ANN", "a", known=1)], [Found(1, "a", "ANN")], [Match("ANN", State.KNOWN, (1,))]),
        ([Wanted("ANN", "a", known=2)], [Found(1, "a", "ANN")], [Match("ANN", State.DIFFERENT, (1,))]),
    ],
)
def test_only_what_is_beyond_doubt_is_linked(
    wanted: list[Wanted], found: list[Found], expected: list[Match]
) -> None:
    assert matched(wanted, found) == expected


few = st.sampled_from(["a", "b", "c", ""])


@given(
    st.lists(
        st.builds(Wanted, id=st.sampled_from("ABCDE"), value=few), unique_by=lambda one: one.id, max_size=5
    ),
    st.lists(
        st.builds(Found, id=st.integers(1, 9), value=few, owner=st.sampled_from(["", "A", "B"])),
        unique_by=lambda one: one.id,
        max_size=6,
    ),
)
def test_no_account_is_linked_to_two_people_nor_two_to_one(wanted: list[Wanted], found: list[Found]) -> None:
    matches = matched(wanted, found)
    assert [one.id for one in matches] == [one.id for one in wanted]
    links = [one.moodle_ids for one in matches if one.state is State.LINK]
    assert len(set(links)) == len(links)
    owners = {one.id: one.owner for one in found}
    assert all(owners[one.moodle_ids[0]] in ("", one.id) for one in matches if one.state is State.LINK)
    assert all(len(ids) == 1 for ids in links)
