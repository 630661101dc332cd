"""Turns, in Python and compiled, of the four processes that read and write the device and the
network."""

from __future__ import annotations

import dataclasses
import math
import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.daemon.duties.heaven_rx import HeavenRx
from chancel.daemon.duties.heaven_tx import HeavenTx
from chancel.daemon.duties.purgatory_rx import PurgatoryRx
from chancel.daemon.duties.purgatory_tx import PurgatoryTx
from chancel.daemon.hot.cut import NEEDS_CHECKSUM, VNET
from chancel.daemon.hot.turn import PlainTurns
from chancel.daemon.lane import LaneReader
from chancel.daemon.run import Run, pack_address
from chancel.daemon.udp import open_udp
from chancel.wire.drop import Drop
from chancel.wire.grace import Heartbeat, encode
from chancel.wire.offer import MAGIC, OFFER_BYTES
from chancel.wire.traffic import NEXT_GRACE, NEXT_INNER
from chancel.wire.types import Address
from tests.daemon.naive import NO_VNET, TAIL, Flow
from tests.daemon.standing import (
    PLAIN,
    TURNS,
    WAYS,
    Part,
    Stand,
    alike,
    all_of,
    parts_of,
    put_parts,
    shapes,
    standing,
)


@pytest.fixture(scope="module", autouse=True)
def _always_a_lull() -> Iterator[None]:
    """Whatever comes to turns in Python comes after a lull: else a fast test would drain."""
    before = PlainTurns.LULL_S
    PlainTurns.LULL_S = -1.0
    yield
    PlainTurns.LULL_S = before


def carried(twin: str, batches: list[tuple[list[Run], list[bytes]]]) -> list[Any]:
    """What must be the same: compiled the batches, in Python each packet, however put together."""
    if twin == "compiled":
        return batches
    found = []
    for runs, packets in batches:
        each = iter(packets)
        for run in runs:
            mark = run.tunnel, run.next, run.source.ljust(18, b"\0")
            found += [(*mark, next(each)) for _ in range(run.packets)]
    return found


def waiting(end: socket.socket) -> list[bytes]:
    """What can be received at once."""
    found = []
    while True:
        try:
            found.append(end.recv(70_000))
        except BlockingIOError:
            return found


# purgatory-tx and purgatory-rx


def _pair(stack: ExitStack, *, gso: bool = False, gro: bool = False) -> list[socket.socket]:
    made = [open_udp(Address("127.0.0.1", 0), gso=gso, gro=gro).socket for _ in range(2)]
    for each in made:
        stack.enter_context(each)
        each.setblocking(False)
    return made


@alike
@given(st.lists(shapes, max_size=5), st.booleans())
def test_sending_is_the_same(twin: str, batches: list[Any], gso: bool) -> None:
    found = []
    for way in WAYS[twin]:
        with standing("purgatory-tx", PurgatoryTx, way) as stand, ExitStack() as stack:
            here, there = _pair(stack, gso=gso)
            peer = Address(*there.getsockname()[:2])
            stand.add(0, dataclasses.replace(PLAIN, peer=peer), [here.dup().detach()])
            stand.add(1, dataclasses.replace(PLAIN, peer=None), [here.dup().detach()])
            writer, out = stand.bench.writer("purgatory"), list[bytes]()
            for number, chosen in enumerate(batches):
                put_parts(writer, parts_of(chosen, number))
                stand.work()
                out += waiting(there)
            found.append([out, stand.told(0), stand.told(1)])
            for tunnel in (0, 1):
                stand.duty.remove(tunnel)
    assert all(each == found[0] for each in found)


