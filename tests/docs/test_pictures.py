"""The pictures in the documentation are those that the code draws."""

from __future__ import annotations

import pytest

from tests.docs.pictures import PICTURES, ROOT


@pytest.mark.parametrize("file", PICTURES)
def test_a_picture_is_up_to_date(file: str) -> None:
    redraw = "redraw it: python -m tests.docs.pictures"
    assert (ROOT / "docs" / file).read_text() == PICTURES[file](), redraw
