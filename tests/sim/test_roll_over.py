"""A new bundle reaches all 255 devices of a flock within an interval of infos and two seconds."""

from __future__ import annotations

import pytest

from chancel.sim.roll_over import DEVICES, LIMIT_S, roll_over


@pytest.mark.parametrize(("loss", "seed"), [(0.0, 1), (0.05, 2)])
def test_all_have_it_in_time(loss: float, seed: int) -> None:
    times = roll_over(loss, seed)
    assert len(times) == 2 * (DEVICES - 1)
    assert max(times) <= LIMIT_S
