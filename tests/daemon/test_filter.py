"""The filter of inner packets against a naive one, and runs against packets."""

from __future__ import annotations

import itertools
import os
import random
import socket
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chancel.daemon.config_types import Network
from chancel.daemon.filter import Filter, InnerFilter, allowed
from chancel.daemon.hot.writing import device_writer
from chancel.wire.drop import Drop
from tests.daemon.naive import TAIL, fill, new_slot, packets_of

TUNNEL = IPv4Interface("10.77.0.1/30")
ACCEPTS = [IPv4Network("192.168.0.0/16"), IPv4Network("198.51.100.7/32")]

ADDRESSES = [
    "10.77.0.0",
    "10.77.0.2",
    "10.77.0.3",
    "10.77.0.4",
    "10.76.255.255",
    "192.168.255.255",
    "192.167.255.255",
    "198.51.100.7",
    "198.51.100.6",
    "0.0.0.0",
    "255.255.255.255",
]


def packet(
    source: str = "10.77.0.2",
    destination: str = "10.77.0.1",
    *,
    version: int = 4,
    protocol: int = 6,
    size: int = 40,
    seed: int = 0,
) -> bytes:
    data = bytearray(random.Random(seed).randbytes(max(size, 20)))
    data[0] = version << 4 | 5
    data[9] = protocol
    data[12:16] = IPv4Address(source).packed
    data[16:20] = IPv4Address(destination).packed
    return bytes(data[:size])


def naive(data: bytes) -> Drop | None:
    """The rules of protocol section 3.4, one after the other."""
    if len(data) < 20:
        return Drop.INNER_TOO_SHORT
    if data[0] >> 4 != 4:
        return Drop.INNER_VERSION
    if data[9] not in (1, 6, 17):
        return Drop.INNER_PROTOCOL
    for address in (IPv4Address(data[12:16]), IPv4Address(data[16:20])):
        if not any(address in network for network in (TUNNEL.network, *ACCEPTS)):
            return Drop.INNER_ADDRESS
    return None


packets = st.builds(
    packet,
    st.sampled_from(ADDRESSES),
    st.sampled_from(ADDRESSES),
    version=st.sampled_from([4, 4, 4, 4, 6, 0, 15]),
    protocol=st.sampled_from([1, 6, 17, 17, 2, 0, 58, 255]),
    size=st.sampled_from([40, 20, 19, 1, 0]),
)


@given(st.lists(packets, max_size=20))
def test_packets_are_judged_by_the_rules(judged: list[bytes]) -> None:
    inner = InnerFilter([TUNNEL.network, *ACCEPTS])
    assert [inner.judge(data) for data in judged] == [naive(data) for data in judged]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (packet(), None),
        (packet(size=19), Drop.INNER_TOO_SHORT),
        (packet(version=6), Drop.INNER_VERSION),
        (packet(protocol=2), Drop.INNER_PROTOCOL),
        (packet("10.77.0.4"), Drop.INNER_ADDRESS),
        (packet(destination="192.167.0.1"), Drop.INNER_ADDRESS),
        (packet("192.168.3.4", "198.51.100.7", protocol=17), None),
    ],
)
def test_each_rule(data: bytes, reason: Drop | None) -> None:
    assert InnerFilter([TUNNEL.network, *ACCEPTS]).judge(data) == reason


def test_without_accepts_only_the_tunnels_own_subnet_passes() -> None:
    inner = InnerFilter([TUNNEL.network])
    assert inner.judge(packet()) is None
    assert inner.judge(packet("192.168.3.4")) is Drop.INNER_ADDRESS


def assert_judged_like_packets(
    rules: Filter, judge: Callable[[bytes], Drop | None], train: list[bytes]
) -> None:
    """A run of these packets, all of one size but the last: what passes of it, and what is said."""
    slot = new_slot(8192)
    run = fill(slot, [data + bytes(TAIL) for data in train], 7, tunnel=3)
    drops: dict[Drop, int] = {}
    parts = allowed(rules, slot, run, drops)
    assert packets_of(slot, parts) == [data + bytes(TAIL) for data in train if judge(data) is None]
    assert drops == Counter(reason for data in train if (reason := judge(data)) is not None)
    assert all(part.tunnel == 3 for part in parts)
    for before, after in itertools.pairwise(parts):
        assert before.end < after.offset or before.last < before.size, "else they would be one run"


