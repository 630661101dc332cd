"""Turns in Python of the four processes that read and write the device and the network."""

from __future__ import annotations

import dataclasses
import math
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from operator import itemgetter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.daemon.duties.heaven_rx import HeavenRx
from chancel.daemon.duties.heaven_tx import HeavenTx
from chancel.daemon.duties.purgatory_rx import PurgatoryRx
from chancel.daemon.duties.purgatory_tx import PurgatoryTx
from chancel.daemon.hot.cut import NEEDS_CHECKSUM, VNET
from chancel.daemon.hot.lone import LoneTurns
from chancel.daemon.lane import LaneReader
from chancel.daemon.run import pack_address
from chancel.daemon.udp import open_udp
from chancel.wire.drop import Drop
from chancel.wire.grace import Heartbeat, encode
from chancel.wire.offer import MAGIC, OFFER_BYTES
from chancel.wire.traffic import NEXT_GRACE, NEXT_INNER
from chancel.wire.types import Address
from tests.daemon.lone import EITHER_WAY, packets_in, python
from tests.daemon.naive import NO_VNET, TAIL, Flow
from tests.daemon.standing import (
    PLAIN,
    Part,
    Stand,
    alike,
    all_of,
    parts_of,
    put_parts,
    shapes,
)


@pytest.fixture(scope="module", autouse=True)
def _always_a_lull() -> Iterator[None]:
    """Whatever comes, comes after a lull: else a fast test would drain."""
    before = LoneTurns.LULL_S
    LoneTurns.LULL_S = -1.0
    yield
    LoneTurns.LULL_S = before


@alike
@given(st.lists(shapes, max_size=5), st.booleans())
def test_sending_is_the_same(batches: list[Any], gso: bool) -> None:
    found = []
    for lone in EITHER_WAY:
        with python("purgatory-tx", PurgatoryTx, lone) as stand, ExitStack() as stack:
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
    assert found[0] == found[1]


def test_what_the_kernel_refuses_is_counted() -> None:
    with python("purgatory-tx", PurgatoryTx) as stand, ExitStack() as stack:
        here, there = _pair(stack)
        port = there.getsockname()[1]
        # To the broadcast address nothing may be sent from this socket.
        nowhere = dataclasses.replace(PLAIN, peer=Address("255.255.255.255", port))
        stand.add(0, nowhere, [here.dup().detach()])
        put_parts(stand.bench.writer("purgatory"), [Part([bytes(60)])])
        stand.work()
        assert stand.handed == 1
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
def test_receiving_is_the_same(sizes: list[tuple[int, bytes]]) -> None:
    """Offers, which go to the keeper, are among what comes, and several may wait at once."""
    found = []
    for lone in EITHER_WAY:
        with python("purgatory-rx", PurgatoryRx, lone) as stand, ExitStack() as stack:
            here, there = _pair(stack)
            stand.add(0, PLAIN, [here.dup().detach()])
            lanes = [stand.bench.reader(lane) for lane in ("confess", "keeper")]
            out: list[Any] = []
            source = pack_address(Address(*there.getsockname()[:2]))
            for number, (size, magic) in enumerate(sizes):
                there.sendto(magic.ljust(size, bytes((number,))), here.getsockname())
                if number % 3 != 1:
                    out += _arrived(stand, lanes, source)
            out += _arrived(stand, lanes, source)
            found.append([out, stand.told()])
            stand.duty.remove(0)
    assert found[0] == found[1]


def _arrived(stand: Stand, lanes: list[LaneReader], source: bytes) -> list[Any]:
    """Which packets went to which lane. The first of them may go in a turn of its own."""
    found = []
    for _ in range(2):
        stand.work()
        for number, lane in enumerate(lanes):
            for _, _, from_, packet in packets_in(all_of(lane)):
                assert from_ == source
                found.append((number, packet))
    return sorted(found, key=itemgetter(0))


def checksummed(packet: bytes) -> bytes:
    """As the kernel hands over a packet whose checksum it left to the device."""
    blank = bytearray(packet)
    blank[36:38] = bytes(2)  # the sum of a pseudo header that is all zero
    return VNET.pack(NEEDS_CHECKSUM, 0, 0, 0, 20, 16) + bytes(blank)


frames = st.lists(
    st.one_of(
        st.sampled_from([0, 1, 12]).map(lambda size: NO_VNET + bytes(size)),
        st.sampled_from([0, 1, 64, 1400]).map(lambda size: NO_VNET + Flow().packet(bytes(size))),
        st.sampled_from([0, 1, 64, 65]).map(lambda size: checksummed(Flow().packet(bytes(size)))),
        st.just(VNET.pack(NEEDS_CHECKSUM, 0, 0, 0, 20, 60) + Flow().packet(bytes(8))),
        st.just(NO_VNET + bytes(1600)),
    ),
    max_size=12,
)


