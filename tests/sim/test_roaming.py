"""One end behind a NAT router, the other waiting for it: paths that come, change and come back."""

from __future__ import annotations

import pytest

from chancel.protocol.events import PathChanged
from chancel.sim.nat import NAT_TYPES
from chancel.sim.pair import INSIDE, LEFT, Pair, run
from chancel.sim.scenario import Scenario


@pytest.mark.parametrize("nat", NAT_TYPES)
def test_a_tunnel_comes_up_through_every_type_of_nat_and_stays(nat: str) -> None:
    pair = Pair(Scenario(hours=3.0, nat=nat))
    pair.start()
    assert pair.wait_up(limit_s=10.0) <= 3.0
    pair.clock.run_until(3 * 3600.0)
    report = pair.report()
    assert report.ok, report.violations
    assert report.payloads_delivered >= report.payloads_sent - 1


@pytest.mark.parametrize("nat", ["port-restricted", "symmetric"])
def test_a_router_that_forgets_its_table_is_followed_with_the_next_heartbeat(nat: str) -> None:
    pair = Pair(Scenario(nat=nat), keep_trace=True)
    pair.start()
    pair.clock.run_until(100.0)
    assert pair.router is not None
    pair.router.nat.forget()
    paths = len([line for line in pair.trace.lines if PathChanged.__name__ in line])
    pair.clock.run_until(130.0)
    changed = len([line for line in pair.trace.lines if PathChanged.__name__ in line]) - paths
    assert changed == (1 if nat == "symmetric" else 0)
    assert pair.right.session is not None
    peer = pair.right.session.status(pair.clock.now).peer
    assert peer is not None
    assert peer.host == LEFT.host
    pair.clock.run_until(3600.0)
    assert pair.report().ok


def test_the_inner_address_is_never_seen_outside() -> None:
    pair = Pair(Scenario(nat="full-cone"), keep_trace=True)
    pair.start()
    pair.clock.run_until(600.0)
    assert not any(INSIDE.host in line for line in pair.trace.lines if " right " in line)


@pytest.mark.parametrize("seed", range(1, 5))
def test_power_failures_behind_nat(seed: int) -> None:
    pair = Scenario(seed=seed, hours=24.0, loss=0.02, restarts=True, nat="symmetric")
    report = run(pair)
    assert report.ok, (report.violations[:5], pair.command())
