"""The generated pages of the documentation are those that the code would write now."""

from pathlib import Path

import pytest

from infra.cli.reference import DOCS, pages


@pytest.mark.parametrize("path", list(pages()), ids=str)
def test_the_page_is_up_to_date(path: Path) -> None:
    assert (DOCS / path).read_text("utf-8") == pages()[path], "run: python -m infra.cli.reference"
