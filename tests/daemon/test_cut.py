"""``hot.cut`` against a naive segmenter, byte for byte, through a real descriptor."""

from __future__ import annotations

import os
import random
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chancel.daemon.hot.reading import Reader, device_reader
from chancel.daemon.run import MAX_RUN_PACKETS, MAX_RUNS, Run
from chancel.wire.drop import Drop
from tests.daemon.naive import (
    ACK,
    CWR,
    FIN,
    NO_VNET,
    PSH,
    TAIL,
    TCP,
    UDP,
    VNET,
    Flow,
    cut,
    new_slot,
    packets_of,
)

pytestmark = pytest.mark.usefixtures("twin")
"""Everything here holds for the hot functions in Python, and for their compiled twins."""

ETHERNET = bytes(range(14))

Frame = tuple[bytes, bytes]
"""A virtio header and what stands behind it."""


@contextmanager
def device() -> Iterator[tuple[int, int]]:
    """Two descriptors: what is written to the first is read, message by message, from the other."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        theirs.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        yield ours.fileno(), theirs.fileno()


def read_all(reader: Reader) -> list[bytes]:
    """Drain the device, a new slot at a time; returns the packets without their tails."""
    packets: list[bytes] = []
    for _ in range(100):
        slot = new_slot()
        slot.memory[:] = b"\xee" * len(slot.memory)
        runs = reader.fill(slot, 7)
        assert len(runs) <= MAX_RUNS
        assert all(run.packets <= MAX_RUN_PACKETS for run in runs)
        assert all((run.tunnel, run.next) == (7, 0) for run in runs)
        assert all(run.end <= len(slot.memory) for run in runs)
        # Sealed, the packets must fit a slot of the same size, each run aligned to 16 bytes.
        assert sum(run.packets * (run.size + 48) + 15 for run in runs) <= len(slot.memory)
        packets += packets_of(slot, runs)
        if not runs:
            assert not reader.rest
            assert all(packet[-TAIL:] == bytes(TAIL) for packet in packets)
            return [packet[:-TAIL] for packet in packets]
    raise AssertionError("the device never ran empty")


def read_back(
    frames: list[Frame], *, vnet: bool = True, ethernet: bytes = b""
) -> tuple[list[bytes], Reader]:
    with device() as (write, read):
        reader = device_reader(read, vnet=vnet, frame_header_bytes=len(ethernet))
        for header, packet in frames:
            os.write(write, header + ethernet + packet)
        return read_all(reader), reader


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


flows = st.builds(
    Flow()._replace,
    version=st.sampled_from([4, 6]),
    protocol=st.sampled_from([TCP, UDP]),
    source_port=st.integers(0, 0xFFFF),
    flags_fragment=st.sampled_from([0x4000, 0]),
    acknowledged=st.integers(0, 2**32 - 1),
    options=st.integers(0, 10).map(lambda n: b"\x01" * (4 * n)),
).map(
    lambda flow: (
        flow
        if flow.version == 4
        else flow._replace(source="fd00::2", destination="fd00:1:2:3:4:5:6:7")
    )
)

numbers = st.sampled_from([0, 1, 77, 0xFFF0, 0xFFFF, 2**32 - 1, 2**32 - 3000, 2**31])


@st.composite
def trains(draw: st.DrawFn, shift: int) -> list[Frame]:
    """One big packet, which the kernel would have cut."""
    flow = draw(flows)
    segment = draw(st.integers(1, 1472 - flow.head))
    most = min(90 * segment, 65_535 - flow.head, 30_000)
    size = draw(
        st.one_of(st.integers(1, most), st.integers(1, most // segment).map(segment.__mul__))
    )
    packet = flow.packet(
        noise(draw(st.integers(0, 99)), size),
        sequence=draw(numbers),
        identity=draw(numbers),
        flags=ACK | draw(st.sampled_from([0, PSH, FIN | PSH, CWR, CWR | FIN | PSH])),
        partial=True,
    )
    return [(flow.vnet(segment, shift=shift), packet)]


@st.composite
def series(draw: st.DrawFn, shift: int) -> list[Frame]:
    """Trains that follow each other: of one shape, whatever else differs, but for some of them.

    Some end with a shorter packet, and packets alone may come between.
    """
    flow = draw(flows)
    if flow.version == 4:
        flow = flow._replace(source=draw(st.sampled_from(["10.77.0.2", "10.77.200.9"])))
    segment = draw(st.one_of(st.integers(1, 200), st.integers(1, 1472 - flow.head)))
    sequence, identity = draw(numbers), draw(numbers)
    frames = []
    for i in range(draw(st.integers(2, 6))):
        if draw(st.integers(0, 4)) == 0:
            frames += draw(st.one_of(trains(shift), bursts(shift)))
        if draw(st.integers(0, 2)) == 0:  # of another connection
            sequence, identity = draw(numbers), draw(numbers)
            flow = flow._replace(source_port=draw(st.integers(0, 0xFFFF)), ttl=64 - i, window=i)
        flow = flow._replace(acknowledged=i, options=noise(i, len(flow.options)))
        count = draw(st.integers(1, 12))
        rest = draw(st.one_of(st.just(segment), st.just(segment), st.integers(1, segment)))
        size = (count - 1) * segment + rest
        value = ACK | draw(st.sampled_from([0, 0, PSH, FIN | PSH, CWR, CWR | FIN | PSH]))
        packet = flow.packet(
            noise(i, size), sequence=sequence, identity=identity, flags=value, partial=True
        )
        frames.append((flow.vnet(segment, shift=shift), packet))
        sequence, identity = sequence + size, identity + count
    return frames


@st.composite
def bursts(draw: st.DrawFn, shift: int) -> list[Frame]:
    """Packets alone, of one size but the last, with and without a checksum to complete."""
    flow = draw(flows)
    count = draw(st.sampled_from([1, 2, 5, 6, 7, 30]))
    size = draw(st.integers(1, 1472 - flow.head))
    sizes = [size] * (count - 1) + [draw(st.integers(1, size))]
    partial = draw(st.booleans())
    header = flow.vnet(shift=shift) if partial else NO_VNET
    return [
        (header, flow.packet(noise(i, size), identity=i, partial=partial))
        for i, size in enumerate(sizes)
    ]


def frames_of(shift: int) -> st.SearchStrategy[list[Frame]]:
    parts = st.lists(st.one_of(trains(shift), bursts(shift)), min_size=1, max_size=3)
    return parts.map(lambda lists: [frame for frames in lists for frame in frames])


def expected(frames: list[Frame], shift: int = 0) -> list[bytes]:
    return [packet for header, big in frames for packet in cut(header, big, shift)]


@given(frames_of(0))
def test_trains_and_packets_are_cut_as_the_kernel_would(frames: list[Frame]) -> None:
    packets, reader = read_back(frames)
    assert packets == expected(frames)
    assert reader.packets == len(packets)
    assert reader.bytes == sum(map(len, packets))
    assert not reader.drops


@given(frames_of(len(ETHERNET)))
def test_a_frame_header_moves_the_checksums_place(frames: list[Frame]) -> None:
    packets, _ = read_back(frames, ethernet=ETHERNET)
    assert packets == expected(frames, len(ETHERNET))


@given(st.data(), st.sampled_from([b"", ETHERNET]))
def test_trains_in_a_row_are_cut_as_one_by_one(data: st.DataObject, ethernet: bytes) -> None:
    frames = data.draw(series(len(ethernet)))
    packets, reader = read_back(frames, ethernet=ethernet)
    assert packets == expected(frames, len(ethernet))
    alone = [read_back([frame], ethernet=ethernet) for frame in frames]
    assert packets == [packet for each, _ in alone for packet in each]
    assert reader.trains == sum(one.trains for _, one in alone)
    assert reader.packets == len(packets)
    assert reader.bytes == sum(map(len, packets))
    assert not reader.drops


@pytest.mark.parametrize("protocol", [TCP, UDP])
@pytest.mark.parametrize(("segment", "count"), [(1_370, 44), (100, 440), (30, 690)])
def test_trains_in_a_row_go_on_in_the_next_slot(segment: int, count: int, protocol: int) -> None:
    """Their numbers go round, and where the slot is full one of them is parted."""
    flow = Flow(protocol=protocol, options=bytes(12))
    size, frames = segment * count, []
    for i in range(9):
        big = flow.packet(
            noise(i, size + i // 8),
            sequence=2**32 - 5 * size + i * size,
            identity=0xFFF0 + count * i,
            flags=ACK | (CWR | PSH if i % 3 else 0),
            partial=True,
        )
        frames.append((flow.vnet(segment), big))
    packets, reader = read_back(frames)
    assert packets == expected(frames)
    assert reader.trains == len(frames)


@pytest.mark.parametrize(
    ("at", "value"),
    [(0, 0x65), (0, 0x46), (0, 0x05), (32, 0x70), (32, 0x90), (32, 0x40), (32, 0x8F)],
)
def test_what_only_seems_to_follow_is_judged_as_if_alone(at: int, value: int) -> None:
    """The same virtio header, but another version, or another place of the payload."""
    flow = Flow(options=bytes(12))
    frame = flow.vnet(100), flow.packet(noise(1, 1_000), partial=True)
    other = bytearray(frame[1])
    other[at] = value
    frames = [frame, (frame[0], bytes(other)), frame]
    packets, reader = read_back(frames)
    alone = [read_back([each]) for each in frames]
    assert packets == [packet for each, _ in alone for packet in each]
    assert sum(reader.drops.values()) == len(alone[1][1].drops)
    assert (reader.packets, reader.trains) == (len(packets), 3 - len(alone[1][1].drops))


def test_more_trains_of_a_shape_are_little_more_work() -> None:
    """They become one run, and share whatever needs no train of its own."""
    flow = Flow(options=bytes(12))
    frame = flow.vnet(1_370) + flow.packet(noise(1, 1_370 * 10), partial=True)
    slot, calls = new_slot(), []
    with device() as (write, read):
        reader = device_reader(read, vnet=True, frame_header_bytes=0)
        for count in (1, 6):
            for _ in range(count):
                os.write(write, frame)
            runs, counted = counting(lambda: reader.fill(slot, 7))
            assert [run.packets for run in runs] == [10 * count]
            calls.append(counted)
    assert calls[1] < 2 * calls[0]


def counting(work: Callable[[], list[Run]]) -> tuple[list[Run], int]:
    """Do something, and count the calls of Python functions in it."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        done = work()
        return done, calls
    finally:
        sys.setprofile(before)


