"""The two twins of writing the device do the same, whatever they meet.

Both get the same batch, through descriptors of their own; then what they wrote, and what
they counted is compared.
"""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Network
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chancel.daemon.hot import twins
from chancel.daemon.hot.writing import DeviceWriter, device_writer
from chancel.daemon.offloads import COALESCE, NONE, Offload
from chancel.daemon.run import Run
from tests.daemon.device_twins import (
    FRAGMENT,
    MACS,
    NETWORKS,
    TYPES,
    addressed,
    counters,
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
    PSH,
    SYN,
    TAIL,
    TCP,
    UDP,
    Flow,
    new_slot,
)

if twins.module() is None:
    pytest.skip("needs cargo: `make setup` builds chancel_accel where it is found", True)

Change = Callable[[Flow, dict[str, int]], Flow]
"""Makes something of a packet other than it is in its train."""


def field(name: str, value: Any) -> Change:
    return lambda flow, _numbers: flow._replace(**{name: value})


def number(name: str, by: int) -> Change:
    def change(flow: Flow, numbers: dict[str, int]) -> Flow:
        numbers[name] += by
        return flow

    return change


def flagged(value: int) -> Change:
    def change(flow: Flow, numbers: dict[str, int]) -> Flow:
        numbers["flags"] = value
        return flow

    return change


CHANGES = {
    **{f"flags {value:02x}": flagged(value) for value in (ACK | PSH, ACK | FIN, ACK | CWR, SYN, 0)},
    "sequence before": number("sequence", -1),
    "sequence far away": number("sequence", 1 << 16),
    "identity before": number("identity", -1),
    "identity behind": number("identity", 1),
    "ttl": field("ttl", 9),
    "window": field("window", 9),
    "acknowledged": field("acknowledged", 9),
    "port": field("destination_port", 9),
    "more fragments": field("flags_fragment", 0x2000),
    "may be fragmented": field("flags_fragment", 0),
}
"""Of one packet; its checksums are right all the same."""

changes = st.sampled_from(sorted(CHANGES)).map(CHANGES.__getitem__)


