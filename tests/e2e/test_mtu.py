"""A path that carries less than a whole packet: both ends find out, and set their devices."""

from __future__ import annotations

import pytest

from tests.e2e.ends import Pair, eventually

OUTSIDE_MTU = 1300
FITTING = 1280 - 78
"""The largest packet that discovery tries and this path carries, less what the tunnel adds."""

SETTLED_LIMIT_S = 60.0
IP_AND_ICMP_BYTES = 28
TCP_BYTES = 300_000


@pytest.mark.timeout(120)
def test_discovery_settles_on_what_the_path_carries(pair: Pair) -> None:
    """Left's own kernel refuses what is too large; what right sends is lost without a word."""
    left, right = pair.ends
    left.host.call("tests.e2e.inside:set_mtu", "eth0", OUTSIDE_MTU)
    pair.configure(0, "auto")
    pair.start()
    assert left.tunnel("t0")["mtu"] == right.tunnel("t0")["mtu"] == 1422
    eventually(
        lambda: left.tunnel("t0")["mtu"] == right.tunnel("t0")["mtu"] == FITTING,
        SETTLED_LIMIT_S,
        "both know the MTU of the path",
    )
    for end, address in ((left, "10.77.0.2"), (right, "10.77.0.1")):
        eventually(
            lambda end=end: end.host.call("tests.e2e.inside:mtu", "t0") == FITTING,  # type: ignore[misc]
            5.0,
            f"{end.host.name} has set its device",
        )
        assert end.logged(f"MTU has been set to {FITTING}")
        assert end.ping(address, 5, 0.02, FITTING - IP_AND_ICMP_BYTES) == 5
        assert end.ping(address, 1, 0.02, FITTING - IP_AND_ICMP_BYTES + 1, timeout_s=0.3) == 0
    assert left.drops("t0")["send-too-large"] > 0
    receiving = left.host.start("chancel.lab.bulk:receive", "10.77.0.1")
    next(receiving.progress)
    right.host.call("chancel.lab.bulk:send", "10.77.0.1", 5201, None, TCP_BYTES)
    assert receiving.result()["bytes"] == TCP_BYTES
    assert pair.stop() == [0, 0]
