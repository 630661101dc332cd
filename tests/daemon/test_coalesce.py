"""What is joined is cut by the kernel into the same packets again; all else is left as it was."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from chancel.daemon.hot.writing import DeviceWriter, Writer, device_writer, offloads_of
from chancel.daemon.offloads import COALESCE, Offload
from chancel.wire.drop import Drop
from tests.daemon.naive import (
    ACK,
    CWR,
    FIN,
    NO_VNET,
    SYN,
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

pytestmark = pytest.mark.usefixtures("twin")
"""Everything here holds for the hot functions in Python, and for their compiled twins."""

ETHERNET = bytes(range(14))


@contextmanager
def device() -> Iterator[tuple[int, socket.socket]]:
    """A descriptor to write to, and where what was written comes out."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        theirs.setblocking(False)
        yield ours.fileno(), theirs


def written(theirs: socket.socket) -> list[bytes]:
    frames: list[bytes] = []
    while True:
        try:
            frames.append(theirs.recv(70_000))
        except BlockingIOError:
            return frames


def join(
    packets: list[bytes],
    *,
    coalesce: Offload = COALESCE,
    vnet: bool = True,
    ethernet: bytes = b"",
) -> tuple[list[bytes], Writer]:
    """Write packets of one size (the last may be shorter) as a run; returns the frames."""
    slot = new_slot()
    run = fill(slot, [packet + bytes(TAIL) for packet in packets], 5)
    with device() as (fd, theirs):
        writer = device_writer(fd, (), vnet=vnet, frame_header=ethernet, coalesce=coalesce)
        writer.write_run(slot, run)
        frames = written(theirs)
    assert writer.packets == len(packets)
    prefix = (VNET.size if vnet else 0) + len(ethernet)
    assert writer.bytes == sum(len(frame) - prefix for frame in frames)
    assert writer.writes == len(frames)
    assert not writer.drops
    return frames, writer


def parted(frame: bytes, ethernet: bytes = b"") -> list[bytes]:
    """The packets of one frame, as the kernel would cut them."""
    header, packet = frame[: VNET.size], frame[VNET.size :]
    assert packet.startswith(ethernet)
    packet = packet[len(ethernet) :]
    if header == NO_VNET:
        return [packet]
    assert struct.unpack("!H", packet[2:4])[0] == len(packet)
    assert checksum(packet[:20]) == 0, "the kernel would drop it"
    start = VNET.unpack(header)[4] - len(ethernet)
    field = start + VNET.unpack(header)[5]
    protocol = packet[9]
    pseudo = packet[12:20] + struct.pack("!II", len(packet) - start, protocol)
    assert int.from_bytes(packet[field : field + 2], "big") == 0xFFFF ^ checksum(pseudo)
    return cut(header, packet, len(ethernet))


def without_id(packet: bytes) -> bytes:
    """A packet that nobody may fragment, without its identification and IP checksum."""
    if packet[6] & 0x40:
        return packet[:4] + bytes(2) + packet[6:10] + bytes(2) + packet[12:]
    return packet


def assert_kept(packets: list[bytes], frames: list[bytes], ethernet: bytes = b"") -> None:
    """The frames carry exactly these packets, in order."""
    carried = [packet for frame in frames for packet in parted(frame, ethernet)]
    assert list(map(without_id, carried)) == list(map(without_id, packets))
    for frame in frames:
        if frame.startswith(NO_VNET):
            assert frame[VNET.size + len(ethernet) :] in packets


flows = st.builds(
    Flow()._replace,
    protocol=st.sampled_from([TCP, UDP]),
    source_port=st.integers(0, 0xFFFF),
    flags_fragment=st.sampled_from([0x4000, 0]),
    acknowledged=st.integers(0, 2**32 - 1),
    options=st.integers(0, 10).map(lambda n: bytes(range(1, 4 * n + 1))),
)