def test_a_full_train_of_each_kind() -> None:
    for version, source, destination in ((4, "10.0.0.2", "10.0.0.1"), (6, "fd00::2", "fd00::1")):
        for protocol in (TCP, UDP):
            flow = Flow(version, protocol, source, destination, options=bytes(range(1, 13)))
            big = flow.packet(noise(1, 65_535 - flow.head), partial=True, flags=ACK | PSH)
            frames = [(flow.vnet(1_380), big)]
            packets, reader = read_back(frames)
            assert packets == expected(frames)
            assert reader.trains == 1


def test_a_checksum_that_comes_out_as_zero_is_sent_as_all_ones() -> None:
    flow = Flow(protocol=UDP)
    partial = flow.packet(bytes(40), partial=True)
    zero = checksum_filler(partial)
    payload = zero.to_bytes(2, "big") + bytes(38)
    frames = [(flow.vnet(), flow.packet(payload, partial=True))] * 8
    packets, _ = read_back(frames)
    assert packets == expected(frames)
    assert {packet[26:28] for packet in packets} == {b"\xff\xff"}
    alone, _ = read_back(frames[:1])
    assert alone == packets[:1]
    train = [(flow.vnet(40), flow.packet(payload * 3, partial=True))]
    packets, _ = read_back(train)
    assert packets == expected(train)
    assert {packet[26:28] for packet in packets} == {b"\xff\xff"}


