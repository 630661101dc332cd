"""The filter of IPv6 packets and of Ethernet frames against naive ones."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chancel.daemon.config_types import Network
from chancel.daemon.filter import FrameFilter, InnerFilter
from chancel.wire.drop import Drop
from tests.daemon.test_filter import ADDRESSES as ADDRESSES4
from tests.daemon.test_filter import assert_judged_like_packets, assert_written_like_packets
from tests.daemon.test_filter import packet as packet4

NETWORK4 = IPv4Network("10.77.0.0/30")
NETWORKS = [IPv6Network("fd77::/64"), IPv6Network("2001:db8:5::/48"), IPv6Network("::/3")]
FRAGMENT = 44

ADDRESSES = [
    "fd77::1",
    "fd77::ffff:ffff:ffff:ffff",
    "fd77:0:0:1::1",
    "2001:db8:5:ffff::1",
    "2001:db8:6::1",
    "::",
    "::1",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "ff02::1",
]


def packet(
    source: str = "fd77::2",
    destination: str = "fd77::1",
    *,
    version: int = 6,
    protocol: int = 6,
    fragment: int | None = None,
    size: int = 60,
    seed: int = 0,
) -> bytes:
    """``fragment``: the protocol behind a fragment header."""
    data = bytearray(random.Random(seed).randbytes(max(size, 48)))
    data[0] = version << 4
    data[6] = protocol if fragment is None else FRAGMENT
    data[8:40] = IPv6Address(source).packed + IPv6Address(destination).packed
    if fragment is not None:
        data[40] = fragment
    return bytes(data[:size])


def naive(data: bytes) -> Drop | None:
    if len(data) < 20:
        return Drop.INNER_TOO_SHORT
    if data[0] >> 4 == 4:
        return naive4(data)
    if data[0] >> 4 != 6:
        return Drop.INNER_VERSION
    if len(data) < 40 or (data[6] == FRAGMENT and len(data) < 48):
        return Drop.INNER_TOO_SHORT
    if (data[40] if data[6] == FRAGMENT else data[6]) not in (6, 17, 58):
        return Drop.INNER_PROTOCOL
    for address in (IPv6Address(data[8:24]), IPv6Address(data[24:40])):
        if address.is_link_local or not any(address in network for network in NETWORKS):
            return Drop.INNER_ADDRESS
    return None


def naive4(data: bytes) -> Drop | None:
    if data[9] not in (1, 6, 17):
        return Drop.INNER_PROTOCOL
    ends = (IPv4Address(data[12:16]), IPv4Address(data[16:20]))
    return None if all(end in NETWORK4 for end in ends) else Drop.INNER_ADDRESS


def kinds(**more: st.SearchStrategy[int]) -> st.SearchStrategy[bytes]:
    six = st.builds(
        packet,
        st.sampled_from(ADDRESSES),
        st.sampled_from(ADDRESSES),
        version=st.sampled_from([6, 6, 6, 6, 0, 15]),
        protocol=st.sampled_from([6, 17, 17, 58, 0, 43, 60, 59, 1, 255]),
        fragment=st.sampled_from([None, None, 6, 58, 44, 0]),
        **more,
    )
    four = st.builds(packet4, st.sampled_from(ADDRESSES4), st.sampled_from(["10.77.0.1"]), **more)
    return st.one_of(six, six, four)


@given(st.lists(kinds(size=st.sampled_from([60, 48, 47, 40, 39, 20, 19, 0])), max_size=20))
def test_packets_are_judged_by_the_rules(judged: list[bytes]) -> None:
    inner = InnerFilter([NETWORK4, *NETWORKS])
    assert [inner.judge(data) for data in judged] == [naive(data) for data in judged]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (packet(), None),
        (packet(protocol=58), None),
        (packet(fragment=17), None),
        (packet(fragment=17, size=47), Drop.INNER_TOO_SHORT),
        (packet(size=39), Drop.INNER_TOO_SHORT),
        (packet(fragment=0), Drop.INNER_PROTOCOL),
        (packet(protocol=0), Drop.INNER_PROTOCOL),
        (packet(protocol=43), Drop.INNER_PROTOCOL),
        (packet("2001:db8:6::1"), Drop.INNER_ADDRESS),
        (packet(destination="ff02::1"), Drop.INNER_ADDRESS),
    ],
)
def test_each_rule(data: bytes, reason: Drop | None) -> None:
    assert InnerFilter([NETWORK4, *NETWORKS]).judge(data) == reason


def test_a_tunnel_without_an_ipv6_network_carries_none() -> None:
    assert InnerFilter([NETWORK4]).judge(packet()) is Drop.INNER_VERSION


def test_link_local_addresses_are_meant_only_where_they_are_named() -> None:
    routers_advertisement = packet("fe80::1", "fd77::1", protocol=58)
    everything = [IPv6Network("::/0")]
    assert InnerFilter(everything).judge(routers_advertisement) is Drop.INNER_ADDRESS
    assert InnerFilter(everything).judge(packet("2001:db8::1")) is None
    named = [*everything, IPv6Network("fe80::/10")]
    assert InnerFilter(named).judge(routers_advertisement) is None


@st.composite
def runs(draw: st.DrawFn) -> list[bytes]:
    """Packets of one size, the last perhaps shorter: all alike, or with some that differ."""
    size = draw(st.sampled_from([40, 48, 60]))
    packets = kinds(size=st.just(size), seed=st.integers(0, 3))
    alike = draw(packets)
    if draw(st.booleans()):
        train = [alike] * draw(st.integers(1, 12))
    else:
        train = draw(st.lists(st.one_of(st.just(alike), packets), min_size=1, max_size=12))
    train[-1] = train[-1][: size - draw(st.sampled_from([0, 0, 1, size - 40, size - 19]))]
    return train


@given(runs())
@example([packet(fragment=6)] * 3 + [packet(fragment=0)])
@example([packet(destination="fec0::1")] * 3 + [packet(destination="fec0::1", size=39)])
def test_a_run_is_judged_as_its_packets_would_be(train: list[bytes]) -> None:
    assert_judged_like_packets(InnerFilter([NETWORK4, *NETWORKS]), naive, train)


@pytest.mark.usefixtures("twin")
@given(runs())
@example([packet(fragment=6)] * 3 + [packet(fragment=0)])
def test_a_run_is_written_as_its_packets_are_judged(train: list[bytes]) -> None:
    assert_written_like_packets([NETWORK4, *NETWORKS], naive, train)


@pytest.mark.usefixtures("twin")
def test_an_ipv6_address_that_maps_one_of_ipv4_is_another_one() -> None:
    mapped = packet("::ffff:10.77.0.2", "::ffff:10.77.0.1")
    four = packet4("10.77.0.2", "10.77.0.1", size=60)
    networks: list[Network] = [NETWORK4, IPv6Network("fd77::/64")]
    reasons = {four: None, mapped: Drop.INNER_ADDRESS}
    assert_written_like_packets(networks, reasons.__getitem__, [four, mapped, four])


TYPES = [0x0800, 0x0806, 0x8100, 0x86DD, 0x88A8, 0x0008, 0x88CC, 0, 0xFFFF]


def frame(ethertype: int, size: int = 60) -> bytes:
    return (bytes(12) + ethertype.to_bytes(2, "big")).ljust(60, b"!")[:size]


def naive_frame(data: bytes) -> Drop | None:
    if len(data) < 14:
        return Drop.INNER_TOO_SHORT
    if int.from_bytes(data[12:14], "big") not in (0x0800, 0x0806, 0x8100, 0x86DD):
        return Drop.INNER_ETHERTYPE
    return None


@given(st.sampled_from(TYPES), st.sampled_from([60, 14, 13, 12, 0]))
def test_frames_are_judged_by_the_rules(ethertype: int, size: int) -> None:
    data = frame(ethertype, size)
    assert FrameFilter().judge(data) == naive_frame(data)


@given(
    st.one_of(
        st.lists(st.sampled_from(TYPES), min_size=1, max_size=12),
        st.builds(lambda each, n: [each] * n, st.sampled_from(TYPES), st.integers(1, 12)),
    ),
    st.sampled_from([60, 60, 14, 13, 0]),
)
def test_a_run_of_frames_is_judged_as_they_would_be(ethertypes: list[int], last: int) -> None:
    train = [frame(each) for each in ethertypes]
    train[-1] = train[-1][:last]
    assert_judged_like_packets(FrameFilter(), naive_frame, train)


@pytest.mark.usefixtures("twin")
@given(st.lists(st.sampled_from(TYPES), min_size=1, max_size=12), st.sampled_from([60, 14, 13, 0]))
def test_frames_are_written_as_they_are_judged(ethertypes: list[int], last: int) -> None:
    train = [frame(each) for each in ethertypes]
    train[-1] = train[-1][:last]
    assert_written_like_packets([], naive_frame, train)
