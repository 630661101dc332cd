"""A path that carries less than a whole packet: both ends find out, and set their devices."""

from __future__ import annotations

import pytest

from chancel.lab.lab import Lab
from tests.e2e.ends import Pair, eventually

OUTSIDE_MTU = 1300
LARGEST_PACKET, FITTING_PACKET = 1500, 1280
"""Where discovery starts, and the largest packet that it tries and this path carries."""

FITTING6 = 1280 - 98
LEFT6, RIGHT6 = "2001:db8:201::1", "2001:db8:201::2"

SETTLED_LIMIT_S = 60.0
IP_AND_ICMP_BYTES = 28
TCP_BYTES = 300_000


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("lines", "overhead"), [((), 78), (("shroud yes",), 127)], ids=["plain", "shroud"]
)
def test_discovery_settles_on_what_the_path_carries(
    pair: Pair, lines: tuple[str, ...], overhead: int
) -> None:
    """Left's own kernel refuses what is too large; what right sends is lost without a word."""
    left, right = pair.ends
    fitting = FITTING_PACKET - overhead
    left.host.call("tests.e2e.inside:set_mtu", "eth0", OUTSIDE_MTU)
    pair.configure(0, "auto", *lines)
    pair.start()
    assert left.tunnel("t0")["mtu"] == right.tunnel("t0")["mtu"] == LARGEST_PACKET - overhead
    eventually(
        lambda: left.tunnel("t0")["mtu"] == right.tunnel("t0")["mtu"] == fitting,
        SETTLED_LIMIT_S,
        "both know the MTU of the path",
    )
    for end, address in ((left, "10.77.0.2"), (right, "10.77.0.1")):
        eventually(
            lambda end=end: end.host.call("tests.e2e.inside:mtu", "t0") == fitting,  # type: ignore[misc]
            5.0,
            f"{end.host.name} has set its device",
        )
        assert end.logged(f"MTU has been set to {fitting}")
        assert end.ping(address, 5, 0.02, fitting - IP_AND_ICMP_BYTES) == 5
        assert end.ping(address, 1, 0.02, fitting - IP_AND_ICMP_BYTES + 1, timeout_s=0.3) == 0
    assert left.drops("t0")["send-too-large"] > 0
    receiving = left.host.start("chancel.lab.bulk:receive", "10.77.0.1")
    next(receiving.progress)
    right.host.call("chancel.lab.bulk:send", "10.77.0.1", 5201, None, TCP_BYTES)
    assert receiving.result()["bytes"] == TCP_BYTES
    assert pair.stop() == [0, 0]


@pytest.mark.timeout(120)
def test_discovery_over_ipv6_counts_its_header(lab: Lab, pair: Pair) -> None:
    """As above; also the machine's own refusal of IPv6 packets that are too large is heeded."""
    left, right = pair.ends
    lab.connect(pair.hosts[0], f"{LEFT6}/64", pair.hosts[1], f"{RIGHT6}/64")
    left.host.call("tests.e2e.inside:set_mtu", "eth1", OUTSIDE_MTU)
    for end, number, outer, peer in ((left, 1, LEFT6, RIGHT6), (right, 2, RIGHT6, LEFT6)):
        tunnel = f"tunnel 10.77.0.{number}/30 auto"
        end.configure("t0", tunnel, f"local [{outer}]:2300", f"peer [{peer}]:2300")
    pair.start()
    assert left.tunnel("t0")["mtu"] == right.tunnel("t0")["mtu"] == 1402
    eventually(
        lambda: left.tunnel("t0")["mtu"] == right.tunnel("t0")["mtu"] == FITTING6,
        SETTLED_LIMIT_S,
        "both know the MTU of the path",
    )
    for end, address in ((left, "10.77.0.2"), (right, "10.77.0.1")):
        eventually(
            lambda end=end: end.host.call("tests.e2e.inside:mtu", "t0") == FITTING6,  # type: ignore[misc]
            5.0,
            f"{end.host.name} has set its device",
        )
        assert end.ping(address, 5, 0.02, FITTING6 - IP_AND_ICMP_BYTES) == 5
    assert left.drops("t0")["send-too-large"] > 0
    assert pair.stop() == [0, 0]


@pytest.mark.timeout(120)
def test_a_device_with_ipv6_stays_as_large_as_that_needs(pair: Pair) -> None:
    """The path carries less, which is told; the kernel would take the addresses away."""
    left, right = pair.ends
    left.host.call("tests.e2e.inside:set_mtu", "eth0", OUTSIDE_MTU)
    pair.configure(0, "auto")
    for end, own in ((left, "fd77::1"), (right, "fd77::2")):
        path = end.home / "t0.conf"
        path.write_text(path.read_text() + f"tunnel6 {own}/64\n")
    pair.start()
    for end in pair.ends:
        eventually(
            lambda end=end: bool(end.logged("IPv6 needs 1280")),  # type: ignore[misc]
            SETTLED_LIMIT_S,
            f"{end.host.name} says so",
        )
        assert end.tunnel("t0")["mtu"] == FITTING_PACKET - 78
        assert end.host.call("tests.e2e.inside:mtu", "t0") == 1280
    assert left.ping("fd77::2", 3, 0.02, 1000) == right.ping("fd77::1", 3, 0.02, 1000) == 3
    assert pair.stop() == [0, 0]


def test_discovery_leaves_room_for_the_header_of_a_frame(pair: Pair) -> None:
    """Full frames of a TAP device, and their tags, fit into what the path carries."""
    left, right = pair.ends
    left.host.call("tests.e2e.inside:set_mtu", "eth0", 1500)
    for end, other in ((left, right), (right, left)):
        outer = f"local {end.outer}:2300", f"peer {other.outer}:2300"
        end.configure("t0", "tunnel 0.0.0.0/0 auto", "tap yes", *outer)
    pair.start()
    assert left.tunnel("t0")["mtu"] == 1422
    for end in pair.ends:
        assert end.host.call("tests.e2e.inside:mtu", "t0") == 1404
        for tag in (0x2007, 0):
            end.host.call("tests.e2e.inside_frames:send_frame", "t0", 0x0800, 1404, tag)
    for end in pair.ends:
        eventually(
            lambda end=end: end.tunnel("t0")["rx"]["bytes"] >= 2 * (1404 + 14) + 4,  # type: ignore[misc]
            5.0,
            "full frames arrive",
        )
        assert "send-too-large" not in end.drops("t0")
    assert pair.stop() == [0, 0]
