"""Replays the recorded exchanges in order against one simulated site and notes what differs."""

import asyncio
import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import ClientResponse, ClientSession

from infra.simulators.moodle import Fault, MoodleState, Settings, serve
from tests.contract import scenario
from tests.contract.database import database_differences

HERE = Path(__file__).parent
PATH = "/webservice/rest/server.php"
RECORDED_URL = "http://127.0.0.1:8900"

# Fields that no simulator can repeat: addresses with the theme's revision or a context id, cache revisions.
VOLATILE = frozenset(
    {
        "cacherev",
        "courseimage",
        "profileimageurl",
        "profileimageurlsmall",
        "userpictureurl",
    }
)
# The catalogue comes in the physical order of the table on the recorded database.
UNORDERED = frozenset({32})
# Its debuginfo is a statement in SQL.
DEBUGINFO_IGNORED = frozenset({221})


def load(path: Path) -> dict[str, Any]:
    """One recorded exchange."""
    exchange: dict[str, Any] = json.loads(path.read_text())
    return exchange


def recordings() -> dict[int, dict[str, Any]]:
    """All recorded exchanges by number."""
    return {int(path.name[:3]): load(path) for path in sorted((HERE / "recordings").glob("*.json"))}


def left_out() -> dict[str, dict[int, str]]:
    """Kind of reason -> recording -> reason."""
    table = tomllib.loads((HERE / "left_out.toml").read_text())
    return {kind: {int(number): reason for number, reason in rows.items()} for kind, rows in table.items()}


def replay_all() -> dict[int, list[str]]:
    """Replay every recording but the races; gives what differed, an empty list where nothing did."""
    return asyncio.run(_replay_all())


async def _replay_all() -> dict[int, list[str]]:
    races = left_out()["race"]
    not_simulated = left_out()["not_simulated"]
    state = MoodleState(Settings(recorded_service=True))
    outcomes = {}
    async with serve(state) as url, ClientSession(url) as session:
        state.settings.url = RECORDED_URL
        for number, exchange in recordings().items():
            state.clock = _standing(scenario.clock_at(number))
            if number in scenario.BEFORE:
                scenario.BEFORE[number](state)
            if number in races:
                continue
            if number in not_simulated:
                outcomes[number] = await _refused(session, exchange)
            elif number == 275:
                outcomes[number] = await _client_gives_up(session, state, exchange)
            else:
                outcomes[number] = await _replayed(session, state, number, exchange)
    return outcomes


def _standing(now: int) -> Callable[[], float]:
    return lambda: float(now)


async def _refused(session: ClientSession, exchange: dict[str, Any]) -> list[str]:
    async with session.post(PATH, data=_pairs(exchange)) as response:
        return [] if response.status == 501 else [f"answered {response.status}, 501 expected"]


async def _client_gives_up(session: ClientSession, state: MoodleState, exchange: dict[str, Any]) -> list[str]:
    """The client hangs up before the batch is done; the server goes on and commits."""
    before, committed = len(state.users), asyncio.Event()
    state.on_commit = lambda _changes: committed.set()
    state.faults.add(Fault("latency", count=1, seconds=0.5))
    pairs = [*_head(exchange["function"]), *scenario.IN_WORDS[275]]
    async with asyncio.timeout(30):
        call = asyncio.ensure_future(session.post(PATH, data=pairs))
        while not state.calls.in_progress:
            await asyncio.wait([call], timeout=0.01)
        call.cancel()
        there_at_once = len(state.users) - before
        await committed.wait()
    state.on_commit = None
    found = (there_at_once, len(state.users) - before)
    return [] if found == (0, 500) else [f"accounts then and later: {found}, (0, 500) expected"]


def _head(function: str) -> scenario.Pairs:
    return [("wstoken", "TOKEN"), ("moodlewsrestformat", "json"), ("wsfunction", function)]


def _pairs(exchange: dict[str, Any]) -> scenario.Pairs:
    return list(exchange["params"].items())


async def _replayed(
    session: ClientSession, state: MoodleState, number: int, exchange: dict[str, Any]
) -> list[str]:
    users_before = len(state.users)
    async with _request(session, number, exchange) as response:
        text = await response.text()
        differences = _differences(response, text, number, exchange)
    created = len(state.users) - users_before
    return differences + database_differences(state, number, exchange, created)


def _request(session: ClientSession, number: int, exchange: dict[str, Any]) -> Any:
    head = _head(exchange["function"])
    if number not in scenario.IN_WORDS:
        return session.post(PATH, data=_pairs(exchange))
    pairs = scenario.IN_WORDS[number]
    if number == 233:
        return session.get(PATH, params=head + pairs)
    if number == 234:
        headers = {"Content-Type": exchange["params"]["content-type"]}
        return session.post(PATH, params=head, data=exchange["params"]["body"], headers=headers)
    if number == 235:
        return session.post(PATH, data=head[1:], headers={"Authorization": "Bearer TOKEN"})
    return session.post(PATH, data=pairs + head if number == 239 else head + pairs)


def _differences(response: ClientResponse, text: str, number: int, exchange: dict[str, Any]) -> list[str]:
    found: list[str] = []
    if response.status != exchange["http_status"]:
        found.append(f"status {response.status}, {exchange['http_status']} recorded")
    kind = response.headers.get("Content-Type")
    if kind != exchange.get("content_type", kind):
        found.append(f"content type {kind}, {exchange['content_type']} recorded")
    if "response_text" in exchange:
        found += _text_differences(text, exchange["response_text"])
    else:
        found += _json_differences(json.loads(text), number, exchange)
    return found


def _text_differences(text: str, recorded: str) -> list[str]:
    revision = re.compile(r"boost/core/\d+/")
    # Long texts were recorded up to 4,000 characters, in which a revision takes its place.
    ours, theirs = revision.sub("", text), revision.sub("", recorded)
    same = ours.startswith(theirs) if len(recorded) >= 4000 else ours == theirs
    return [] if same else [f"text {ours!r}, {theirs!r} recorded"]


def _json_differences(ours: Any, number: int, exchange: dict[str, Any]) -> list[str]:
    theirs = exchange["response"]
    if "response_count" in exchange:
        if len(ours) != exchange["response_count"]:
            return [f"{len(ours)} rows, {exchange['response_count']} recorded"]
        ours = ours[:1] if len(theirs) == 1 else [*ours[:2], ours[-1]]
    if number in UNORDERED:
        ours, theirs = (sorted(rows, key=lambda row: row["id"]) for rows in (ours, theirs))
    if number in DEBUGINFO_IGNORED:
        ours["debuginfo"] = theirs["debuginfo"]
    return compare(ours, theirs, "")


def compare(ours: Any, theirs: Any, path: str) -> list[str]:
    """Paths at which two answers differ; JSON in texts is looked into, volatile fields must only exist."""
    if path.rpartition(".")[2] in VOLATILE:
        return []
    ours, theirs = _inner(ours), _inner(theirs)
    if isinstance(ours, dict) and isinstance(theirs, dict):
        if ours.keys() != theirs.keys():
            return [f"{path}: keys {sorted(ours.keys() ^ theirs.keys())} on one side only"]
        return [line for key in theirs for line in compare(ours[key], theirs[key], f"{path}.{key}")]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        rows = zip(ours, theirs, strict=True)
        return [line for n, (a, b) in enumerate(rows) for line in compare(a, b, f"{path}[{n}]")]
    same = type(ours) is type(theirs) and ours == theirs
    return [] if same else [f"{path}: {ours!r}, {theirs!r} recorded"]


def _inner(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in "{[" and value:
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value
