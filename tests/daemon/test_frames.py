"""IPv6 packets and Ethernet frames through the hot functions, against the naive twins.

A *kind* is a way in which packets come and go: bare (TUN), as Ethernet frames with or without a
VLAN tag (TAP), or behind an Ethernet header that isn't carried (a packet socket in place of TUN).
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chancel.daemon.hot.reading import Reader, device_reader
from chancel.daemon.hot.writing import device_writer
from chancel.wire.drop import Drop
from tests.daemon.naive import (
    ACK,
    NO_VNET,
    PSH,
    TAIL,
    TCP,
    UDP,
    VNET,
    Flow,
    checksum,
    cut,
    fill,
    new_slot,
    train,
)
from tests.daemon.test_coalesce import device as writable
from tests.daemon.test_coalesce import written
from tests.daemon.test_cut import device as readable
from tests.daemon.test_cut import noise, numbers, read_all

pytestmark = pytest.mark.usefixtures("twin")
"""Everything here holds for the hot functions in Python, and for their compiled twins."""

MACS = bytes(range(12))
VLAN = b"\x81\x00\x00\x07"
TYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}


class Kind(NamedTuple):
    """``carried``: the Ethernet header is a part of the packet; ``tagged``: with a VLAN tag."""

    version: int
    ethernet: bool = False
    tagged: bool = False
    carried: bool = True

    @property
    def link(self) -> bytes:
        """What stands before the IP header on the device."""
        tag = VLAN if self.tagged else b""
        return MACS + tag + TYPES[self.version] if self.ethernet else b""

    @property
    def frame_header(self) -> bytes:
        """What the device is told to put before IPv4."""
        return b"" if self.carried else MACS + TYPES[4]

    @property
    def tap(self) -> bool:
        return self.ethernet and self.carried

    @property
    def inner(self) -> bytes:
        """What of it is carried."""
        return self.link if self.carried else b""


BARE6, BEHIND6 = Kind(6), Kind(6, ethernet=True, carried=False)
TAP4, TAP6 = Kind(4, ethernet=True), Kind(6, ethernet=True)
TAGGED4, TAGGED6 = Kind(4, ethernet=True, tagged=True), Kind(6, ethernet=True, tagged=True)
JOINED = [BARE6, BEHIND6, TAP4, TAP6]
ALL = [*JOINED, TAGGED4, TAGGED6]


def flow_of(kind: Kind, flow: Flow | None = None) -> Flow:
    flow = flow or Flow()
    if kind.version == 4:
        return flow
    return flow._replace(version=6, source="fd00::2", destination="fd00:1:2:3:4:5:6:7")


flows = st.builds(
    Flow()._replace,
    protocol=st.sampled_from([TCP, UDP]),
    source_port=st.integers(0, 0xFFFF),
    flags_fragment=st.sampled_from([0x4000, 0]),
    acknowledged=st.integers(0, 2**32 - 1),
    options=st.integers(0, 10).map(lambda n: bytes(range(1, 4 * n + 1))),
)


def read_back(kind: Kind, frames: list[tuple[bytes, bytes]]) -> tuple[list[bytes], Reader]:
    """Read frames (a virtio header, an IP packet) as the device of this kind gives them."""
    with readable() as (write, read):
        reader = device_reader(
            read, vnet=True, frame_header_bytes=len(kind.frame_header), ethernet=kind.tap
        )
        for header, packet in frames:
            os.write(write, header + kind.link + packet)
        return read_all(reader), reader


@given(st.sampled_from(ALL), flows, st.data())
def test_trains_are_cut_as_the_kernel_would(kind: Kind, flow: Flow, data: st.DataObject) -> None:
    flow = flow_of(kind, flow)
    segment = data.draw(st.integers(1, 1472 - flow.head - len(kind.link)))
    big = flow.packet(
        noise(1, data.draw(st.integers(1, 30 * segment))),
        sequence=data.draw(numbers),
        identity=data.draw(numbers),
        flags=ACK | PSH,
        partial=True,
    )
    vnet = flow.vnet(segment, shift=len(kind.link))
    packets, reader = read_back(kind, [(vnet, big)])
    assert packets == [kind.inner + packet for packet in cut(vnet, big, len(kind.link))]
    assert reader.bytes == sum(map(len, packets))
    assert not reader.drops


@pytest.mark.parametrize("kind", ALL)
def test_a_train_of_tiny_segments_goes_on_in_the_next_slot(kind: Kind) -> None:
    flow = flow_of(kind)
    big = flow.packet(noise(2, 60_000), partial=True, flags=ACK | PSH)
    vnet = flow.vnet(50, shift=len(kind.link))
    packets, reader = read_back(kind, [(vnet, big), (NO_VNET, flow.packet(b"behind it"))])
    wanted = [*cut(vnet, big, len(kind.link)), flow.packet(b"behind it")]
    assert packets == [kind.inner + packet for packet in wanted]
    assert reader.trains == 1


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("count", [1, 10])
def test_checksums_left_to_the_device_are_completed(kind: Kind, count: int) -> None:
    flow = flow_of(kind, Flow(protocol=UDP))
    vnet = flow.vnet(shift=len(kind.link))
    frames = [(vnet, flow.packet(noise(i, 99), partial=True)) for i in range(count)]
    packets, _ = read_back(kind, frames)
    assert packets == [kind.inner + flow.packet(noise(i, 99)) for i in range(count)]


def test_a_train_whose_frame_says_another_type_is_no_train() -> None:
    flow = flow_of(TAP6)
    big = flow.packet(bytes(3000), partial=True)
    _, reader = read_back(TAP6._replace(version=4), [(flow.vnet(1000, shift=14), big)])
    assert reader.drops == {Drop.DEVICE_READ_LONG: 1}


@given(
    st.sampled_from([TAP4, TAP6, TAGGED4]),
    flows,
    st.integers(1, 3000),
    st.binary(min_size=10, max_size=10),
    st.lists(st.tuples(st.integers(0, 90), st.integers(0, 255)), max_size=4),
)
@example(TAP4, Flow(), 3000, VNET.pack(1, 1, 0, 100, 0xFFFF, 0xFFFF), [])
@example(TAP6, Flow(), 3000, VNET.pack(1, 4, 0, 100, 13, 6), [])
def test_nonsense_never_raises(
    kind: Kind, flow: Flow, size: int, header: bytes, changes: list[tuple[int, int]]
) -> None:
    flow = flow_of(kind, flow)
    frame = bytearray(kind.link + flow.packet(noise(3, size), partial=True))
    for at, value in changes:
        frame[min(at, len(frame) - 1)] = value
    for vnet in (header, flow.vnet(min(size, 200), shift=len(kind.link))):
        with readable() as (write, read):
            reader = device_reader(read, vnet=True, frame_header_bytes=0, ethernet=True)
            os.write(write, vnet + bytes(frame))
            read_all(reader)
        assert set(reader.drops) <= {Drop.DEVICE_READ_SHORT, Drop.DEVICE_READ_LONG}
        assert reader.packets or sum(reader.drops.values()) == 1


def join(kind: Kind, packets: list[bytes]) -> list[bytes]:
    """Write IP packets of one size (the last may be shorter) as a run; returns the frames."""
    slot = new_slot()
    run = fill(slot, [kind.inner + packet + bytes(TAIL) for packet in packets], 5)
    with writable() as (fd, theirs):
        writer = device_writer(fd, (), vnet=True, frame_header=kind.frame_header, ethernet=kind.tap)
        writer.write_run(slot, run)
        frames = written(theirs)
    assert writer.packets == len(packets)
    assert writer.writes == len(frames)
    assert not writer.drops
    return frames


def parted(kind: Kind, frame: bytes) -> list[bytes]:
    """The IP packets of one frame, as the kernel would cut them."""
    vnet, packet = frame[: VNET.size], frame[VNET.size :]
    assert packet.startswith(kind.link)
    packet = packet[len(kind.link) :]
    if vnet == NO_VNET:
        return [packet]
    start = VNET.unpack(vnet)[4] - len(kind.link)
    at = start + VNET.unpack(vnet)[5]
    if kind.version == 4:
        protocol, addresses = packet[9], packet[12:20]
        assert struct.unpack("!H", packet[2:4])[0] == len(packet)
        assert checksum(packet[:20]) == 0, "the kernel would drop it"
    else:
        protocol, addresses = packet[6], packet[8:40]
        assert struct.unpack("!H", packet[4:6])[0] == len(packet) - 40
    pseudo = addresses + struct.pack("!II", len(packet) - start, protocol)
    assert int.from_bytes(packet[at : at + 2], "big") == 0xFFFF ^ checksum(pseudo)
    return cut(vnet, packet, len(kind.link))


def without_id(kind: Kind, packet: bytes) -> bytes:
    """An IPv4 packet that nobody may fragment, without its identification and IP checksum."""
    if kind.version == 4 and packet[6] & 0x40:
        return packet[:4] + bytes(2) + packet[6:10] + bytes(2) + packet[12:]
    return packet


def assert_kept(kind: Kind, packets: list[bytes], frames: list[bytes]) -> None:
    """The frames carry exactly these packets, in order."""
    carried = [packet for frame in frames for packet in parted(kind, frame)]
    assert [without_id(kind, each) for each in carried] == [
        without_id(kind, each) for each in packets
    ]
    for frame in frames:
        if frame.startswith(NO_VNET):
            assert frame[VNET.size + len(kind.link) :] in packets


@given(
    st.sampled_from(JOINED),
    flows,
    st.integers(2, 60),
    st.integers(1, 1366),
    st.integers(0, 1365),
    st.sampled_from([1, 0xFFF0, 2**32 - 5000]),
)
def test_a_train_is_written_at_once_and_cut_alike(
    kind: Kind, flow: Flow, count: int, size: int, shorter: int, first: int
) -> None:
    flow = flow_of(kind, flow)
    packets = train(flow, count, size, max(1, size - shorter), first)
    frames = join(kind, packets)
    assert_kept(kind, packets, frames)
    assert len(frames) == -(-count // ((65_535 - len(kind.inner) - flow.head) // size))


@given(st.sampled_from([TAGGED4, TAGGED6]), st.sampled_from([TCP, UDP]))
def test_tagged_frames_are_written_as_they_are(kind: Kind, protocol: int) -> None:
    packets = train(flow_of(kind, Flow(protocol=protocol)), 5, 100, 40)
    assert join(kind, packets) == [NO_VNET + kind.link + packet for packet in packets]


def repaired(kind: Kind, packet: bytes, flow: Flow) -> bytes:
    """The packet with checksums that hold, so that only the change itself is left."""
    fixed = bytearray(packet)
    start = flow.start
    if kind.version == 4:
        fixed[10:12] = bytes(2)
        fixed[10:12] = checksum(bytes(fixed[:20])).to_bytes(2, "big")
        addresses, protocol = fixed[12:20], fixed[9]
    else:
        addresses, protocol = fixed[8:40], fixed[6]
    field = start + (16 if flow.protocol == TCP else 6)
    fixed[field : field + 2] = bytes(2)
    pseudo = bytes(addresses) + struct.pack("!II", len(fixed) - start, protocol)
    value = checksum(pseudo + bytes(fixed[start:])) or 0xFFFF
    fixed[field : field + 2] = value.to_bytes(2, "big")
    return bytes(fixed)


@given(
    st.sampled_from(JOINED),
    flows,
    st.integers(2, 12),
    st.integers(40, 200),
    st.lists(
        st.tuples(st.integers(0, 11), st.integers(0, 90), st.integers(1, 255), st.booleans()),
        min_size=1,
        max_size=3,
    ),
    st.integers(0, 39),
)
@example(BARE6, Flow(), 4, 100, [(0, 52, 0x70, True)], 0)
@example(TAP6, Flow(), 4, 100, [(i, 52, 0x70, True) for i in range(4)], 0)
@example(TAP6, Flow(protocol=UDP), 4, 100, [(2, 0, 0x20, True)], 0)
def test_whatever_differs_is_not_changed_by_joining(
    kind: Kind,
    flow: Flow,
    count: int,
    size: int,
    changes: list[tuple[int, int, int, bool]],
    shorter: int,
) -> None:
    flow = flow_of(kind, flow)
    packets = train(flow, count, size, size - shorter)
    for index, at, bits, repair in changes:
        changed = bytearray(packets[index % count])
        changed[at % len(changed)] ^= bits
        if not kind.carried and at % len(changed) == 0:
            continue  # the version decides on the header that goes before it
        packets[index % count] = repaired(kind, bytes(changed), flow) if repair else bytes(changed)
    assert_kept(kind, packets, join(kind, packets))


@given(st.sampled_from(JOINED), flows, st.integers(2, 12), st.data())
def test_a_wrong_checksum_is_never_made_right(
    kind: Kind, flow: Flow, count: int, data: st.DataObject
) -> None:
    flow = flow_of(kind, flow)
    packets = train(flow, count, 100, 70)
    index = data.draw(st.integers(0, count - 1))
    at = data.draw(st.integers(flow.start, len(packets[index]) - 1))
    changed = bytearray(packets[index])
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    packets[index] = bytes(changed)
    frames = join(kind, packets)
    assert NO_VNET + kind.link + packets[index] in frames
    assert_kept(kind, packets, frames)


@given(st.integers(0, 11), st.integers(0, 13), st.integers(1, 255))
def test_frames_with_another_ethernet_header_go_apart(index: int, at: int, bits: int) -> None:
    slot = new_slot()
    packets = [TAP6.link + packet for packet in train(flow_of(TAP6), 12, 100, 100)]
    changed = bytearray(packets[index])
    changed[at] ^= bits
    packets[index] = bytes(changed)
    run = fill(slot, [packet + bytes(TAIL) for packet in packets])
    with writable() as (fd, theirs):
        device_writer(fd, (), vnet=True, frame_header=b"", ethernet=True).write_run(slot, run)
        frames = written(theirs)
    assert NO_VNET + packets[index] in frames
    carried = [
        frame[VNET.size :][:14] + packet
        for frame in frames
        for packet in (
            [frame[VNET.size + 14 :]]
            if frame.startswith(NO_VNET)
            else cut(frame[: VNET.size], frame[VNET.size + 14 :], 14)
        )
    ]
    assert carried == packets


@given(st.binary(min_size=1, max_size=120), st.integers(2, 6), st.booleans())
@example(bytes(12) + b"\x86\xdd\x60" + bytes(5) + b"\x06" + bytes(33) + bytes(20), 3, True)
@example(b"\x60" + bytes(5) + b"\x11" + bytes(33) + bytes(8), 3, False)
def test_noise_is_written_as_it_is(data: bytes, count: int, tap: bool) -> None:
    slot = new_slot()
    run = fill(slot, [data + bytes(TAIL)] * count)
    with writable() as (fd, theirs):
        device_writer(fd, (), vnet=True, frame_header=b"", ethernet=tap).write_run(slot, run)
        assert written(theirs) == [NO_VNET + data] * count


def test_ipv6_gets_its_own_type_before_it() -> None:
    packet = flow_of(BARE6).packet(b"alone")
    assert join(BEHIND6, [packet]) == [NO_VNET + MACS + TYPES[6] + packet]
    packet = Flow().packet(b"alone")
    assert join(BEHIND6, [packet]) == [NO_VNET + MACS + TYPES[4] + packet]
