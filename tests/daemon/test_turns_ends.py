"""Compiled turns of the four processes that read and write the device and the network."""

from __future__ import annotations

import dataclasses
import functools
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.daemon.duties.heaven_rx import HeavenRx
from chancel.daemon.duties.heaven_tx import HeavenTx
from chancel.daemon.duties.purgatory_rx import PurgatoryRx
from chancel.daemon.duties.purgatory_tx import PurgatoryTx
from chancel.daemon.hot import twins
from chancel.daemon.lane import LaneReader, LaneWriter
from chancel.daemon.run import Run
from chancel.daemon.udp import open_udp
from chancel.wire.grace import Heartbeat, encode
from chancel.wire.offer import MAGIC, OFFER_BYTES
from chancel.wire.traffic import NEXT_GRACE, NEXT_INNER
from chancel.wire.types import Address
from tests.daemon.benches import Bench
from tests.daemon.naive import NO_VNET, TAIL, Flow
from tests.daemon.standing import (
    MIXTURES,
    PLAIN,
    Part,
    alike,
    all_of,
    parts_of,
    put_parts,
    shapes,
    standing,
)

pytestmark = pytest.mark.skipif(
    twins.module() is None,
    reason="needs cargo: `make setup` builds chancel_accel where it is found",
)

# purgatory-tx and purgatory-rx


@alike
@given(st.lists(shapes, max_size=5), st.booleans())
def test_sending_is_the_same(batches: list[Any], gso: bool) -> None:
    found = []
    for used in MIXTURES:
        with standing("purgatory-tx", PurgatoryTx, used) as stand, ExitStack() as stack:
            here, there = (
                stack.enter_context(open_udp(Address("127.0.0.1", 0), gso=gso, gro=False).socket)
                for _ in range(2)
            )
            there.setblocking(False)
            peer = Address(*there.getsockname()[:2])
            stand.add(0, dataclasses.replace(PLAIN, peer=peer), [os_dup(here)])
            nobody = dataclasses.replace(PLAIN, peer=None)
            stand.add(1, nobody, [os_dup(here)])
            writer, out = stand.bench.writer("purgatory"), list[bytes]()
            for number, chosen in enumerate(batches):
                put_parts(writer, parts_of(chosen, number))
                stand.work()
                out += waiting(there)
            found.append([out, stand.told(0), stand.told(1)])
            for tunnel in (0, 1):
                stand.duty.remove(tunnel)
    assert found[0] == found[1] == found[2]


def os_dup(udp: socket.socket) -> int:
    return udp.dup().detach()


def waiting(end: socket.socket) -> list[bytes]:
    """What can be received at once."""
    found = []
    while True:
        try:
            found.append(end.recv(70_000))
        except BlockingIOError:
            return found


datagrams = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([20, 49, 50, 66, 1400, 1522, 1523]), st.just(b"")),
        st.tuples(st.just(OFFER_BYTES), st.just(MAGIC)),
    ),
    max_size=12,
)


@alike
@given(datagrams)
def test_receiving_is_the_same(sizes: list[tuple[int, bytes]]) -> None:
    """Offers, which go to the keeper, are among what comes."""
    found = []
    for used in MIXTURES:
        with standing("purgatory-rx", PurgatoryRx, used) as stand, ExitStack() as stack:
            here, there = (
                stack.enter_context(open_udp(Address("127.0.0.1", 0), gso=False, gro=False).socket)
                for _ in range(2)
            )
            stand.add(0, PLAIN, [os_dup(here)])
            to_confess, to_keeper = (stand.bench.reader(lane) for lane in ("confess", "keeper"))
            out: list[object] = []
            for number, (size, magic) in enumerate(sizes):
                data = magic + random.Random(number).randbytes(size - len(magic))
                there.sendto(data, here.getsockname())
                if number % 3 != 1:
                    stand.work()
                    out += [(lane, packets) for lane, packets in taken_by(to_confess, to_keeper)]
            stand.work()
            out += taken_by(to_confess, to_keeper)
            found.append([out, stand.told()])
            stand.duty.remove(0)
    assert found[0] == found[1] == found[2]


def taken_by(*readers: LaneReader) -> list[tuple[int, list[bytes]]]:
    return [
        (number, packets) for number, reader in enumerate(readers) for _, packets in all_of(reader)
    ]


# heaven-rx and heaven-tx

