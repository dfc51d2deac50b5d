"""Lists in which people look for somebody or something by a few letters: the field stands above the list."""

from dataclasses import dataclass

from producers.web.dashboard.lists import ListPage


@dataclass(frozen=True)
class SearchPage(ListPage):
    """A page that lists, with a field to search.

    Attributes:
        finds: what can be typed into the field.
    """

    template: str = "search.html"
    finds: str = ""
