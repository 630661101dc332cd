"""The order in which a tunnel sends: the reference's replay window has 64 positions.

A packet that arrives 64 or more positions behind a later one is refused there, so no packet may
leave after one whose number is more than 63 higher; and those of a flow never change places.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chancel.daemon.offloads import ALL, NONE
from tests.daemon import frames as made
from tests.daemon.frames import Frame
from tests.daemon.naive import NO_VNET, TCP, UDP, Flow
from tests.daemon.paths import Datagram, Kind, Path, Side
from tests.daemon.test_paths_equal_hostile import named

MOST_POSITIONS = 63
FLOWS = [
    Flow(protocol=protocol, source_port=port) for protocol in (TCP, UDP) for port in range(100, 104)
]


@pytest.fixture(scope="module")
def paths() -> Iterator[list[Path]]:
    with ExitStack() as ends:
        yield [
            ends.enter_context(Path(Side(offloads, names), Side(), Kind(), relayed=True))
            for offloads in (ALL, NONE)
            for names in named()
        ]


def positions(numbers: Iterable[int]) -> int:
    """By how many numbers a packet comes at most behind one that was to come later."""
    highest = most = 0
    for number in numbers:
        most = max(most, highest - number)
        highest = max(highest, number)
    return most


@st.composite
def mixed(draw: st.DrawFn) -> list[Frame]:
    """Packets and trains of some flows and sizes, in any order."""
    frames = []
    count = 0
    for index, size, segments in draw(
        st.lists(
            st.tuples(
                st.integers(0, len(FLOWS) - 1),
                st.sampled_from([1, 2, 20, 60, 500, 1200, 1381]),
                st.sampled_from([1, 1, 1, 2, 3, 20]),
            ),
            min_size=1,
            max_size=40,
        )
    ):
        flow = FLOWS[index]
        payload = made.noise(count, size * segments)
        partial = segments > 1
        vnet = flow.vnet(size) if partial else NO_VNET
        packet = flow.packet(payload, sequence=count, identity=count, partial=partial)
        frames.append(Frame(vnet, packet))
        count += segments
    return frames


def test_packets_leave_in_the_order_of_their_numbers_and_of_their_flows(
    paths: list[Path],
) -> None:
    most = 0

    @settings(max_examples=60, suppress_health_check=list(HealthCheck), database=None)
    @given(mixed())
    def test(frames: list[Frame]) -> None:
        nonlocal most
        packets = [packet for frame in frames for packet in made.packets_of(frame, 0)]
        for path in paths:
            sent = path.overhear(given for frame in frames for given in path.left.given(frame, 0))
            most = max(most, positions(each.number for each in sent))
            assert by_flow(each.payload for each in sent) == by_flow(packets)

    test()
    assert most <= MOST_POSITIONS


def by_flow(packets: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    """The packets of each flow, in order: told by protocol and source port."""
    flows: dict[bytes, list[bytes]] = {}
    for packet in packets:
        flows.setdefault(packet[9:10] + packet[20:22], []).append(packet)
    return flows


def test_positions_are_counted() -> None:
    assert positions([1, 2, 3, 7, 8]) == 0
    assert positions([2, 1, 3]) == 1
    assert positions([64, 1, 65, 2]) == MOST_POSITIONS
    assert positions([65, 1]) == MOST_POSITIONS + 1


def test_numbers_follow_each_other(paths: list[Path]) -> None:
    """None is left out by which a window would move on for nothing."""
    for path in paths:
        sent: list[Datagram] = []
        for _ in range(3):
            frames = [Frame(NO_VNET, flow.packet(bytes(100))) for flow in FLOWS]
            sent += path.overhear(frames)
        numbers = sorted(each.number for each in sent)
        assert len(set(numbers)) == len(numbers) == 3 * len(FLOWS)
