"""Ids of people and courses, made from the attributes of a source's records."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from infra.mapping.model import TenantRules
from infra.mapping.templates import Choice
from schemas.ids import CourseId, PersonId


class Identity(Protocol):
    """The identity rules for one source of one tenant."""

    def person(self, attributes: Mapping[str, str]) -> PersonId | None:
        """Return the person's id, or none where the attributes lack what the rule names."""

    def course(self, attributes: Mapping[str, str]) -> CourseId | None:
        """Return the course's id, or none where the attributes lack what the rule names."""

    def missing(self, kind: str, attributes: Mapping[str, str]) -> str:
        """Return the names of the attributes that the rule for ``kind`` (person, course) lacks."""


@dataclass(frozen=True, slots=True)
class RuleIdentity:
    """`Identity` by the mapping file."""

    rules: TenantRules
    source: str

    def person(self, attributes: Mapping[str, str]) -> PersonId | None:
        """Return the person's id, or none where the attributes lack what the rule names."""
        found = self._choice("person").render({**self.rules.values, **attributes})
        return None if found is None else PersonId(found)

    def course(self, attributes: Mapping[str, str]) -> CourseId | None:
        """Return the course's id, or none where the attributes lack what the rule names."""
        found = self._choice("course").render({**self.rules.values, **attributes})
        return None if found is None else CourseId(found)

    def missing(self, kind: str, attributes: Mapping[str, str]) -> str:
        """Return the names of the attributes that the rule for ``kind`` (person, course) lacks."""
        return self._choice(kind).missing({**self.rules.values, **attributes})

    def _choice(self, kind: str) -> Choice:
        identity = self.rules.source(self.source).identity
        return identity.person if kind == "person" else identity.course
