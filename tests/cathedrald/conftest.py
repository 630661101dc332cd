"""Fixtures of the cathedral's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cathedrald.parish import Parish
from tests.daemon.conftest import _no_wiring_stays as _no_wiring_stays  # noqa: PLC0414
from tests.daemon.conftest import in_network as in_network  # noqa: PLC0414
from tests.daemon.conftest import tmp as tmp  # noqa: PLC0414


@pytest.fixture
def parish(tmp: Path) -> Parish:
    """The files of a cathedral with two flocks, and nothing wrong with them."""
    return Parish(tmp)