def checksum_filler(partial: bytes) -> int:
    """The word of payload that makes a packet's checksum zero."""
    (value,) = {packet[26:28] for packet in cut(Flow(protocol=UDP).vnet(), partial)}
    return int.from_bytes(value, "big")


@pytest.mark.parametrize("segment", [1, 8, 100, 536])
def test_a_train_of_tiny_segments_goes_on_in_the_next_slot(segment: int) -> None:
    """A peer that announces a tiny segment size makes more packets of 64 KiB than a slot holds."""
    flow = Flow(options=bytes(12), flags_fragment=0)
    big = flow.packet(noise(2, 65_535 - flow.head), partial=True, flags=ACK | PSH | CWR)
    frames = [(flow.vnet(segment), big), (NO_VNET, flow.packet(b"behind it"))]
    packets, reader = read_back(frames)
    assert packets == expected(frames)
    assert reader.trains == 1


def test_a_slot_full_of_packets_alone_leaves_the_rest_for_the_next() -> None:
    flow = Flow(protocol=UDP)
    frames = [(NO_VNET, flow.packet(noise(i, 1 + i % 7))) for i in range(300)]
    packets, _ = read_back(frames)
    assert packets == expected(frames)


def test_without_virtio_header_packets_come_as_they_are() -> None:
    packet = Flow().packet(b"plain")
    assert read_back([(b"", packet)], vnet=False)[0] == [packet]


