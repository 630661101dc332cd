"""The two twins of reading the device do the same, whatever they meet.

Both get the same frames, through descriptors of their own; then what they gave, what they left in
the slot, and what they counted is compared.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.daemon.hot import twins
from chancel.daemon.hot.reading import DeviceReader, Reader, device_reader
from chancel.daemon.run import Run
from tests.daemon.device_twins import (
    HOP_BY_HOP,
    MACS,
    TYPES,
    addressed,
    counters,
    flags,
    flows,
    noise,
    numbers,
    only,
    pairs,
    with_extension,
    with_ip_options,
)
from tests.daemon.naive import (
    ACK,
    CWR,
    FIN,
    NO_VNET,
    PSH,
    TCP,
    UDP,
    Flow,
    new_slot,
)

if twins.module() is None:
    pytest.skip("needs cargo: `make setup` builds chancel_accel where it is found", True)

SLOT_BYTES = 80 * 1024
"""The least that has room for what one read may bring: batches end often."""

LARGE_SLOT_BYTES = 512 * 1024
"""As in the daemon: batches have many trains."""


@st.composite
def links(draw: st.DrawFn) -> tuple[bool, int, bytes]:
    """A kind of device: Ethernet frames or not, bytes before each packet, and a VLAN tag."""
    ethernet = draw(st.booleans())
    skipped = 0 if ethernet else draw(st.sampled_from([0, 14]))
    return ethernet, skipped, draw(st.sampled_from([b"", b"\x81\x00\x00\x07"])) if ethernet else b""


@st.composite
def reads(draw: st.DrawFn, link: tuple[bool, int, bytes]) -> list[bytes]:
    """What the kernel gives: some packets that are alike, big ones or not, and lies."""
    ethernet, skipped, tag = link
    flow = draw(flows)
    segment = draw(st.sampled_from([0, 0, 0, 1, 100, 1200, 1400, 1460]))
    most = 60_000 if segment >= 100 else 3_000 if segment else 1_500
    size = draw(st.integers(0, most))
    before = MACS + tag + TYPES[flow.version] if ethernet else bytes(skipped)
    shift = len(before)
    words, kind = draw(st.sampled_from([0, 0, 2])), draw(st.sampled_from([None, None, HOP_BY_HOP]))
    frames = []
    for i in range(draw(st.sampled_from([1, 1, 4] if segment else [1, 2, 9]))):
        if segment and i:
            size = segment * draw(st.integers(1, 9)) - draw(st.sampled_from([0, 0, 1]))
            flow = flow._replace(acknowledged=i, options=noise(i, len(flow.options)))
        packet = flow.packet(
            noise(i, size), sequence=draw(numbers), identity=i, flags=draw(flags), partial=True
        )
        longer = with_extension(with_ip_options(packet, words), kind)
        moved = shift + len(longer) - len(packet)
        vnet = flow.vnet(segment, shift=moved) if draw(st.booleans()) or segment else NO_VNET
        frames.append(vnet + before + longer)
    return [lie(draw, frame) for frame in frames]


def lie(draw: st.DrawFn, frame: bytes) -> bytes:
    """The frame, mostly; else one with other bytes in its headers, or cut short."""
    if draw(st.integers(0, 3)):
        return frame
    changed = bytearray(frame)
    for at, value in draw(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 255)), max_size=3)):
        changed[min(at, len(frame) - 1)] = value
    if not draw(st.integers(0, 3)):
        del changed[draw(st.integers(0, len(frame))) :]
    return bytes(changed) or b"\0"


def batches(reader: Reader, slot_bytes: int) -> list[tuple[list[Run], bytes, bool]]:
    """All that a reader gives: runs, what lies in the slot, and whether a train goes on."""
    given = []
    for _ in range(2_000):
        slot = new_slot(slot_bytes)
        runs = reader.fill(slot, 7)
        given.append((runs, slot.memory.tobytes(), reader.rest))
        if not runs and not reader.rest:
            return given
    raise AssertionError("the device never ran empty")


@given(st.data(), links(), st.sampled_from([SLOT_BYTES, LARGE_SLOT_BYTES]))
def test_both_read_the_same(
    data: st.DataObject, link: tuple[bool, int, bytes], slot_bytes: int
) -> None:
    lists = data.draw(st.lists(reads(link), min_size=1, max_size=3))
    frames = [frame for frames in lists for frame in frames]
    assert_read_alike(frames, ethernet=link[0], skipped=link[1], slot_bytes=slot_bytes)


def assert_read_alike(
    frames: list[bytes],
    *,
    vnet: bool = True,
    ethernet: bool = False,
    skipped: int = 0,
    slot_bytes: int = SLOT_BYTES,
) -> None:
    seen = []
    with pairs() as devices:
        for names, (kernel, ours) in zip(([], ["read"]), devices, strict=True):
            for frame in frames:
                kernel.send(frame)
            with only(names):
                reader = device_reader(
                    ours.fileno(), vnet=vnet, frame_header_bytes=skipped, ethernet=ethernet
                )
            assert isinstance(reader, DeviceReader) is (not names)
            counted = batches(reader, slot_bytes), counters(reader, "trains")
            assert counted[1].pop("fd") == ours.fileno()
            seen.append(counted)
    assert seen[0] == seen[1]


def test_both_read_plain_packets_the_same() -> None:
    packets = [noise(i, size) for i, size in enumerate([12, 13, 100, 100, 100, 60, 60, 1472, 1473])]
    assert_read_alike(packets, vnet=False)
    assert_read_alike([bytes(14) + packet for packet in packets], vnet=False, skipped=14)


@pytest.mark.parametrize("sizes", [[60, 1400], [1400], [13]])
def test_both_fill_their_slots_alike(sizes: list[int]) -> None:
    """Packets that alternate run out of runs, equal ones out of room."""
    flow = Flow(protocol=UDP)
    packets = [flow.packet(noise(1, max(0, size - flow.head)), partial=True) for size in sizes]
    assert_read_alike([flow.vnet() + packet for packet in packets * (400 // len(sizes))])


@pytest.mark.parametrize("value", [ACK | CWR, ACK | FIN | PSH, ACK | CWR | FIN])
@pytest.mark.parametrize("version", [4, 6])
def test_both_cut_alike_what_goes_on_in_the_next_slot(value: int, version: int) -> None:
    flow = addressed(Flow(version=version, source="2", destination="1"))
    big = flow.packet(noise(1, 60_010), sequence=2**32 - 9, identity=0xFFF0, flags=value)
    assert_read_alike([flow.vnet(100) + big, flow.vnet(1400) + big, flow.vnet() + big[:60]])


@pytest.mark.parametrize("slot_bytes", [SLOT_BYTES, LARGE_SLOT_BYTES])
@pytest.mark.parametrize("protocol", [TCP, UDP])
@pytest.mark.parametrize("version", [4, 6])
def test_both_cut_alike_trains_in_a_row(version: int, protocol: int, slot_bytes: int) -> None:
    """In Ethernet frames with a VLAN tag, with IP options or an extension header; all that may
    differ among trains of one shape does, and one of them is of another."""
    flow = addressed(Flow(version=version, protocol=protocol, source="2", destination="1"))
    before = MACS + b"\x81\x00\x00\x07" + TYPES[version]
    frames = []
    for i, packets in enumerate([9, 3, 3, 7, 40, 2, 5, 5, 1, 5, 1]):
        flow = flow._replace(source_port=i, ttl=64 - i, acknowledged=i)
        big = flow.packet(
            noise(i, packets * 1_200 - (i in (3, 10))),
            sequence=2**32 - 3_000 * i,
            identity=0xFFFC + i,
            flags=ACK | (i % 2 and CWR | FIN | PSH),
            partial=True,
        )
        longer = with_extension(with_ip_options(big, 2), HOP_BY_HOP) if i != 6 else big
        shift = len(before) + len(longer) - len(big)
        frames.append(flow.vnet(1_200, shift=shift) + before + longer)
    assert_read_alike(frames, ethernet=True, slot_bytes=slot_bytes)


def test_both_say_that_a_device_is_gone() -> None:
    with pairs() as devices:
        fd = os.dup(devices[0][1].fileno())
    os.close(fd)
    for names in ([], ["read"]):
        with only(names):
            reader = device_reader(fd, vnet=True, frame_header_bytes=0)
        with pytest.raises(OSError, match="Bad file descriptor") as raised:
            reader.fill(new_slot(), 0)
        assert raised.value.strerror == "Bad file descriptor"