def test_what_the_kernel_refuses_is_counted(twin: str) -> None:
    with standing("purgatory-tx", PurgatoryTx, TURNS[twin]) as stand, ExitStack() as stack:
        here, there = _pair(stack)
        port = there.getsockname()[1]
        # To the broadcast address nothing may be sent from this socket.
        nowhere = dataclasses.replace(PLAIN, peer=Address("255.255.255.255", port))
        stand.add(0, nowhere, [here.dup().detach()])
        put_parts(stand.bench.writer("purgatory"), [Part([bytes(60)])])
        stand.work()
        assert stand.handed == {"python": 1, "compiled": 0}[twin]
        assert stand.told()[1] == {Drop.SEND_FAILED: 1}
        stand.duty.remove(0)


arrivals = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([1, 20, 49, 50, 66, 1400, 1522, 1523]), st.just(b"")),
        st.tuples(st.sampled_from([OFFER_BYTES, OFFER_BYTES - 1]), st.just(MAGIC)),
    ),
    max_size=12,
)


@alike
@given(arrivals)
def test_receiving_is_the_same(twin: str, sizes: list[tuple[int, bytes]]) -> None:
    """Offers, which go to the keeper, are among what comes, and several may wait at once."""
    found = []
    for way in WAYS[twin]:
        with standing("purgatory-rx", PurgatoryRx, way) as stand, ExitStack() as stack:
            here, there = _pair(stack)
            stand.add(0, PLAIN, [here.dup().detach()])
            lanes = [stand.bench.reader(lane) for lane in ("confess", "keeper")]
            out: list[Any] = []
            source = pack_address(Address(*there.getsockname()[:2]))
            for number, (size, magic) in enumerate(sizes):
                data = magic + random.Random(number).randbytes(size - len(magic))
                there.sendto(data, here.getsockname())
                if number % 3 != 1:
                    out += _arrived(twin, stand, lanes, source)
            out += _arrived(twin, stand, lanes, source)
            found.append([out, stand.told()])
            stand.duty.remove(0)
    assert all(each == found[0] for each in found)


def _arrived(twin: str, stand: Stand, lanes: list[LaneReader], source: bytes) -> list[Any]:
    """What went to which lane. The first packet may go in a turn of its own, in Python."""
    found: list[tuple[int, Any]] = []
    for _ in range(2):
        stand.work()
        for number, lane in enumerate(lanes):
            batches = all_of(lane)
            assert all(run.source == source for runs, _ in batches for run in runs)
            if twin == "compiled":
                found += [(number, packets) for _, packets in batches]
            else:
                found += [(number, packet) for _, packets in batches for packet in packets]
    return sorted(found, key=itemgetter(0))


# heaven-rx and heaven-tx


