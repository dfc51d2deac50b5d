"""The life of incidents: told once when they begin, once when they get graver, once when they are over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from producers.alerts.incidents import Move, News, moves
from producers.alerts.model import Alert, Finding, Incident, Judgement, Name, Severity, Silence, State
from schemas.ids import TenantId

START = datetime(2026, 11, 21, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
CALM = 5 * MINUTE
HOUSE = TenantId("house")
ELM = Name(HOUSE, Alert.FEED, "ELM")
WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL


def finding(severity: Severity = WARNING, name: Name = ELM, *, is_new: bool = True) -> Finding:
    return Finding(name, severity, f"{severity} of {name.subject}", is_new=is_new)


def silence(until: datetime, alert: str | None = None, subject: str | None = None) -> Silence:
    return Silence(
        silence_id=1,
        tenant=HOUSE,
        alert=alert,
        subject=subject,
        until=until,
        made_at=START,
        made_by="cli:ann",
        why="",
    )


@dataclass
class Watched:
    """Incidents as a process keeps them, and all that was told, over minutes."""

    incidents: list[Incident] = field(default_factory=list)
    told: list[tuple[News, Severity]] = field(default_factory=list)
    silences: list[Silence] = field(default_factory=list)
    minute: int = 0

    @property
    def now(self) -> datetime:
        return START + self.minute * MINUTE

    @property
    def last(self) -> Incident:
        return self.incidents[-1]

    def state(self) -> State:
        return self.last.state

    def look(self, *findings: Finding, unseen: Sequence[str] = ()) -> list[Move]:
        """Look once, a minute later than the last time."""
        self.minute += 1
        standing = [one for one in self.incidents if one.state is not State.RESOLVED]
        silences = [one for one in self.silences if one.until > self.now]
        done = list(moves(standing, Judgement(findings, frozenset(unseen)), silences, self.now, CALM))
        for incident, news in done:
            self._keep(incident)
            self.told += [(news, incident.severity)] if news else []
        return done

    def _keep(self, incident: Incident) -> None:
        if not incident.incident_id:
            self.incidents.append(replace(incident, incident_id=len(self.incidents) + 1))
        else:
            self.incidents[incident.incident_id - 1] = incident

    def looks(self, count: int, *findings: Finding) -> None:
        for _ in range(count):
            self.look(*findings)

    def acknowledge(self) -> None:
        self._keep(replace(self.last, state=State.ACKNOWLEDGED, told=self.last.severity))


def test_it_is_told_once_however_often_it_is_found() -> None:
    watched = Watched()
    watched.looks(100, finding())
    assert watched.told == [(News.OPENED, WARNING)]
    assert watched.last.opened_at == START + MINUTE
    assert watched.last.seen_at == START + 100 * MINUTE


def test_it_is_over_when_it_was_not_found_for_a_while() -> None:
    watched = Watched()
    watched.look(finding())
    watched.looks(4)
    assert watched.last.state is State.OPEN
    watched.look()
    assert (watched.last.state, watched.last.resolved_at) == (State.RESOLVED, START + 6 * MINUTE)
    assert watched.told == [(News.OPENED, WARNING), (News.RESOLVED, WARNING)]
    watched.looks(10)
    assert len(watched.told) == 2
    watched.look(finding())
    assert len(watched.incidents) == 2, "the next is another one"


def test_what_comes_and_goes_is_one_incident() -> None:
    watched = Watched()
    for _ in range(20):
        watched.look(finding())
        watched.looks(3)
    assert (len(watched.incidents), watched.told) == (1, [(News.OPENED, WARNING)])


def test_it_is_told_once_more_when_it_gets_graver_and_stays_so() -> None:
    watched = Watched()
    watched.look(finding())
    watched.look(finding(CRITICAL))
    watched.look(finding())
    watched.look(finding(CRITICAL))
    assert watched.told == [(News.OPENED, WARNING), (News.ESCALATED, CRITICAL)]
    assert watched.last.severity is CRITICAL


def test_of_what_somebody_took_on_only_more_gravity_and_the_end_are_told() -> None:
    watched = Watched(silences=[silence(START + 2 * MINUTE)])
    watched.look(finding())
    watched.acknowledge()
    watched.looks(5, finding())
    assert (watched.told, watched.last.state) == ([], State.ACKNOWLEDGED)
    watched.look(finding(CRITICAL))
    assert (watched.told, watched.last.state) == ([(News.ESCALATED, CRITICAL)], State.OPEN)
    watched.acknowledge()
    watched.looks(5)
    assert watched.told[1:] == [(News.RESOLVED, CRITICAL)]


def test_while_it_is_silenced_nothing_new_is_told_and_what_still_stands_then_is() -> None:
    watched = Watched(silences=[silence(START + 10 * MINUTE)])
    watched.looks(9, finding())
    assert (watched.told, watched.last.silenced_until) == ([], START + 10 * MINUTE)
    watched.look(finding())
    assert (watched.told, watched.last.silenced_until) == ([(News.OPENED, WARNING)], None)


def test_what_came_and_went_while_it_was_silenced_is_never_told() -> None:
    watched = Watched(silences=[silence(START + 10 * MINUTE)])
    watched.look(finding())
    watched.looks(20)
    assert (watched.told, watched.last.state) == ([], State.RESOLVED)


def test_the_end_of_what_was_told_is_told_though_it_is_silenced_by_then() -> None:
    watched = Watched()
    watched.look(finding())
    watched.silences = [silence(START + 60 * MINUTE)]
    watched.looks(10)
    assert watched.told == [(News.OPENED, WARNING), (News.RESOLVED, WARNING)]


def test_a_silence_is_of_its_tenant_alert_and_subject() -> None:
    end = START + 60 * MINUTE
    for one, covers in (
        (silence(end), True),
        (silence(end, Alert.FEED), True),
        (silence(end, Alert.FEED, "ELM"), True),
        (silence(end, None, "ELM"), True),
        (silence(end, Alert.FEED, "SIS"), False),
        (silence(end, Alert.OUTBOX), False),
        (replace(silence(end), tenant=TenantId("other")), False),
    ):
        watched = Watched(silences=[one])
        watched.look(finding())
        assert (watched.told == []) is covers, one


def test_what_cannot_be_seen_is_neither_found_nor_over() -> None:
    watched = Watched()
    watched.look(finding())
    for _ in range(20):
        assert watched.look(unseen=[Alert.FEED]) == []
    assert watched.state() is State.OPEN
    watched.look()
    assert watched.state() is State.RESOLVED


def test_within_quiet_hours_nothing_begins_and_nothing_ends() -> None:
    watched = Watched()
    watched.looks(20, finding(is_new=False))
    assert watched.incidents == []
    watched.look(finding())
    watched.looks(20, finding(CRITICAL, is_new=False))
    assert (watched.told, watched.last.state) == ([(News.OPENED, WARNING)], State.OPEN)
    watched.look(finding(CRITICAL))
    assert watched.told[1:] == [(News.ESCALATED, CRITICAL)]


def test_of_two_findings_of_a_name_the_graver_counts() -> None:
    watched = Watched()
    watched.look(finding(), finding(CRITICAL), finding())
    assert watched.told == [(News.OPENED, CRITICAL)]


NAMES = [ELM, Name(HOUSE, Alert.OUTBOX, "events")]
FOUND = st.builds(finding, st.sampled_from([WARNING, CRITICAL]), st.sampled_from(NAMES), is_new=st.booleans())
LOOKS = st.tuples(
    st.lists(FOUND, max_size=3),
    st.sets(st.sampled_from([Alert.FEED, Alert.OUTBOX])),
    st.none() | st.integers(1, 8),
    st.booleans(),
)


@settings(max_examples=50)
@given(st.lists(LOOKS, max_size=40))
def test_whatever_happens_each_incident_is_told_in_order_and_once(
    story: list[tuple[list[Finding], set[Alert], int | None, bool]],
) -> None:
    watched = Watched()
    told: dict[int, list[News]] = {}
    for findings, unseen, silent, takes_on in story:
        if silent is not None:
            watched.silences.append(silence(watched.now + silent * MINUTE))
        known = len(watched.incidents)
        for incident, news in watched.look(*findings, unseen=list(unseen)):
            known += not incident.incident_id
            if news:
                told.setdefault(incident.incident_id or known, []).append(news)
        open_ = [one.name for one in watched.incidents if one.state is not State.RESOLVED]
        assert len(open_) == len(set(open_)), "never two of a name"
        if takes_on and watched.incidents and watched.last.state is State.OPEN:
            watched.acknowledge()
    admitted: tuple[list[News], ...] = ([], [News.OPENED], [News.OPENED, News.ESCALATED], [News.ESCALATED])
    for incident in watched.incidents:
        all_of_it = told.get(incident.incident_id, [])
        begun = [one for one in all_of_it if one is not News.RESOLVED]
        assert begun in admitted
        is_told = incident.state is State.RESOLVED and incident.told is not None
        assert all_of_it == begun + [News.RESOLVED] * is_told


@settings(max_examples=50)
@given(st.lists(LOOKS, max_size=20))
def test_a_look_that_is_made_again_tells_nothing_again(
    story: list[tuple[list[Finding], set[Alert], int | None, bool]],
) -> None:
    watched = Watched()
    for findings, unseen, _, _ in story:
        watched.look(*findings, unseen=list(unseen))
        told, watched.minute = list(watched.told), watched.minute - 1
        watched.look(*findings, unseen=list(unseen))
        assert watched.told == told
