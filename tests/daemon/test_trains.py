"""What ``trains.seams`` sees of a run as a whole is what ``joints`` finds packet by packet."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.daemon.hot.cut import GSO_TCP4, GSO_TCP6, GSO_UDP
from chancel.daemon.hot.trains import joints, recognise, seams
from tests.daemon.naive import (
    ACK,
    FIN,
    TAIL,
    TCP,
    UDP,
    Flow,
    checksum,
    fill,
    new_slot,
    train,
)

KINDS = (GSO_TCP4, GSO_TCP6, GSO_UDP)
SIZE = 100


def found(packets: list[bytes]) -> tuple[list[int] | None, list[int]]:
    """Where trains begin in a run of these packets: by the short way, and by the long one."""
    slot = new_slot()
    run = fill(slot, [packet + bytes(TAIL) for packet in packets], 5)
    first = recognise(slot, run, KINDS)
    assert first is not None
    return seams(slot, run, first), np.flatnonzero(~joints(slot, run, first)).tolist()


def timestamps(now: int) -> bytes:
    return struct.pack("!BBBBII", 1, 1, 8, 10, now, 7)


IPV6 = Flow(version=6, source="fd00::1", destination="fd00::2")
TIMED = Flow(options=timestamps(1))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (TIMED, Flow(options=timestamps(2))),
        (Flow(), Flow(acknowledged=9)),
        (Flow(), Flow(window=9)),
        (Flow(), Flow(ttl=9)),
        (Flow(), Flow(source_port=9)),
        (Flow(protocol=UDP), Flow(protocol=UDP, destination_port=9)),
        (IPV6, IPV6._replace(source_port=9)),
        (IPV6, IPV6._replace(ttl=9)),
    ],
)
def test_trains_that_follow_each_other_are_seen_as_a_whole(one: Flow, other: Flow) -> None:
    """Their last packets say PSH; without that, what differs is what parts them."""
    for without_push in (True, False):
        packets = train(one, 4, SIZE, SIZE)[: -1 if without_push else None]
        count = len(packets)
        packets += train(other, 4, SIZE, SIZE - 30, first=1 + count * SIZE)
        assert found(packets) == ([0, count], [0, count])


@pytest.mark.parametrize("flow", [TIMED, Flow(protocol=UDP), IPV6])
def test_a_short_packet_of_another_flow_is_no_part_of_the_train(flow: Flow) -> None:
    packets = train(flow, 4, SIZE, SIZE)
    for payload in (b"", b"some"):
        short = flow._replace(source_port=9, destination_port=9, options=b"").packet(payload)
        assert found([*packets, short]) == ([0, 4], [0, 4])
    for other in (flow._replace(source=flow.destination), flow._replace(protocol=UDP + 1)):
        quick, thorough = found([*packets, other.packet(b"")])
        assert (quick, thorough) == (None, [0, 4])


@pytest.mark.parametrize("flow", [Flow(), Flow(protocol=UDP)])
def test_a_short_packet_may_end_with_the_slot(flow: Flow) -> None:
    packets = [packet + bytes(TAIL) for packet in train(flow, 4, SIZE, SIZE)]
    for size in range(1, flow.head + TAIL + 1):
        slot = new_slot(4 * len(packets[0]) + size)
        run = fill(slot, [*packets, bytes(size)])
        first = recognise(slot, run, KINDS)
        assert first is not None
        assert seams(slot, run, first) is None
        assert np.flatnonzero(~joints(slot, run, first)).tolist() == [0, 4]


def test_a_gap_parts_a_flow() -> None:
    packets = train(Flow(), 9, SIZE, SIZE)
    del packets[4]
    assert found(packets) == ([0, 4], [0, 4])


def test_without_df_a_gap_of_identifications_parts_a_flow() -> None:
    flow = Flow(flags_fragment=0)
    packets = [
        flow.packet(bytes(SIZE), sequence=1 + i * SIZE, identity=i + i // 3) for i in range(6)
    ]
    assert found(packets) == ([0, 3], [0, 3])


def with_header(packet: bytes, at: int, value: int, *, repair: bool) -> bytes:
    """The packet with another byte in its IP header."""
    header = bytearray(packet[:20])
    header[at] = value
    if repair:
        header[10:12] = bytes(2)
        header[10:12] = checksum(bytes(header)).to_bytes(2)
    return bytes(header) + packet[20:]


SERVICE, IDENTITY, TTL, CHECKSUM = 1, 5, 8, 11


@pytest.mark.parametrize("flow", [Flow(), Flow(protocol=UDP)])
def test_another_service_parts_a_flow(flow: Flow) -> None:
    """One packet says that it met congestion, for example."""
    packets = train(flow, 9, SIZE, SIZE - 1)
    packets[4] = with_header(packets[4], SERVICE, 3, repair=True)
    assert found(packets) == ([0, 4, 5], [0, 4, 5])


@pytest.mark.parametrize("at", [SERVICE, IDENTITY, TTL, CHECKSUM])
@pytest.mark.parametrize("others", [SERVICE, None])
def test_a_wrong_ip_header_takes_the_long_way(at: int, others: int | None) -> None:
    """Be it one or the first, or all of them; whether the others differ as well or not."""
    for wrong in ([2], [4], [0], range(5)):
        packets = train(Flow(), 5, SIZE, SIZE)
        if others is not None:
            packets[3] = with_header(packets[3], others, 3, repair=True)
        for i in wrong:
            packets[i] = with_header(packets[i], at, packets[i][at] ^ 0x55, repair=False)
        quick, thorough = found(packets)
        assert quick is None
        assert set(wrong) | {i + 1 for i in wrong if i < 4} <= set(thorough)


def test_other_addresses_kinds_and_flags_take_the_long_way() -> None:
    for other in (Flow(source="10.77.0.3"), Flow(flags_fragment=0)):
        quick, _ = found(train(Flow(), 4, SIZE, SIZE) + train(other, 4, SIZE, SIZE))
        assert quick is None
    finished = train(Flow(), 4, SIZE, SIZE)
    finished[3] = Flow().packet(bytes(SIZE), sequence=1 + 3 * SIZE, flags=ACK | FIN)
    assert found(finished)[0] is None


flows = st.builds(
    Flow,
    version=st.just(4),
    protocol=st.just(TCP),
    source=st.just(Flow().source),
    destination=st.just(Flow().destination),
    source_port=st.sampled_from([1, 2]),
    destination_port=st.just(443),
    window=st.sampled_from([5, 6]),
    ttl=st.sampled_from([63, 64]),
    acknowledged=st.sampled_from([1, 2]),
    flags_fragment=st.sampled_from([0x4000, 0]),
    options=st.sampled_from([timestamps(1), timestamps(2)]),
)


@given(
    st.lists(st.tuples(flows, st.integers(1, 4), st.integers(0, 2)), min_size=1, max_size=4),
    st.integers(1, SIZE),
    st.lists(st.tuples(st.integers(0, 15), st.integers(0, 60), st.integers(1, 255)), max_size=1),
)
def test_both_ways_agree(
    parts: list[tuple[Flow, int, int]], last: int, changes: list[tuple[int, int, int]]
) -> None:
    packets: list[bytes] = []
    at = 1
    for flow, count, gap in parts:
        packets += train(flow, count, SIZE, SIZE, first=at)
        at += (count + gap // 2) * SIZE
    packets += train(parts[-1][0], 1, last, last, first=at)
    for index, place, bits in changes:
        packet = bytearray(packets[index % (len(packets) - 1) + 1])  # the first is looked at before
        packet[place % len(packet)] ^= bits
        packets[index % (len(packets) - 1) + 1] = bytes(packet)
    quick, thorough = found(packets)
    assert quick in (None, thorough)