frames = st.lists(
    st.tuples(
        st.sampled_from([0, 3, 12, 13, 64, 64, 1400]),
        st.sampled_from(["10.77.0.2", "10.77.0.2", "192.0.2.9"]),
        st.sampled_from([NEXT_INNER] * 6 + [NEXT_GRACE]),
    ),
    max_size=12,
)


def packet_of(size: int, source: str) -> bytes:
    """A packet with a payload of so many bytes, or a stump."""
    if size < 13:
        return bytes(size)
    return Flow(source=source).packet(bytes(size))


@alike
@given(frames)
def test_reading_is_the_same(chosen: list[tuple[int, str, int]]) -> None:
    found = []
    for used in MIXTURES:
        with standing("heaven-rx", HeavenRx, used) as stand:
            device, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            device.setblocking(False)
            stand.add(0, PLAIN, [device.detach()])
            reader, batches = stand.bench.reader("bless"), list[tuple[list[Run], list[bytes]]]()
            with kernel:
                for number, (size, source, _) in enumerate(chosen):
                    kernel.send(NO_VNET + packet_of(size, source))
                    if number % 3 != 1:
                        stand.work()
                        batches += all_of(reader)
                stand.work()
                batches += all_of(reader)
                found.append([batches, stand.told()])
                stand.duty.remove(0)
    assert found[0] == found[1] == found[2]
    whole = [size for size, _, _ in chosen if size > 12]
    assert sum(len(packets) for _, packets in batches) == len(whole)


@alike
@given(frames)
def test_writing_is_the_same(chosen: list[tuple[int, str, int]]) -> None:
    """Packets that the filter refuses and graces among them."""
    found = []
    for used in MIXTURES:
        with standing("heaven-tx", HeavenTx, used) as stand:
            device, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            device.setblocking(False)
            kernel.setblocking(False)
            stand.add(0, PLAIN, [device.detach()])
            writer, out = stand.bench.writer("heaven"), list[bytes]()
            with kernel:
                for size, source, next_ in chosen:
                    inner = next_ == NEXT_INNER
                    packet = packet_of(max(size, 1), source) if inner else encode(Heartbeat())
                    put_parts(writer, [Part([packet + bytes(TAIL)], next_)])
                    stand.work()
                    out += waiting(kernel)
                found.append([out, stand.told()])
                stand.duty.remove(0)
    assert found[0] == found[1] == found[2]


def test_what_is_ordinary_passes_all_others_without_python() -> None:
    with ExitStack() as stack:
        udp = open_udp(Address("127.0.0.1", 0), gso=True, gro=True).socket
        other = open_udp(Address("127.0.0.1", 0), gso=True, gro=True).socket
        device, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (udp, other, device, kernel):
            stack.enter_context(end)
            end.setblocking(False)
        there = dataclasses.replace(PLAIN, peer=Address(*other.getsockname()[:2]))
        packet = packet_of(64, "10.77.0.2")
        for name, make, end, enter, leave in _ways(udp, other, device, kernel, packet):
            with standing(name, make) as stand:
                stand.add(0, there, [os_dup(end)])
                for _ in range(3):
                    enter(stand.bench)
                    stand.work()
                    assert leave(stand.bench), name
                assert stand.handed == 0, name
                stand.duty.remove(0)


def _ways(
    udp: socket.socket,
    other: socket.socket,
    device: socket.socket,
    kernel: socket.socket,
    packet: bytes,
) -> Iterator[tuple[str, Any, socket.socket, Callable[[Bench], Any], Callable[[Bench], Any]]]:
    """Duties, their descriptors, and what enters and what leaves."""

    @functools.cache
    def writer(bench: Bench, lane: str) -> LaneWriter:
        return bench.writer(lane)

    @functools.cache
    def reader(bench: Bench, lane: str) -> LaneReader:
        return bench.reader(lane)

    part = Part([packet + bytes(TAIL)])
    yield (
        *("heaven-rx", HeavenRx, device),
        lambda _: kernel.send(NO_VNET + packet),
        lambda bench: all_of(reader(bench, "bless")),
    )
    yield (
        *("purgatory-tx", PurgatoryTx, udp),
        lambda bench: put_parts(writer(bench, "purgatory"), [part]),
        lambda _: waiting(other),
    )
    yield (
        *("purgatory-rx", PurgatoryRx, udp),
        lambda _: other.sendto(packet, udp.getsockname()),
        lambda bench: all_of(reader(bench, "confess")),
    )
    yield (
        *("heaven-tx", HeavenTx, device),
        lambda bench: put_parts(writer(bench, "heaven"), [part]),
        lambda _: waiting(kernel),
    )