@alike
@given(frames)
def test_reading_is_the_same(chosen: list[bytes]) -> None:
    """Packets, and what is none, one by one and several at once."""
    found = []
    for lone in EITHER_WAY:
        with python("heaven-rx", HeavenRx, lone) as stand, ExitStack() as stack:
            device, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            stack.enter_context(kernel)
            device.setblocking(False)
            stand.add(0, PLAIN, [device.detach()])
            reader, out = stand.bench.reader("bless"), list[Any]()
            for number, frame in enumerate(chosen):
                kernel.send(frame)
                if number % 3 != 1:
                    stand.work()
                    stand.work()
                    out += packets_in(all_of(reader))
            for _ in range(2):
                stand.work()
                out += packets_in(all_of(reader))
            found.append([out, stand.told()])
            stand.duty.remove(0)
    assert found[0] == found[1]


@alike
@given(
    st.lists(
        st.tuples(
            st.sampled_from([1, 2, 19, 64, 1400]),
            st.sampled_from(["10.77.0.2", "10.77.0.2", "192.0.2.9"]),
            st.sampled_from([NEXT_INNER] * 6 + [NEXT_GRACE]),
        ),
        max_size=12,
    )
)
def test_writing_is_the_same(chosen: list[tuple[int, str, int]]) -> None:
    """Packets that the filter refuses, and graces, among them."""
    found = []
    for lone in EITHER_WAY:
        with python("heaven-tx", HeavenTx, lone) as stand, ExitStack() as stack:
            device, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            stack.enter_context(kernel)
            device.setblocking(False)
            kernel.setblocking(False)
            stand.add(0, PLAIN, [device.detach()])
            writer, out = stand.bench.writer("heaven"), list[bytes]()
            for size, source, next_ in chosen:
                whole = bytes(size) if size < 20 else Flow(source=source).packet(bytes(size))
                packet = whole if next_ == NEXT_INNER else encode(Heartbeat())
                put_parts(writer, [Part([packet + bytes(TAIL)], next_)])
                stand.work()
                out += waiting(kernel)
            found.append([out, stand.told()])
            stand.duty.remove(0)
    assert found[0] == found[1]


def test_a_lone_packet_passes_all_others_in_a_turn() -> None:
    packet = Flow(source="10.77.0.2").packet(bytes(64))
    with ExitStack() as stack:
        here, there = _pair(stack)
        device, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (device, kernel):
            stack.enter_context(end)
            end.setblocking(False)
        to = dataclasses.replace(PLAIN, peer=Address(*there.getsockname()[:2]))
        ways: dict[str, tuple[Any, socket.socket, Callable[[Stand], Any]]] = {
            "heaven-rx": (HeavenRx, device, lambda _: kernel.send(NO_VNET + packet)),
            "purgatory-tx": (PurgatoryTx, here, lambda stand: _put(stand, "purgatory", packet)),
            "purgatory-rx": (PurgatoryRx, here, lambda _: there.sendto(packet, here.getsockname())),
            "heaven-tx": (HeavenTx, device, lambda stand: _put(stand, "heaven", packet)),
        }
        for name, (make, end, enter) in ways.items():
            with python(name, make) as stand:
                stand.add(0, to, [end.dup().detach()])
                enter(stand)
                stand.work()
                assert stand.handed == 0, name
                stand.duty.remove(0)
        assert waiting(there) == [packet + bytes(TAIL)]
        assert waiting(kernel) == [NO_VNET + packet]


def test_what_follows_soon_is_drained() -> None:
    """A turn that hands on each of many packets would cost each of them six wake-ups."""
    with python("heaven-rx", HeavenRx) as stand, ExitStack() as stack:
        device, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.enter_context(kernel)
        device.setblocking(False)
        stand.add(0, PLAIN, [device.detach()])
        stand.duty._turns.LULL_S = math.inf
        reader = stand.bench.reader("bless")
        for _ in range(5):
            kernel.send(NO_VNET + Flow().packet(bytes(64)))
        stand.work()
        ((_, packets),) = all_of(reader)
        assert (len(packets), stand.handed) == (5, 1)
        stand.duty.remove(0)


def _pair(stack: ExitStack, *, gso: bool = False) -> list[socket.socket]:
    made = [open_udp(Address("127.0.0.1", 0), gso=gso, gro=False).socket for _ in range(2)]
    for each in made:
        stack.enter_context(each)
        each.setblocking(False)
    return made


def _put(stand: Stand, lane: str, packet: bytes) -> None:
    put_parts(stand.bench.writer(lane), [Part([packet + bytes(TAIL)])])


def waiting(end: socket.socket) -> list[bytes]:
    """What can be received at once."""
    found = []
    while True:
        try:
            found.append(end.recv(70_000))
        except BlockingIOError:
            return found