def test_what_is_too_short_or_too_long_is_counted() -> None:
    flow = Flow()
    frames = [
        (NO_VNET, b"x" * 12),
        (NO_VNET[:4], b""),
        (NO_VNET, b"x" * 13),
        (NO_VNET, b"x" * 1472),
        (NO_VNET, b"x" * 1473),
        (flow.vnet(1472 - flow.head + 1), flow.packet(bytes(5000), partial=True)),
    ]
    packets, reader = read_back(frames)
    assert list(map(len, packets)) == [13, 1472]
    assert reader.drops == {Drop.DEVICE_READ_SHORT: 2, Drop.DEVICE_READ_LONG: 2}


@given(
    flows,
    st.integers(1, 3000),
    st.binary(min_size=10, max_size=10),
    st.lists(st.tuples(st.integers(0, 90), st.integers(0, 255)), max_size=4),
    st.booleans(),
)
@example(Flow(), 3000, Flow().vnet(100), [(32, 0x00)], False)
@example(Flow(), 3000, Flow().vnet(100), [(32, 0x40)], False)
@example(Flow(), 3000, VNET.pack(1, 1, 40, 100, 0, 16), [], False)
@example(Flow(), 3000, VNET.pack(1, 1, 40, 100, 21, 16), [], False)
@example(Flow(protocol=UDP), 3000, VNET.pack(1, 5, 28, 100, 0, 6), [], False)
@example(Flow(), 60, VNET.pack(1, 0, 0, 0, 0xFFFF, 0xFFFF), [], True)
@example(Flow(), 60, VNET.pack(1, 0, 0, 0, 3, 16), [], True)
def test_nonsense_never_raises(
    flow: Flow, size: int, header: bytes, changes: list[tuple[int, int]], ethernet: bool
) -> None:
    """Whatever the headers say, a packet is passed on or counted."""
    mangled = bytearray(header + flow.packet(noise(3, size), partial=True))
    for at, value in changes:
        mangled[min(at + 10, len(mangled) - 1)] = value
    for prefix in (bytes(mangled[:10]), flow.vnet(min(size, 200))):
        _, reader = read_back(
            [(prefix, bytes(mangled[10:]))], ethernet=ETHERNET if ethernet else b""
        )
        assert set(reader.drops) <= {Drop.DEVICE_READ_SHORT, Drop.DEVICE_READ_LONG}
        assert reader.packets or sum(reader.drops.values()) == 1
