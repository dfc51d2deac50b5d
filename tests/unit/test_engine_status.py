from __future__ import annotations

import json
import urllib.error
import urllib.request

from infra.telemetry import Status, serve_status


def call(port: int, path: str, data: bytes | None = None) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", data, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_probes_follow_the_status() -> None:
    status = Status("people", live_seconds=60.0)
    with serve_status(status) as port:
        assert call(port, "/livez") == (200, "ok\n")
        assert call(port, "/readyz") == (503, "starting\n")
        status.ready()
        assert call(port, "/readyz") == (200, "ok\n")
        status.not_ready("the token was refused")
        assert call(port, "/readyz") == (503, "the token was refused\n")
    hung = Status("people", live_seconds=0.0)
    with serve_status(hung) as port:
        assert call(port, "/livez")[0] == 503


def test_the_whole_status_is_one_object() -> None:
    status = Status("people")
    status.facts["restore"] = {"left": 0}
    status.source("partitions", lambda: [1, 2])
    with serve_status(status) as port:
        code, text = call(port, "/status")
    assert code == 200
    assert json.loads(text) == {
        "role": "people",
        "live": True,
        "ready": False,
        "reason": "starting",
        "paused": False,
        "restore": {"left": 0},
        "partitions": [1, 2],
    }


def test_an_operator_pauses_and_resumes() -> None:
    status = Status("people")
    with serve_status(status) as port:
        assert call(port, "/pause", b"") == (200, "ok\n")
        assert status.paused.is_set()
        assert call(port, "/resume", b"") == (200, "ok\n")
        assert not status.paused.is_set()
        assert call(port, "/explode", b"")[0] == 404
        assert call(port, "/nothing")[0] == 404


def test_metrics_are_text_of_prometheus() -> None:
    with serve_status(Status("people")) as port:
        code, text = call(port, "/metrics")
    assert code == 200
    assert "# TYPE hub_transactions_total counter" in text
