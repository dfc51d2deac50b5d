"""Records to and from the bytes of a message: Avro in the Confluent wire format.

A message value is a zero byte, the schema id in the registry (4 bytes, big-endian), and the Avro binary.
Source of the format: the "wire format" section of Confluent's schema registry documentation.
"""

import io
import json
import struct
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import fastavro
from fastavro.schema import SchemaParseException
from fastavro.validation import ValidationError

from infra.errors import HubError
from infra.registry import NotFoundError, Registry
from schemas.convert import RecordError, from_record, to_record
from schemas.topics import Record, Topic

_HEADER = struct.Struct(">bI")
Bodies = tuple[tuple[str, str], ...]
"""Fields that are nullable records, with the full names of these."""


class UnreadableError(HubError):
    """A message value is no record of its topic; the text says why, without the value."""


class MisfitError(HubError):
    """A record does not fit the schema of its topic; the text names the fields, without their values."""


def schema_text(topic: Topic) -> str:
    """Return the Avro schema of the values of ``topic`` as JSON text, as it is registered."""
    if topic.schema is None:
        msg = f"topic {topic.name} holds no Avro records"
        raise HubError(msg)
    source = resources.files("schemas").joinpath("avro", topic.schema).read_text("utf-8")
    return json.dumps(json.loads(source), separators=(",", ":"), ensure_ascii=False)


@dataclass(slots=True)
class Codec:
    """Encodes and decodes the values of all topics; schema ids are asked once and kept.

    Attributes:
        registry: where schemas are registered and looked up.
    """

    registry: Registry
    _writers: dict[str, tuple[bytes, Any, Bodies]] = field(default_factory=dict)
    _readers: dict[int, Any] = field(default_factory=dict)

    def encode(self, topic: Topic, record: Record) -> bytes:
        """Return ``record`` as the value of a message of ``topic`` (named with its prefix).

        Raises:
            MisfitError: the record does not fit the schema.
            HubError: the schema is not registered.
            RetryLater: the registry could not be reached.
        """
        header, schema, bodies = self._writers.get(topic.name) or self._writer(topic)
        out = io.BytesIO()
        out.write(header)
        plain = to_record(record)
        for name, kind in bodies:
            if plain[name] is not None:
                plain[name] = (kind, plain[name])
        try:
            fastavro.schemaless_writer(out, schema, plain)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            msg = f"topic {topic.name}: {_misfit(plain, schema)}"
            raise MisfitError(msg) from None
        return out.getvalue()

    def decode(self, topic: Topic, value: bytes | None) -> Record:
        """Return the record in the message ``value`` of ``topic``.

        Raises:
            UnreadableError: the value is empty, cut, or no record of the topic in the wire format.
            RetryLater: the registry could not be reached.
        """
        if topic.record is None or value is None or len(value) < _HEADER.size or value[0] != 0:
            msg = "the value is not Avro in the Confluent wire format"
            raise UnreadableError(msg)
        schema_id = _HEADER.unpack_from(value)[1]
        schema = self._readers.get(schema_id) or self._reader(schema_id)
        stream = io.BytesIO(value)
        stream.seek(_HEADER.size)
        try:
            plain = fastavro.schemaless_reader(stream, schema, None)
        except (EOFError, ValueError, IndexError, TypeError, OverflowError, StopIteration) as error:
            kind = type(error).__name__
            msg = f"the value does not follow schema {schema_id} ({kind})"
            raise UnreadableError(msg) from None
        if not isinstance(plain, dict):
            msg = f"schema {schema_id} is not of a record"
            raise UnreadableError(msg)
        try:
            return from_record(plain, topic.record)
        except RecordError as error:
            raise UnreadableError(str(error)) from None

    def _writer(self, topic: Topic) -> tuple[bytes, Any, Bodies]:
        text = schema_text(topic)
        schema_id = self.registry.lookup(topic.subject, text)
        if schema_id is None:
            msg = f"subject {topic.subject} lacks this hub's schema: run `hub topics apply`"
            raise HubError(msg)
        schema = fastavro.parse_schema(json.loads(text))
        writer = (_HEADER.pack(0, schema_id), schema, _bodies(schema))
        self._writers[topic.name] = writer
        return writer

    def _reader(self, schema_id: int) -> Any:
        try:
            schema = fastavro.parse_schema(json.loads(self.registry.schema(schema_id)))
        except NotFoundError:
            msg = f"the registry knows no schema {schema_id}"
            raise UnreadableError(msg) from None
        except (SchemaParseException, ValueError) as error:
            kind = type(error).__name__
            msg = f"schema {schema_id} is not Avro ({kind})"
            raise UnreadableError(msg) from None
        self._readers[schema_id] = schema
        return schema


def _bodies(schema: Any) -> Bodies:
    """Return the nullable records among the fields of ``schema``, each with its full name.

    Told which branch of the union it is, fastavro need not try the record against each of them.
    """
    unions = [(field["name"], field["type"]) for field in schema["fields"] if isinstance(field["type"], list)]
    return tuple(
        (name, branch["name"])
        for name, branches in unions
        for branch in branches
        if isinstance(branch, dict) and branch["type"] == "record"
    )


def _misfit(plain: dict[str, Any], schema: Any) -> str:
    try:
        fastavro.validation.validate(plain, schema)
    except ValidationError as error:
        fields = sorted({str(detail.field) for detail in error.errors})
        return f"fields that do not fit the schema: {', '.join(fields)}"
    return "the record does not fit the schema"