def assert_written_like_packets(
    networks: list[Network], judge: Callable[[bytes], Drop | None], train: list[bytes]
) -> None:
    """The same for what writes the device, whichever twin: what passes is written, in its order."""
    slot = new_slot(8192)
    run = fill(slot, [data + bytes(TAIL) for data in train], 7)
    ours, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, kernel:
        kernel.setblocking(False)
        writer = device_writer(
            ours.fileno(), networks, vnet=False, frame_header=b"", ethernet=not networks
        )
        writer.write(slot, [run])
        wanted = [data for data in train if judge(data) is None]
        assert [kernel.recv(2048) for _ in wanted] == wanted
    assert writer.packets == len(wanted)
    assert writer.drops == Counter(reason for data in train if (reason := judge(data)) is not None)


@st.composite
def trains(draw: st.DrawFn) -> list[bytes]:
    """Packets of one size, the last perhaps shorter: all alike, or with some that differ."""
    size = draw(st.sampled_from([20, 40, 100]))
    addresses = st.sampled_from(ADDRESSES)
    alike = draw(st.fixed_dictionaries({"source": addresses, "destination": addresses}))
    kinds = draw(
        st.lists(
            st.one_of(
                st.just(alike),
                st.fixed_dictionaries(
                    {
                        "source": addresses,
                        "destination": addresses,
                        "version": st.sampled_from([4, 4, 6]),
                        "protocol": st.sampled_from([6, 17, 99]),
                    }
                ),
            )
            if draw(st.booleans())
            else st.just(alike),
            min_size=1,
            max_size=12,
        )
    )
    shorter = draw(st.sampled_from([0, 0, 1, size - 19, size]))
    sizes = [size] * (len(kinds) - 1) + [size - shorter]
    return [
        packet(**kind, size=size, seed=i)
        for i, (kind, size) in enumerate(zip(kinds, sizes, strict=True))
    ]


@given(trains())
@example([packet(destination="10.77.0.0")] * 3 + [packet(destination="10.77.0.0", size=19)])
def test_a_run_is_judged_as_its_packets_would_be(train: list[bytes]) -> None:
    assert_judged_like_packets(InnerFilter([TUNNEL.network, *ACCEPTS]), naive, train)


@pytest.mark.usefixtures("twin")
@given(trains())
def test_a_run_is_written_as_its_packets_are_judged(train: list[bytes]) -> None:
    assert_written_like_packets([TUNNEL.network, *ACCEPTS], naive, train)


@pytest.mark.usefixtures("twin")
def test_who_was_refused_last_is_told() -> None:
    slot = new_slot(8192)
    with open(os.devnull, "wb") as device:
        writer = device_writer(device.fileno(), [TUNNEL.network], vnet=False, frame_header=b"")
        assert writer.refused == (bytes(16), bytes(16))
        refused = [packet("203.0.113.1"), packet("10.77.0.4"), packet(version=6)]
        writer.write(slot, [fill(slot, [data + bytes(TAIL) for data in refused])])
    source, target = (IPv6Address(address).ipv4_mapped for address in writer.refused)
    assert (source, target) == (IPv4Address("10.77.0.4"), TUNNEL.ip)


def test_an_endless_number_of_addresses_is_not_remembered() -> None:
    inner = InnerFilter([IPv4Network("10.0.0.0/8")])
    for i in range(10_000):
        assert inner.judge(packet(f"10.0.{i >> 8}.{i & 255}", "10.0.0.1")) is None
    assert len(inner._allowed) <= 4096


def test_addresses_outside_are_never_remembered() -> None:
    inner = InnerFilter([TUNNEL.network])
    for _ in range(2):
        assert inner.judge(packet("203.0.113.1")) is Drop.INNER_ADDRESS
    assert not inner._allowed
