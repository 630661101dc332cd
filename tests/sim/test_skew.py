"""Wrong clocks: offers are good for 10 s, and whoever is off must learn that it is."""

from __future__ import annotations

import pytest

from chancel.sim.pair import Pair
from chancel.sim.scenario import Scenario
from chancel.wire.drop import Drop


def pair_with_skew(left_s: float, right_s: float = 0.0) -> Pair:
    pair = Pair(Scenario(hours=1.0))
    pair.left.clock.set_wall(left_s)
    pair.right.clock.set_wall(right_s)
    pair.start()
    return pair


def skew_seen(pair: Pair) -> tuple[float | None, float | None]:
    """(left's, right's) measure of how far the peer's clock is ahead of its own."""
    left, right = (node.session for node in pair.nodes)
    assert left is not None
    assert right is not None
    now = pair.clock.now
    return left.status(now).clock_skew_s, right.status(now).clock_skew_s


@pytest.mark.parametrize("skew_s", [-9.0, 9.0])
def test_nine_seconds_do_no_harm(skew_s: float) -> None:
    pair = pair_with_skew(skew_s)
    pair.clock.run_until(60.0)
    assert pair.report().ok
    assert pair.ledger.recoveries[0] <= 5.0


@pytest.mark.parametrize("skew_s", [-11.5, 11.5, 43.0, -86_400.0])
def test_eleven_seconds_are_refused_by_both_and_both_say_by_how_much(skew_s: float) -> None:
    pair = pair_with_skew(skew_s)
    pair.clock.run_until(120.0)
    assert not pair.ledger.recoveries
    left, right = skew_seen(pair)
    assert left == pytest.approx(-skew_s, abs=1.1)
    assert right == pytest.approx(skew_s, abs=1.1)
    for drops in pair.report().drops:
        assert drops[Drop.OFFER_TIME]


@pytest.mark.parametrize("skew_s", [-3600.0, -43.0, 43.0, 3600.0])
def test_a_clock_set_right_later_makes_the_tunnel_come_up_soon(skew_s: float) -> None:
    for corrected_at in (30.0, 61.0, 95.0, 600.0):
        pair = pair_with_skew(skew_s)
        pair.clock.run_until(corrected_at)
        assert not pair.ledger.recoveries
        pair.left.clock.set_wall(0.0)
        assert pair.wait_up(limit_s=100.0) <= 10.0