@given(
    flows,
    st.integers(2, 60),
    st.integers(1, 1380),
    st.integers(0, 1379),
    st.sampled_from([1, 0xFFF0, 2**32 - 5000]),
    st.booleans(),
)
def test_a_train_is_written_at_once_and_cut_alike(
    flow: Flow, count: int, size: int, shorter: int, first: int, ethernet: bool
) -> None:
    packets = train(flow, count, size, max(1, size - shorter), first)
    header = ETHERNET if ethernet else b""
    frames, _ = join(packets, ethernet=header)
    assert_kept(packets, frames, header)
    assert len(frames) == -(-count // ((65_535 - flow.head) // size))


@pytest.mark.parametrize("flow", [Flow(), Flow(protocol=UDP)])
@pytest.mark.parametrize("size", [1023, 1024, 1025])
def test_trains_of_large_and_of_small_payloads_are_written_alike(flow: Flow, size: int) -> None:
    """One after the other in a run, of as many packets as fit and less, with a short one behind."""
    packets: list[bytes] = []
    for count, last in ((64, size), (9, size), (2, size), (30, 1)):
        packets += train(flow, count, size, last, first=1 + len(packets) * size)
        flow = flow._replace(window=flow.window + 1, ttl=flow.ttl - 1)
    frames, _ = join(packets)
    assert_kept(packets, frames)
    assert len(frames) == 4 + ((65_535 - flow.head) // size < 64)


@pytest.mark.parametrize("total", [100, 300])
@pytest.mark.parametrize("value", [0, 1, 0xFFFE, 0xFFFF])
def test_the_headers_checksum_is_as_if_it_was_made_anew(total: int, value: int) -> None:
    """Whatever it was in the first packet, or is in the big one. One of zero is as right if it is
    all ones."""
    flow, size = Flow(), 100
    length = flow.head - flow.start + total
    first = (int.from_bytes(flow.network_header(length, 0)[10:12]) - value) % 0xFFFF
    assert flow.network_header(length, first)[10:12] == (value % 0xFFFF).to_bytes(2)
    packets = train(flow, 3, size, size, first=first)
    if total == size:
        packets[0] = packets[0][:10] + value.to_bytes(2) + packets[0][12:]
    (frame,), _ = join(packets)
    anew = flow.network_header(flow.head - flow.start + 3 * size, first)
    assert frame[VNET.size : VNET.size + len(anew)] == anew


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_a_pseudo_header_may_sum_to_all_ones(protocol: int) -> None:
    """Which is the same as zero to those who compute modulo, but not to the kernel."""
    flow = Flow(protocol=protocol, source="10.77.0.0")
    host = checksum(flow.pseudo(flow.head - flow.start + 300))
    flow = flow._replace(source=f"10.77.{host >> 8}.{host & 0xFF}")
    packets = train(flow, 3, 100, 100)
    frames, _ = join(packets)
    at = VNET.size + flow.start + (16 if protocol == TCP else 6)
    assert frames[0][at : at + 2] == b"\xff\xff"
    assert_kept(packets, frames)


def test_without_offload_each_packet_is_written_alone() -> None:
    packets = train(Flow(), 5, 100, 50)
    assert join(packets, vnet=False)[0] == packets
    packets = train(Flow(protocol=UDP), 5, 100, 50)
    assert join(packets, coalesce=COALESCE & ~Offload.COALESCE_UDP)[0] == [
        NO_VNET + packet for packet in packets
    ]


PLACES = {
    "version": 0,
    "service": 1,
    "length": 3,
    "identity": 5,
    "fragment": 6,
    "offset": 7,
    "ttl": 8,
    "protocol": 9,
    "ip checksum": 11,
    "source": 14,
    "destination": 19,
    "source port": 21,
    "destination port": 23,
    "24": 24,
    "sequence or checksum": 27,
    "acknowledged or payload": 30,
    "offset or payload": 32,
    "flags or payload": 33,
    "window": 35,
    "checksum": 37,
    "urgent": 39,
    "option": 41,
    "payload": 70,
}


def repaired(packet: bytes, flow: Flow) -> bytes:
    """The packet with checksums that hold, so that only the change itself is left."""
    fixed = bytearray(packet)
    fixed[10:12] = bytes(2)
    fixed[10:12] = checksum(bytes(fixed[:20])).to_bytes(2, "big")
    field = 36 if flow.protocol == TCP else 26
    fixed[field : field + 2] = bytes(2)
    pseudo = bytes(fixed[12:20]) + struct.pack("!II", len(fixed) - 20, fixed[9])
    value = checksum(pseudo + bytes(fixed[20:])) or 0xFFFF
    fixed[field : field + 2] = value.to_bytes(2, "big")
    return bytes(fixed)


@given(
    flows,
    st.integers(2, 12),
    st.integers(40, 300),
    st.lists(
        st.tuples(
            st.integers(0, 11),
            st.sampled_from(sorted(PLACES)),
            st.integers(1, 255),
            st.booleans(),
        ),
        min_size=1,
        max_size=3,
    ),
    st.integers(0, 39),
)
@example(Flow(), 4, 100, [(0, "offset or payload", 0x70, True)], 0)
@example(Flow(), 4, 100, [(0, "offset or payload", 0x20, True)], 0)
@example(Flow(), 4, 100, [(i, "offset or payload", 0x70, True) for i in range(4)], 0)
def test_whatever_differs_is_not_changed_by_joining(
    flow: Flow, count: int, size: int, changes: list[tuple[int, str, int, bool]], shorter: int
) -> None:
    packets = train(flow, count, size, size - shorter)
    for index, place, bits, repair in changes:
        at = PLACES[place]
        changed = bytearray(packets[index % count])
        changed[at % len(changed)] ^= bits
        packets[index % count] = repaired(bytes(changed), flow) if repair else bytes(changed)
    frames, _ = join(packets)
    assert_kept(packets, frames)


@given(flows, st.integers(2, 12), st.data())
def test_a_wrong_checksum_is_never_made_right(flow: Flow, count: int, data: st.DataObject) -> None:
    packets = train(flow, count, 100, 70)
    index = data.draw(st.integers(0, count - 1))
    at = data.draw(st.integers(0, len(packets[index]) - 1))
    changed = bytearray(packets[index])
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    packets[index] = bytes(changed)
    frames, _ = join(packets)
    assert NO_VNET + packets[index] in frames
    assert_kept(packets, frames)


@pytest.mark.parametrize("protocol", [TCP, UDP])
@pytest.mark.parametrize("other", [Flow(source_port=7), Flow(source="10.77.0.3")])
def test_two_flows_in_one_run_become_two_trains(protocol: int, other: Flow) -> None:
    first, second = Flow(protocol=protocol), other._replace(protocol=protocol)
    packets = train(first, 10, 100, 100) + train(second, 10, 100, 60)
    frames, _ = join(packets)
    assert len(frames) == 2
    assert_kept(packets, frames)


@pytest.mark.parametrize("flow", [Flow(), Flow(protocol=UDP), Flow(window=9)])
def test_a_short_packet_behind_a_train_goes_alone(flow: Flow) -> None:
    """An acknowledgement, for example: where traffic goes both ways, one follows most trains."""
    short = flow._replace(source_port=7, destination_port=8).packet(b"")
    train_of_ten = train(Flow(protocol=flow.protocol), 10, 100, 100)
    frames, _ = join([*train_of_ten, short])
    assert len(frames) == 2
    assert frames[1] == NO_VNET + short
    assert_kept([*train_of_ten, short], frames)


def test_interleaved_flows_keep_their_order() -> None:
    pairs = zip(train(Flow(), 5, 100, 100), train(Flow(source_port=7), 5, 100, 100), strict=True)
    packets = [packet for pair in pairs for packet in pair]
    frames, _ = join(packets)
    assert frames == [NO_VNET + packet for packet in packets]


def test_trains_of_one_flow_part_where_the_sender_pushed() -> None:
    packets = train(Flow(), 6, 100, 100, first=1) + train(Flow(), 6, 100, 40, first=601)
    frames, _ = join(packets)
    assert len(frames) == 2
    assert_kept(packets, frames)


@pytest.mark.parametrize("flags", [SYN, FIN | ACK, 0x04, 0x20 | ACK, 0x40 | ACK, CWR | ACK, 0])
def test_packets_with_other_flags_go_alone(flags: int) -> None:
    packets = train(Flow(), 5, 100, 100)
    packets[4] = Flow().packet(bytes(100), sequence=401, identity=5, flags=flags)
    frames, _ = join(packets)
    assert frames[-1] == NO_VNET + packets[4]
    assert len(frames) == 2
    assert_kept(packets, frames)


def test_udp_without_checksums_is_not_given_any() -> None:
    flow = Flow(protocol=UDP)
    packets = [packet[:26] + bytes(2) + packet[28:] for packet in train(flow, 5, 100, 100)]
    assert join(packets)[0] == [NO_VNET + packet for packet in packets]
    filler = flow.packet(bytes(100))[26:28]
    all_ones = flow.packet(filler + bytes(98))
    assert all_ones[26:28] == b"\xff\xff", "which is as right with a zero in its place"
    packets = [all_ones[:26] + bytes(2) + all_ones[28:]] * 5
    assert join(packets)[0] == [NO_VNET + packet for packet in packets]


@given(st.binary(min_size=1, max_size=100), st.integers(2, 6), st.integers(0, 99))
@example(b"\x45" + bytes(8) + b"\x06" + bytes(22) + b"\x20" + bytes(30), 3, 0)
@example(b"\x45" + bytes(8) + b"\x06" + bytes(22) + b"\xf0" + bytes(40), 3, 0)
@example(b"\x45" + bytes(8) + b"\x11" + bytes(18), 3, 1)
def test_noise_is_written_as_it_is(data: bytes, count: int, shorter: int) -> None:
    assume(len(data) > 1)
    packets = [data] * (count - 1) + [data[: max(1, len(data) - shorter)]]
    frames, _ = join(packets)
    assert frames == [NO_VNET + packet for packet in packets]


def test_a_device_that_refuses_a_kind_of_train_gets_the_packets_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frames: list[bytes] = []

    def writev(_fd: int, parts: list[bytes]) -> int:
        frame = b"".join(parts)
        if not frame.startswith(NO_VNET):
            raise OSError(errno.EINVAL, "Invalid argument")
        frames.append(frame)
        return len(frame)

    monkeypatch.setattr(os, "writev", writev)
    slot = new_slot()
    writer = DeviceWriter(-1, (), vnet=True, frame_header=b"")
    packets = train(Flow(protocol=UDP), 5, 100, 50)
    run = fill(slot, [packet + bytes(TAIL) for packet in packets])
    for _ in range(2):
        writer.write_run(slot, run)
    assert frames == [NO_VNET + packet for packet in packets] * 2
    assert writer.writes == 11, "refused once, not tried again"
    assert writer.packets == 10
    assert not writer.drops


def test_a_device_that_refuses_everything_is_asked_for_no_train_again() -> None:
    """An epoll descriptor can be written to as little as a device can that knows no trains."""
    slot = new_slot()
    with select.epoll() as refusing:
        writer = device_writer(refusing.fileno(), (), vnet=True, frame_header=b"")
        run = fill(slot, [packet + bytes(TAIL) for packet in train(Flow(), 5, 100, 50)])
        for _ in range(2):
            writer.write_run(slot, run)
    assert offloads_of(writer.joins) == COALESCE & ~Offload.COALESCE_TCP4
    assert writer.writes == 11, "refused once, not tried again"
    assert writer.drops == {Drop.DEVICE_WRITE_FAILED: 10}
    assert (writer.packets, writer.bytes) == (0, 0)


def test_a_frame_too_long_for_the_device_is_counted() -> None:
    slot = new_slot()
    with device() as (fd, theirs):
        with socket.socket(fileno=os.dup(fd)) as ours:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
        writer = device_writer(fd, (), vnet=True, frame_header=b"")
        writer.write_run(slot, fill(slot, [p + bytes(TAIL) for p in train(Flow(), 40, 500, 9)]))
        writer.write_run(slot, fill(slot, [Flow().packet(b"fits") + bytes(TAIL)]))
        assert written(theirs) == [NO_VNET + Flow().packet(b"fits")]
    assert writer.drops == {Drop.DEVICE_WRITE_FAILED: 40}
    assert (writer.packets, writer.writes) == (1, 2)


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOBUFS, errno.EMSGSIZE, errno.ENETDOWN])
def test_writes_that_fail_in_passing_are_counted(
    monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def writev(_fd: int, _parts: list[bytes]) -> int:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "writev", writev)
    slot = new_slot()
    writer = DeviceWriter(-1, (), vnet=True, frame_header=b"")
    writer.write_run(slot, fill(slot, [packet + bytes(TAIL) for packet in train(Flow(), 5, 9, 9)]))
    assert writer.drops == {Drop.DEVICE_WRITE_FAILED: 5}
    assert (writer.packets, writer.bytes) == (0, 0)


def test_a_plain_packet_that_the_device_refuses_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def writev(_fd: int, _parts: list[bytes]) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "writev", writev)
    slot = new_slot()
    writer = DeviceWriter(-1, (), vnet=True, frame_header=b"")
    writer.write_run(slot, fill(slot, [b"nonsense" + bytes(TAIL)] * 3))
    assert writer.drops == {Drop.DEVICE_WRITE_FAILED: 3}


def test_a_closed_device_is_not_passed_over() -> None:
    slot = new_slot()
    with device() as (fd, _):
        writer = device_writer(fd, (), vnet=True, frame_header=b"")
    with pytest.raises(OSError, match="Bad file descriptor"):
        writer.write_run(slot, fill(slot, [bytes(40)]))
