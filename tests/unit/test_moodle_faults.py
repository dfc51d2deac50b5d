import json
from pathlib import Path
from typing import Any

import pytest

from connectors.moodle.faults import (
    Failure,
    FormCut,
    Kind,
    Refused,
    UnknownOutcome,
    error_of,
    read_answer,
)
from infra.errors import RetryLater, Stop

_PATHS = sorted((Path(__file__).parents[1] / "contract" / "recordings").glob("*.json"))
# Without a status: answers to parallel calls, and a client that hung up.
RECORDINGS = [path for path in _PATHS if json.loads(path.read_text()).get("http_status")]

# Every recorded failure: what can be done about it, and the code by which it is known.
FAILURES: dict[tuple[Kind, str], tuple[int, ...]] = {
    (Kind.RETRY, "http_503"): (265,),
    (Kind.RETRY, "sitemaintenance"): (266,),
    (Kind.RETRY, "upgraderunning"): (267,),
    (Kind.RETRY, "dbconnectionfailed"): (271,),
    (Kind.UNKNOWN, "http_502"): (273, 277),
    (Kind.CUT, "form_cut"): (215, 216, 239),
    (Kind.STOP, "invalidtoken"): (207, 208, 235, 258),
    (Kind.STOP, "accessexception"): (209, 257, 259, 260, 261, 284),
    (Kind.STOP, "missing_function"): (210,),
    (Kind.STOP, "wsaccessusersuspended"): (256,),
    (Kind.STOP, "http_403"): (262, 263),
    (Kind.REFUSED, "categoryidnumbertaken"): (3, 4),
    (Kind.REFUSED, "unknowncategory"): (8,),
    (Kind.REFUSED, "shortnametaken"): (11, 17),
    (Kind.REFUSED, "courseidnumbertaken"): (12,),
    (Kind.REFUSED, "errorcatcontextnotvalid"): (13,),
    (Kind.REFUSED, "enddatebeforestartdate"): (15,),
    (Kind.REFUSED, "nostartdatenoenddate"): (16,),
    (Kind.REFUSED, "errorinvalidparam"): (18,),
    (Kind.REFUSED, "dmlwriteexception"): (20, 60, 64, 65, 221),
    (Kind.REFUSED, "php_error"): (28,),
    (Kind.REFUSED, "other"): (45,),
    (Kind.REFUSED, "codingerror"): (91, 107, 114, 119),
    (Kind.REFUSED, "wsusercannotassign"): (109, 111),
    (Kind.REFUSED, "invaliduser"): (118, 153),
    (Kind.REFUSED, "invalidrecord"): (127, 137, 187, 202),
    (Kind.REFUSED, "nocriteriaset"): (144,),
    (Kind.REFUSED, "nottracked"): (146,),
    (Kind.REFUSED, "usernotenroled"): (152, 154, 155, 157),
    (Kind.REFUSED, "invalidcoursemodule"): (169,),
    (Kind.REFUSED, "idnumbertaken"): (176,),
    (Kind.REFUSED, "formatnotsupported"): (189, 191, 281, 286),
    (Kind.REFUSED, "invalidparameter"): (
        *(14, 21, 30, 44, 47, 48, 50, 51, 52, 54, 55, 56, 57, 58, 59, 61, 62, 63, 66, 67, 68, 70, 72, 78),
        *(108, 113, 126, 170, 175, 180, 183, 211, 212, 213, 214, 217, 218, 219, 220, 222, 223, 224, 225),
        *(230, 234, 276, 278, 280),
    ),
}
EXPECTED = {number: Failure(*failure) for failure, numbers in FAILURES.items() for number in numbers}


def _body(exchange: dict[str, Any]) -> bytes:
    text = exchange.get("response_text")
    return (json.dumps(exchange["response"]) if text is None else str(text)).encode()


def test_there_are_recordings() -> None:
    assert len(RECORDINGS) > 280


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_a_recorded_answer_is_classed_by_what_can_be_done(path: Path) -> None:
    exchange = json.loads(path.read_text())
    value, failure = read_answer(exchange["http_status"], _body(exchange))
    assert failure == EXPECTED.get(int(path.name[:3]))
    if failure is None:
        assert value == json.loads(_body(exchange))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, Kind.STOP),
        (302, Kind.STOP),
        (400, Kind.STOP),
        (401, Kind.STOP),
        (404, Kind.STOP),
        (408, Kind.UNKNOWN),
        (413, Kind.REFUSED),
        (429, Kind.RETRY),
        (500, Kind.UNKNOWN),
        (504, Kind.UNKNOWN),
        (522, Kind.UNKNOWN),
    ],
)
def test_a_status_that_was_not_recorded_is_classed(status: int, kind: Kind) -> None:
    assert read_answer(status, b"<html>") == (None, Failure(kind, f"http_{status}"))


@pytest.mark.parametrize(
    ("body", "code"), [(b"", "not_json"), (b"<!DOCTYPE html>", "html"), (b'[{"id":', "not_json")]
)
def test_a_page_or_half_an_answer_leaves_the_outcome_unknown(body: bytes, code: str) -> None:
    assert read_answer(200, body) == (None, Failure(Kind.UNKNOWN, code))


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (Kind.RETRY, RetryLater),
        (Kind.UNKNOWN, UnknownOutcome),
        (Kind.CUT, FormCut),
        (Kind.REFUSED, Refused),
        (Kind.STOP, Stop),
    ],
)
def test_each_kind_has_its_error(kind: Kind, error: type[Exception]) -> None:
    assert type(error_of(Failure(kind, "code"), "function")) is error


def test_no_personal_datum_of_an_error_goes_on() -> None:
    exchange = json.loads(next(path for path in RECORDINGS if path.name.startswith("221")).read_text())
    assert "user5555@example.test" in json.dumps(exchange["response"])
    _, failure = read_answer(200, _body(exchange))
    assert failure is not None
    assert str(error_of(failure, exchange["function"])) == (
        "Moodle refused core_user_create_users: dmlwriteexception"
    )


def test_a_code_that_is_no_code_is_not_passed_on() -> None:
    body = json.dumps({"exception": "moodle_exception", "errorcode": "someone@example.test"}).encode()
    assert read_answer(200, body) == (None, Failure(Kind.REFUSED, "other"))