def _device(stack: ExitStack) -> list[socket.socket]:
    """The end in place of a device, and what the kernel has of it."""
    made = list(socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    for each in made:
        stack.enter_context(each)
        each.setblocking(False)
    return made


def checksummed(packet: bytes) -> bytes:
    """As the kernel hands over a packet whose checksum it left to the device."""
    blank = bytearray(packet)
    blank[36:38] = bytes(2)  # the sum of a pseudo header that is all zero
    return VNET.pack(NEEDS_CHECKSUM, 0, 0, 0, 20, 16) + bytes(blank)


SOURCES = st.sampled_from(["10.77.0.2", "10.77.0.2", "192.0.2.9"])
packets = st.builds(
    lambda size, source: Flow(source=source).packet(bytes(size)),
    st.sampled_from([0, 1, 13, 64, 64, 1400]),
    SOURCES,
)
frames = st.lists(
    st.one_of(
        st.tuples(st.just(True), packets.map(NO_VNET.__add__)),
        st.tuples(
            st.just(True),
            st.sampled_from([0, 1, 64, 65]).map(
                lambda size: checksummed(Flow().packet(bytes(size)))
            ),
        ),
        st.tuples(st.just(False), st.sampled_from([0, 1, 3, 12]).map(lambda n: NO_VNET + bytes(n))),
        st.tuples(
            st.just(False),
            st.sampled_from(
                [
                    VNET.pack(NEEDS_CHECKSUM, 0, 0, 0, 20, 60) + Flow().packet(bytes(8)),
                    NO_VNET + bytes(1600),
                ]
            ),
        ),
    ),
    max_size=12,
)
"""Frames, and whether each is a packet to be carried."""


@alike
@given(frames)
def test_reading_is_the_same(twin: str, chosen: list[tuple[bool, bytes]]) -> None:
    """Packets, and what is none, one by one and several at once."""
    found = []
    for way in WAYS[twin]:
        with standing("heaven-rx", HeavenRx, way) as stand, ExitStack() as stack:
            device, kernel = _device(stack)
            stand.add(0, PLAIN, [device.dup().detach()])
            reader, out = stand.bench.reader("bless"), list[Any]()
            count = 0
            for number, (_, frame) in enumerate((*chosen, (False, NO_VNET))):
                kernel.send(frame)
                for _ in range(2 if number % 3 != 1 or number == len(chosen) else 0):
                    stand.work()
                    batches = all_of(reader)
                    count += sum(len(packets) for _, packets in batches)
                    out += carried(twin, batches)
            found.append([out, stand.told()])
            stand.duty.remove(0)
            assert count == sum(is_packet for is_packet, _ in chosen)
    assert all(each == found[0] for each in found)


@alike
@given(
    st.lists(
        st.tuples(
            st.sampled_from([1, 2, 3, 12, 19, 33, 64, 1400]),
            SOURCES,
            st.sampled_from([NEXT_INNER] * 6 + [NEXT_GRACE]),
        ),
        max_size=12,
    )
)
def test_writing_is_the_same(twin: str, chosen: list[tuple[int, str, int]]) -> None:
    """Packets that the filter refuses, and graces, among them."""
    found = []
    for way in WAYS[twin]:
        with standing("heaven-tx", HeavenTx, way) as stand, ExitStack() as stack:
            device, kernel = _device(stack)
            stand.add(0, PLAIN, [device.dup().detach()])
            writer, out = stand.bench.writer("heaven"), list[bytes]()
            for size, source, next_ in chosen:
                whole = bytes(size) if size < 20 else Flow(source=source).packet(bytes(size))
                packet = whole if next_ == NEXT_INNER else encode(Heartbeat())
                put_parts(writer, [Part([packet + bytes(TAIL)], next_)])
                stand.work()
                out += waiting(kernel)
            found.append([out, stand.told()])
            stand.duty.remove(0)
    assert all(each == found[0] for each in found)


def test_what_follows_soon_is_drained() -> None:
    """A turn in Python that hands on each of many packets would cost each of them six wake-ups."""
    with standing("heaven-rx", HeavenRx, TURNS["python"]) as stand, ExitStack() as stack:
        device, kernel = _device(stack)
        stand.add(0, PLAIN, [device.dup().detach()])
        stand.duty._turns.LULL_S = math.inf
        reader = stand.bench.reader("bless")
        for _ in range(5):
            kernel.send(NO_VNET + Flow().packet(bytes(64)))
        stand.work()
        ((_, packets),) = all_of(reader)
        assert (len(packets), stand.handed) == (5, 1)
        stand.duty.remove(0)


def test_traffic_is_read_in_turns_that_are_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """While they read several packets each, and all there were: what is left over can't wait."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    with standing("heaven-rx", HeavenRx, TURNS["python"]) as stand, ExitStack() as stack:
        device, kernel = _device(stack)
        stand.add(0, PLAIN, [device.dup().detach()])
        stand.duty._turns.LULL_S = math.inf
        stand.duty._turns.PACE_S = 100.0
        device_reader = stand.duty._tunnels[0].reader
        rests = []
        for count, is_full in (
            (5, False),
            (5, False),
            (1, False),
            (1, False),
            (5, False),
            (5, True),
        ):
            for _ in range(count):
                kernel.send(NO_VNET + Flow().packet(bytes(64)))
            device_reader.is_full = is_full
            slept.clear()
            stand.work()
            rests.append(len(slept))
            assert all(99.0 < rest <= 100.0 for rest in slept)
        assert rests == [0, 1, 1, 0, 0, 0]
        assert len(_taken(stand.bench.reader("bless"))) == 22
        stand.duty.remove(0)


# all four


class Passage(NamedTuple):
    """Ways into a duty at work and out of it, and what comes out of each packet."""

    name: str
    make: Any
    end: socket.socket
    into: Callable[[Stand], Callable[[], object]]
    out_of: Callable[[Stand], Callable[[], list[bytes]]]
    result: bytes


def test_many_packets_in_one_run_go_out_in_a_turn(twin: str) -> None:
    """To the network and to the device; of several runs the duty hears, in Python."""
    packet = Flow(source="10.77.0.2").packet(bytes(64))
    tailed = packet + bytes(TAIL)
    with ExitStack() as stack:
        udp, other = _pair(stack)
        device, kernel = _device(stack)
        there = dataclasses.replace(PLAIN, peer=Address(*other.getsockname()[:2]))
        for lane, name, make, end, out, result in (
            ("purgatory", "purgatory-tx", PurgatoryTx, udp, other, tailed),
            ("heaven", "heaven-tx", HeavenTx, device, kernel, NO_VNET + packet),
        ):
            with standing(name, make, TURNS[twin]) as stand:
                stand.add(0, there, [end.dup().detach()])
                writer, handed = stand.bench.writer(lane), 0
                for sizes in ((9,), (2,), (9, 3)):
                    put_parts(writer, [Part([tailed] * size) for size in sizes])
                    stand.work()
                    handed += twin == "python" and len(sizes) > 1
                    assert stand.handed == handed, name
                    assert waiting(out) == [result] * sum(sizes), name
                stand.duty.remove(0)


@pytest.mark.parametrize("offloads", [False, True])
def test_what_is_ordinary_passes_all_others_in_a_turn(twin: str, offloads: bool) -> None:
    packet = Flow(source="10.77.0.2").packet(bytes(64))
    with ExitStack() as stack:
        udp, other = _pair(stack, gso=offloads, gro=offloads)
        device, kernel = _device(stack)
        there = dataclasses.replace(PLAIN, peer=Address(*other.getsockname()[:2]))
        for passage in _passages(udp, other, device, kernel, packet):
            with standing(passage.name, passage.make, TURNS[twin]) as stand:
                stand.add(0, there, [passage.end.dup().detach()])
                enter, leave = passage.into(stand), passage.out_of(stand)
                for _ in range(3):
                    enter()
                    stand.work()
                    assert leave() == [passage.result], passage.name
                assert stand.handed == 0, passage.name
                stand.duty.remove(0)


def _passages(
    udp: socket.socket,
    other: socket.socket,
    device: socket.socket,
    kernel: socket.socket,
    packet: bytes,
) -> Iterator[Passage]:
    tailed = packet + bytes(TAIL)
    part = Part([tailed])
    yield Passage(
        *("heaven-rx", HeavenRx, device),
        lambda _: partial(kernel.send, NO_VNET + packet),
        lambda stand: partial(_taken, stand.bench.reader("bless")),
        tailed,
    )
    yield Passage(
        *("purgatory-tx", PurgatoryTx, udp),
        lambda stand: partial(put_parts, stand.bench.writer("purgatory"), [part]),
        lambda _: partial(waiting, other),
        tailed,
    )
    yield Passage(
        *("purgatory-rx", PurgatoryRx, udp),
        lambda _: partial(other.sendto, packet, udp.getsockname()),
        lambda stand: partial(_taken, stand.bench.reader("confess")),
        packet,
    )
    yield Passage(
        *("heaven-tx", HeavenTx, device),
        lambda stand: partial(put_parts, stand.bench.writer("heaven"), [part]),
        lambda _: partial(waiting, kernel),
        NO_VNET + packet,
    )


def _taken(reader: LaneReader) -> list[bytes]:
    return [packet for _, packets in all_of(reader) for packet in packets]
