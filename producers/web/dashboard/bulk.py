"""Lists of which all that match can be dealt with at once: what the form of that is sent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from producers.web.dashboard.lists import ListPage, View


@dataclass(frozen=True)
class BulkPage(ListPage):
    """A page that lists, whose filters can be handed to a deed.

    Attributes:
        fields: of the route of the deed, by the parameter of the list that means the same.
        fixed: parameters that may be given with these values alone, for the deed means them anyway.
    """

    fields: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, str] = field(default_factory=dict)

    def bulk(self, view: View) -> dict[str, str] | None:
        """Return what the deed is sent to mean all rows of ``view``; none if it cannot mean just these."""
        return fields_of(view.filtering, self.fields, self.fixed)


def fields_of(
    asked: Mapping[str, Sequence[str]], fields: Mapping[str, str], fixed: Mapping[str, str]
) -> dict[str, str] | None:
    """Return the fields that mean what the parameters ``asked`` mean; none if there are none.

    Args:
        asked: parameters of a list, each with its values.
        fields: names of fields by parameter.
        fixed: parameters that mean nothing, with the value at which that holds.
    """
    found = {}
    for name, values in asked.items():
        if name in fixed and list(values) == [fixed[name]]:
            continue
        if name not in fields or len(values) > 1:
            return None
        found[fields[name]] = values[0]
    return found if set(found) - {"ownerless"} else {**found, "all": "true"}