@st.composite
def runs_of(draw: st.DrawFn, link: bytes) -> list[bytes]:
    """Packets of one size, the last perhaps shorter: a train but for a packet or two."""
    flow = draw(flows)
    size = draw(st.sampled_from([0, 7, 100, 101, 1200]))
    count = draw(st.sampled_from([1, 2, 3, 8, 60]))
    last = draw(st.sampled_from([size, size, min(size, 1), size // 2]))
    words, kind = draw(st.sampled_from([0, 0, 0, 1])), draw(st.sampled_from([None, None, FRAGMENT]))
    indexes = st.sampled_from([count - 1, 0, count // 2, max(0, count - 2)])
    changed = dict(draw(st.lists(st.tuples(indexes, changes), max_size=2)))
    spoilt = dict(draw(st.lists(st.tuples(indexes, st.integers(0, 1 << 14)), max_size=1)))
    sizes = [size] * (count - 1) + [last]
    packets = made(flow, sizes, draw(numbers), changed)
    return [
        link + flipped(with_extension(with_ip_options(packet, words), kind), spoilt.get(i))
        for i, packet in enumerate(packets)
    ]


def made(
    flow: Flow, sizes: Sequence[int], first: int, changed: Mapping[int, Change]
) -> list[bytes]:
    """A train, but for what is changed of packets by their number."""
    packets, sequence = [], first
    for i, size in enumerate(sizes):
        own = {"sequence": sequence, "identity": first + i, "flags": ACK}
        other = changed[i](flow, own) if i in changed else flow
        payload = noise(i, size)
        packets.append(
            other.packet(
                payload, sequence=own["sequence"], identity=own["identity"], flags=own["flags"]
            )
        )
        sequence += size
    return packets


def flipped(packet: bytes, bit: int | None) -> bytes:
    """The packet with another bit; most often one of its headers."""
    if bit is None:
        return packet
    at = (bit >> 3) % (len(packet) if bit & 7 == 0 else min(len(packet), 60))
    return packet[:at] + bytes((packet[at] ^ 1 << (bit & 7),)) + packet[at + 1 :]


@st.composite
def writings(draw: st.DrawFn) -> tuple[list[list[bytes]], dict[str, Any]]:
    """Runs of packets, and a device for them."""
    ethernet = draw(st.booleans())
    link = MACS + draw(st.sampled_from([b"\x08\x00", b"\x86\xdd", b"\x88\xcc", b"\x81\x00"]))
    vnet = draw(st.sampled_from([True, True, True, False]))
    device = {
        "ethernet": ethernet,
        "frame_header": b"" if ethernet else draw(st.sampled_from([b"", MACS + TYPES[4]])),
        "vnet": vnet,
        "coalesce": draw(
            st.sampled_from([COALESCE, COALESCE, Offload.COALESCE_TCP6, Offload.COALESCE_UDP, NONE])
        ),
    }
    each = runs_of(link if ethernet else b"")
    return draw(st.lists(each, min_size=1, max_size=4)), device


@given(writings(), st.booleans())
@example(([[Flow().packet(b"x")[:20]] * 3], {"vnet": True, "frame_header": b""}), True)
@example(([[b"\x45" * 40] * 3, [b"\x60" * 60]], {"vnet": True, "frame_header": b""}), False)
def test_both_write_the_same(batch: tuple[list[list[bytes]], dict[str, Any]], judged: bool) -> None:
    packets, device = batch
    assert_written_alike(packets, judged=judged, **device)


def assert_written_alike(packets: list[list[bytes]], *, judged: bool, **device: Any) -> None:
    slot, runs = laid(packets)
    seen = []
    with pairs() as devices:
        for names, (ours, kernel) in zip(([], ["write"]), devices, strict=True):
            with only(names):
                writer = device_writer(ours.fileno(), NETWORKS, **device)
            assert isinstance(writer, DeviceWriter) is (not names)
            before = slot.memory.tobytes()
            if judged:
                for run in runs:
                    writer.write_run(slot, run)
            else:
                writer.write(slot, runs)
            assert slot.memory.tobytes() == before
            counted = counters(writer, "writes", "joins", "refused")
            assert counted.pop("fd") == ours.fileno()
            seen.append((taken(kernel), counted))
    assert seen[0] == seen[1]


def laid(packets: list[list[bytes]]) -> tuple[Any, list[Run]]:
    """A slot with each list of packets as a run; those that no run can hold are left out."""
    slot, runs, end = new_slot(), [], 3
    for run in packets:
        size = len(run[0])
        equal = [packet for packet in run[:-1] if len(packet) == size]
        last = run[-1] if len(run[-1]) <= size else run[0]
        data = b"".join(packet + bytes(TAIL) for packet in [*equal, last])
        slot.memory[end : end + len(data)] = data
        runs.append(Run(7, 0, len(equal) + 1, size + TAIL, len(last) + TAIL, end))
        end += len(data)
    return slot, runs


def taken(kernel: socket.socket) -> list[bytes]:
    frames = []
    while True:
        try:
            frames.append(kernel.recv(70_000))
        except BlockingIOError:
            return frames


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("protocol", [TCP, UDP])
@pytest.mark.parametrize("fragment", [0x4000, 0])
def test_both_part_a_train_at_the_same_place(change: str, protocol: int, fragment: int) -> None:
    """Wherever the change is, in a train that was perfect, or parted somewhere else already."""
    flow = addressed(Flow(protocol=protocol, source="2", destination="1", flags_fragment=fragment))
    runs = []
    for index, last in itertools.product(range(4), (100, 60)):
        for others in ({}, {1: field("acknowledged", 7)}, {0: field("flags_fragment", 0x2000)}):
            changed = {**others, index: CHANGES[change]}
            runs.append(made(flow, [100, 100, 100, last], 0xFFFE, changed))
    assert_written_alike(runs, judged=False, vnet=True, frame_header=b"")


@pytest.mark.parametrize(
    ("protocol", "sizes"), [(TCP, [1200] * 60), (TCP, [2] * 2000), (UDP, [40] * 200)]
)
def test_both_part_a_train_that_is_too_long_for_one_write(protocol: int, sizes: list[int]) -> None:
    flow = addressed(Flow(protocol=protocol, source="2", destination="1"))
    assert_written_alike([made(flow, sizes, 1, {})], judged=False, vnet=True, frame_header=b"")


def test_the_compiled_one_refuses_a_run_that_lies_outside_of_its_slot() -> None:
    slot = new_slot(1_000)
    with pairs() as devices, only(["write"]):
        writer = device_writer(devices[0][1].fileno(), NETWORKS, vnet=True, frame_header=b"")
        for run in (Run(7, 0, 2, 600, 600, 0), Run(7, 0, 1, 60, 60, 990)):
            with pytest.raises(IndexError):
                writer.write(slot, [run])
        assert taken(devices[0][0]) == []


def test_both_say_that_a_device_is_gone() -> None:
    with pairs() as devices:
        fd = os.dup(devices[0][1].fileno())
    os.close(fd)
    slot, runs = laid([[Flow().packet(b"x", flags=ACK)]])
    for names in ([], ["write"]):
        with only(names):
            writer = device_writer(fd, [IPv4Network("10.77.0.0/24")], vnet=True, frame_header=b"")
        with pytest.raises(OSError, match="Bad file descriptor"):
            writer.write(slot, runs)
