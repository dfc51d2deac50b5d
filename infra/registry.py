"""A small client of the schema registry's Confluent API (Confluent, Karapace and Apicurio speak it)."""

import base64
import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import stamina

from infra.errors import HubError, RetryLater, Stop

_TYPE = "application/vnd.schemaregistry.v1+json"


@dataclass(frozen=True, slots=True)
class Registry:
    """The registry at ``url`` (with the path of its Confluent API).

    Attributes:
        url: such as ``http://registry:8081`` or ``http://registry:8080/apis/ccompat/v7``.
        user_info: ``user:password`` for basic authentication, or none.
        timeout: seconds for one call.
    """

    url: str
    user_info: str | None = field(default=None, repr=False)
    timeout: float = 10.0

    def schema(self, schema_id: int) -> str:
        """Return the schema (JSON text) with the id ``schema_id``.

        Raises:
            RetryLater: the registry could not be reached or failed.
            HubError: it knows no such schema.
        """
        return str(self._call("GET", f"/schemas/ids/{schema_id}")["schema"])

    def register(self, subject: str, schema: str) -> int:
        """Register ``schema`` under ``subject`` if it is not there, and return its id.

        Raises:
            ConflictError: it is not compatible with what is there.
        """
        return int(self._write("POST", f"/subjects/{_path(subject)}/versions", {"schema": schema})["id"])

    def lookup(self, subject: str, schema: str) -> int | None:
        """Return the id of ``schema`` under ``subject``, or none if it is not registered there."""
        try:
            return int(self._call("POST", f"/subjects/{_path(subject)}", {"schema": schema})["id"])
        except NotFoundError:
            return None

    def versions(self, subject: str) -> list[int]:
        """Return the version numbers of ``subject``, oldest first; empty if there is none."""
        try:
            return [int(version) for version in self._call("GET", f"/subjects/{_path(subject)}/versions")]
        except NotFoundError:
            return []

    def compatible(self, subject: str, schema: str) -> list[str]:
        """Return why ``schema`` is incompatible with the versions of ``subject``; empty if it is not."""
        path = f"/compatibility/subjects/{_path(subject)}/versions?verbose=true"
        try:
            answer = self._call("POST", path, {"schema": schema})
        except NotFoundError:
            return []
        if answer["is_compatible"]:
            return []
        return [str(message) for message in answer.get("messages", [])] or ["incompatible"]

    def compatibility(self, subject: str) -> str | None:
        """Return the compatibility level set for ``subject``, or none."""
        try:
            answer = self._call("GET", f"/config/{_path(subject)}")
        except NotFoundError:
            return None
        return str(answer.get("compatibilityLevel") or answer.get("compatibility"))

    def set_compatibility(self, subject: str, level: str) -> None:
        """Set the compatibility level of ``subject``, such as ``FULL_TRANSITIVE``."""
        self._write("PUT", f"/config/{_path(subject)}", {"compatibility": level})

    def _write(self, method: str, path: str, body: Any) -> Any:
        try:
            return self._call(method, path, body)
        except ConflictError:
            # So Apicurio answers one of two processes that make the same at once; now it is there.
            return self._call(method, path, body)

    @stamina.retry(on=RetryLater, attempts=4, wait_initial=0.1, wait_max=2.0, timeout=30.0)
    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": _TYPE, "Accept": _TYPE}
        if self.user_info:
            headers["Authorization"] = "Basic " + base64.b64encode(self.user_info.encode()).decode()
        request = urllib.request.Request(self.url.rstrip("/") + path, data, headers, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as response:  # noqa: S310
                return json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                raise _failure(error, f"{method} {path.split('?')[0]}") from None
        except (OSError, json.JSONDecodeError) as error:
            msg = f"the schema registry at {self.url} does not answer: {error}"
            raise RetryLater(msg) from None


class NotFoundError(HubError):
    """The registry has no such subject or schema."""


class ConflictError(HubError):
    """The registry cannot bring the schema together with what it has."""


def _path(subject: str) -> str:
    return quote(subject, safe="")


def _failure(error: urllib.error.HTTPError, call: str) -> HubError:
    if error.code == HTTPStatus.NOT_FOUND:
        return NotFoundError(f"{call}: not found in the schema registry")
    if error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return Stop(f"{call}: the schema registry refuses the credentials (HTTP {error.code})")
    text = f"{call}: the schema registry answered HTTP {error.code}"
    if error.code >= HTTPStatus.INTERNAL_SERVER_ERROR or error.code == HTTPStatus.TOO_MANY_REQUESTS:
        return RetryLater(text)
    kind = ConflictError if error.code == HTTPStatus.CONFLICT else HubError
    return kind(f"{text}: {error.read(500).decode('utf-8', 'replace')}")
