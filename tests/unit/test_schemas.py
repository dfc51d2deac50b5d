"""The dataclasses, the Avro schemas and the history of the schemas say the same."""

import dataclasses
import io
import json
import types
import typing
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.codec import schema_text
from schemas import ids
from schemas.convert import RecordError, from_record, to_record
from schemas.reasons import EXPLANATIONS, Reason
from schemas.topics import PEOPLE, TOPICS, Topic, topic_set

HISTORY = Path(__file__).resolve().parents[2] / "schemas" / "history"
RECORDED = [topic for topic in TOPICS if topic.record is not None]
PLAIN: dict[Any, Any] = {
    str: "string",
    int: "long",
    bool: "boolean",
    bytes: "bytes",
    datetime: {"type": "long", "logicalType": "timestamp-micros"},
    date: {"type": "int", "logicalType": "date"},
    Decimal: {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 4},
}


def avro_type(kind: Any) -> Any:
    """Return the Avro type that stands for the annotation ``kind``; enums and records as (name, content)."""
    if hasattr(kind, "__supertype__"):
        return avro_type(kind.__supertype__)
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        return ["null", avro_type(typing.get_args(kind)[0])]
    if typing.get_origin(kind) is Mapping:
        return {"type": "map", "values": avro_type(typing.get_args(kind)[1])}
    if typing.get_origin(kind) is tuple:
        return {"type": "array", "items": avro_type(typing.get_args(kind)[0])}
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return ("enum", kind.__name__, ["UNKNOWN", *(member.value for member in kind)])
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return ("record", kind.__name__, fields_of_dataclass(kind))
    return PLAIN[kind]


def fields_of_dataclass(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: avro_type(hints[field.name]) for field in dataclasses.fields(kind)}


def fields_of_schema(schema: dict[str, Any], named: dict[str, Any]) -> dict[str, Any]:
    return {field["name"]: normal(field["type"], named) for field in schema["fields"]}


def normal(kind: Any, named: dict[str, Any]) -> Any:
    if isinstance(kind, list):
        return [normal(branch, named) for branch in kind]
    if isinstance(kind, str):
        return named.get(kind, kind)
    if kind["type"] == "array":
        return {"type": "array", "items": normal(kind["items"], named)}
    if kind["type"] == "enum":
        assert kind["default"] == "UNKNOWN"
        named[kind["name"]] = ("enum", kind["name"], kind["symbols"])
        return named[kind["name"]]
    if kind["type"] == "record":
        return ("record", kind["name"], fields_of_schema(kind, named))
    return kind


@pytest.mark.parametrize("topic", RECORDED, ids=lambda topic: topic.name)
def test_dataclass_and_schema_have_the_same_fields(topic: Topic) -> None:
    assert fields_of_schema(json.loads(schema_text(topic)), {}) == fields_of_dataclass(topic.record)


@pytest.mark.parametrize("topic", RECORDED, ids=lambda topic: topic.name)
def test_a_nullable_field_defaults_to_null(topic: Topic) -> None:
    for field in json.loads(schema_text(topic))["fields"]:
        if isinstance(field["type"], list):
            assert field.get("default", "absent") is None, field["name"]


@pytest.mark.parametrize("topic", RECORDED, ids=lambda topic: topic.name)
def test_the_newest_version_in_the_history_is_the_schema(topic: Topic) -> None:
    """A change of a schema is a new version: add it as the next number, never edit an old one."""
    versions = sorted(
        (HISTORY / str(topic.schema).removesuffix(".avsc")).glob("*.avsc"), key=lambda p: int(p.stem)
    )
    assert json.loads(versions[-1].read_text("utf-8")) == json.loads(schema_text(topic))


def records_of(topic: Topic) -> st.SearchStrategy[Any]:
    assert topic.record is not None
    since_epoch = st.integers(0, 4_000_000_000_000_000)
    micros = since_epoch.map(lambda value: datetime.fromtimestamp(0, UTC) + timedelta(microseconds=value))
    days = st.dates(date(1970, 1, 2), date(2100, 1, 1))
    st.register_type_strategy(datetime, micros)
    st.register_type_strategy(date, days)
    st.register_type_strategy(
        Mapping, lambda kind: st.dictionaries(*map(st.from_type, typing.get_args(kind)))
    )
    st.register_type_strategy(Decimal, st.decimals(-(10**13), 10**13, allow_nan=False, places=4))
    st.register_type_strategy(int, st.integers(-(2**63), 2**63 - 1))
    st.register_type_strategy(str, st.text(st.characters(exclude_categories=["Cs"])))
    return st.from_type(topic.record)


@given(st.data())
def test_every_record_survives_the_way_through_avro(data: st.DataObject) -> None:
    topic = data.draw(st.sampled_from(RECORDED))
    record = data.draw(records_of(topic))
    schema = fastavro.parse_schema(json.loads(schema_text(topic)))
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, schema, to_record(record))
    stream.seek(0)
    assert (
        from_record(typing.cast(Any, fastavro.schemaless_reader(stream, schema, None)), type(record))
        == record
    )


def test_a_record_of_a_newer_writer_is_read_without_what_is_new() -> None:
    assert PEOPLE.record is not None
    person = minimal_person() | {"favourite_colour": "green"}
    assert from_record(person, PEOPLE.record) == from_record(minimal_person(), PEOPLE.record)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"operation": "UNKNOWN"}, "operation"),
        ({"operation": "MERGE"}, "operation"),
        ({"version_sequence": "7"}, "version_sequence"),
        ({"tenant": None}, "tenant"),
    ],
)
def test_a_record_that_does_not_fit_names_the_field(change: dict[str, Any], named: str) -> None:
    assert PEOPLE.record is not None
    with pytest.raises(RecordError, match=named):
        from_record(minimal_person() | change, PEOPLE.record)


def test_a_missing_field_is_named() -> None:
    person = minimal_person()
    del person["person_id"]
    assert PEOPLE.record is not None
    with pytest.raises(RecordError, match="person_id"):
        from_record(person, PEOPLE.record)


def minimal_person() -> dict[str, Any]:
    now = datetime(2026, 11, 21, 5, 13, tzinfo=UTC)
    return {
        "tenant": "default",
        "person_id": "0A1B",
        "operation": "UPSERT",
        "source_system": "elm",
        "source_record_id": "1",
        "version_time": now,
        "version_sequence": 1,
        "recorded_at": now,
        "account_policy": "WHEN_ENROLLED",
    }


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_a_key_can_be_taken_apart(parts: list[str]) -> None:
    assert ids.split(ids.key(*parts)) == parts


@given(st.lists(st.text("a|\\"), min_size=1, max_size=4), st.lists(st.text("a|\\"), min_size=1, max_size=4))
def test_different_parts_make_different_keys(left: list[str], right: list[str]) -> None:
    assert (ids.key(*left) == ids.key(*right)) is (left == right)


def test_every_reason_is_explained() -> None:
    assert set(EXPLANATIONS) == set(Reason)


def test_topics_of_two_hubs_and_two_sites_have_different_names() -> None:
    here = {topic.name for topic in topic_set(ids.Target("north"), "a.").all()}
    there = {topic.name for topic in topic_set(ids.Target("south"), "b.").all()}
    assert len(here) == len(TOPICS)
    assert here & there == set()
    assert "a.moodle.north.commands" in here
