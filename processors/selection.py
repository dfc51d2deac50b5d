"""Which records take part: include and exclude lists of the mapping, by attribute. Pure."""

from collections.abc import Mapping

from infra.mapping.model import SelectionRules


def selected(rules: SelectionRules, fields: Mapping[str, str]) -> bool:
    """Tell whether a record with these ``fields`` takes part.

    It does when each attribute to be included has one of the values let in, and none has a value kept out.
    Values are compared without regard to case; an attribute that is missing has none of them.
    """
    return all(_has(fields, name, values) for name, values in rules.include.items()) and not any(
        _has(fields, name, values) for name, values in rules.exclude.items()
    )


def _has(fields: Mapping[str, str], name: str, values: tuple[str, ...]) -> bool:
    return fields.get(name, "").lower() in {value.lower() for value in values}
