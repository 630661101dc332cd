"""A lab for each test; where the machine allows none, the reason and the remedy are the skip."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chancel.lab.lab import Lab
from chancel.lab.namespace import LabError


@pytest.fixture
def lab() -> Iterator[Lab]:
    try:
        built = Lab()
    except LabError as error:
        pytest.skip(str(error))
    with built:
        yield built
