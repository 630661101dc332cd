"""IPv6 in the lab: hosts, wires and routers carry it like IPv4, but nobody translates it."""

from __future__ import annotations

import pytest

from chancel.lab.lab import Lab
from chancel.lab.namespace import LabError
from chancel.sim.models import LinkModel
from chancel.sim.nat import NAT_TYPES

PING = "chancel.lab.ping:ping"
LEFT, RIGHT = "2001:db8:1::1", "2001:db8:1::2"
FULL = 1500 - 48


def test_packets_of_all_sizes_pass(lab: Lab) -> None:
    a, b = lab.host("a"), lab.host("b")
    lab.connect(a, f"{LEFT}/64", b, f"{RIGHT}/64")
    for size in (0, FULL):
        assert a.call(PING, RIGHT, 5, 0.01, size)["received"] == 5
    assert a.call(PING, RIGHT, 1, 0.01, FULL + 1, True, 0.2)["received"] == 0
    assert a.call(PING, RIGHT, 5, 0.01, 4000, False)["received"] == 5
    assert lab.counts()["carried"] > 0
    assert "unrouted" not in lab.counts(), "nobody looks for neighbours"


@pytest.mark.parametrize("model", [LinkModel(), LinkModel(latency_s=0.001)])
def test_streams_arrive_whole(lab: Lab, model: LinkModel) -> None:
    a, b = lab.host("a"), lab.host("b")
    lab.connect(a, f"{LEFT}/64", b, f"{RIGHT}/64", model)
    receiving = b.start("chancel.lab.bulk:receive", RIGHT, 5201, True)
    next(receiving.progress)
    sent = a.call("chancel.lab.bulk:send", RIGHT, 5201, None, 1_000_000, True)
    assert receiving.result()["sha256"] == sent["sha256"]


def test_damage_is_noticed_by_the_kernel(lab: Lab) -> None:
    a, b = lab.host("a"), lab.host("b")
    lab.connect(a, f"{LEFT}/64", b, f"{RIGHT}/64", LinkModel(corrupt=1.0))
    receiving = b.start("chancel.lab.blast:receive", RIGHT, 5202, 1.0)
    next(receiving.progress)
    a.call("chancel.lab.blast:send", RIGHT, 5202, 50, 8, 2000.0)
    assert receiving.result()["packets"] == 0
    assert lab.counts()["corrupted"] >= 50


def test_a_host_may_have_both_and_reach_far_networks_of_both(lab: Lab) -> None:
    a, b = lab.host("a"), lab.host("b")
    for near, far, ours, theirs, legs in (
        ("10.0.0.0/24", "10.1.0.0/24", "10.0.0.2", "10.1.0.2", ("10.0.0.1", "10.1.0.1")),
        (
            "2001:db8:1::/64",
            "2001:db8:2::/64",
            LEFT,
            "2001:db8:2::2",
            ("2001:db8:1::9", "2001:db8:2::9"),
        ),
    ):
        inside, outside = lab.network(near), lab.network(far)
        inside.join(a, ours)
        outside.join(b, theirs)
        lab.router((inside, legs[0]), (outside, legs[1]))
        assert a.call(PING, theirs, 3, 0.01)["received"] == 3
        assert b.call(PING, ours, 3, 0.01)["received"] == 3


def test_ipv6_is_not_translated(lab: Lab) -> None:
    networks = [lab.network(f"2001:db8:{i}::/64") for i in (1, 2)]
    legs = [(network, f"2001:db8:{i}::1") for i, network in zip((1, 2), networks, strict=True)]
    with pytest.raises(LabError, match="only IPv4 has NAT here"):
        lab.router(legs[0], legs[1], NAT_TYPES["symmetric"])


def test_hosts_joined_by_the_kernel_find_each_other(lab: Lab) -> None:
    a, b = lab.host("a"), lab.host("b")
    lab.veth(a, f"{LEFT}/64", b, f"{RIGHT}/64")
    assert a.call(PING, RIGHT, 1, 0.01, 56, True, 10.0)["received"] == 1
