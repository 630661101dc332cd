"""The twins of sending and receiving over real sockets: only the number of calls differs."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.daemon.hot import twins
from chancel.daemon.hot.receive import UdpReceiver
from chancel.daemon.hot.send import UdpSender
from chancel.daemon.interface import Interface
from chancel.daemon.run import MAX_RUNS, Run, decode_runs, encode_runs
from chancel.daemon.udp import open_udp
from chancel.wire.cathedral import CATHEDRAL
from chancel.wire.drop import Drop
from chancel.wire.offer import MAGIC, OFFER_BYTES
from chancel.wire.types import Address
from tests.daemon.naive import fill, new_slot, packets_of
from tests.daemon.network import InNetwork

LOOPBACK = Address("127.0.0.1", 0)
TWINS = ((), ("send", "receive"))
SO_NO_CHECK = 11

pytestmark = pytest.mark.skipif(
    twins.module() is None,
    reason="needs cargo: `make setup` builds chancel_accel where it is found",
)


@contextmanager
def using(names: tuple[str, ...]) -> Iterator[None]:
    before = twins.used()
    assert twins.use(names) == frozenset(names)
    yield
    twins.use(before)


class Counts(NamedTuple):
    """Everything that is counted but calls."""

    datagrams: int
    octets: int
    drops: dict[Drop, int]
    error: int = 0
    gso: bool = False


def counts(of: UdpSender | UdpReceiver) -> Counts:
    if isinstance(of, UdpSender):
        return Counts(of.datagrams, of.bytes, of.drops, of.error, of.gso)
    return Counts(of.datagrams, of.bytes, of.drops)


def address_of(udp: socket.socket) -> Address:
    return Address(*udp.getsockname()[:2])


shapes_of_runs = st.lists(
    st.tuples(
        st.sampled_from([1, 1, 2, 5, 40, 70]),
        st.sampled_from([20, 49, 50, 66, 120, 623, 700, 1400, 1522, 1523, 1600]),
        st.integers(0, 1600),
    ),
    min_size=1,
    max_size=8,
)


def laid_out(shapes: list[tuple[int, int, int]]) -> tuple[memoryview, list[Run]]:
    slot, at, runs = new_slot(1 << 20), 0, list[Run]()
    for number, (count, size, shorter) in enumerate(shapes):
        noise = random.Random(number)
        packets = [noise.randbytes(size) for _ in range(count)]
        packets[-1] = packets[-1][: max(1, size - shorter)]
        run = fill(slot, packets, at, tunnel=number % 2)
        runs.append(run)
        at = run.end
    return slot.memory, runs


@given(shapes_of_runs, st.booleans())
def test_runs_are_the_same_on_the_wire(shapes: list[tuple[int, int, int]], gso: bool) -> None:
    memory, runs = laid_out(shapes)
    found = []
    for names in TWINS:
        here, there = (open_udp(LOOPBACK, gso=gso, gro=False) for _ in range(2))
        with here.socket, there.socket, using(names):
            sender = UdpSender(here.socket, gso=gso)
            sender.send(memory, runs, address_of(there.socket))
            arrived = [there.socket.recv(2048) for _ in range(sender.datagrams)]
        found.append((arrived, counts(sender)))
    assert found[0] == found[1]
    assert len(found[0][0]) == sum(run.packets for run in runs)


@given(shapes_of_runs, st.booleans())
def test_what_arrives_is_the_same_in_the_slot(
    shapes: list[tuple[int, int, int]], offload: bool
) -> None:
    """Of all sizes, from two senders in turns; sizes that nobody sends among them."""
    memory, runs = laid_out(shapes)
    here = [open_udp(LOOPBACK, gso=offload, gro=offload) for _ in range(2)]
    found = []
    for names in TWINS:
        there = open_udp(LOOPBACK, gso=offload, gro=offload)
        with there.socket, using(names):
            for number, run in enumerate(runs):
                sender = UdpSender(here[number % 2].socket, gso=offload)
                sender.send(memory, [run], address_of(there.socket))
            found.append(drained(there.socket))
    for each in here:
        each.socket.close()
    assert found[0] == found[1]


def drained(udp: socket.socket) -> list[object]:
    """All batches of a small slot: memory, runs, and what offers are parted; then the counters."""
    receiver, batches, empty = UdpReceiver(udp), list[object](), False
    while not empty:
        slot, runs = new_slot(160 * 1024), list[Run]()
        at, empty = receiver.drain(slot, runs, 0, 7)
        assert len(runs) <= MAX_RUNS // 2
        assert decode_runs(encode_runs(runs), len(slot.memory)) == runs
        batches += [at, list(runs), packets_of(slot, runs)]
    return [*batches, counts(receiver)]


def test_receiving_goes_on_behind_what_is_there() -> None:
    here, there = (open_udp(LOOPBACK, gso=False, gro=False) for _ in range(2))
    found = []
    with here.socket, there.socket:
        for names in TWINS:
            with using(names):
                slot, runs, at = new_slot(), list[Run](), 0
                receiver = UdpReceiver(there.socket)
                for size in (100, 100, 60, 100):
                    here.socket.sendto(bytes(size), address_of(there.socket))
                    at, empty = receiver.drain(slot, runs, at, 3)
                    assert empty
                found.append((at, runs))
    assert [(run.packets, run.size, run.last) for run in found[0][1]] == [
        (3, 100, 60),
        (1, 100, 100),
    ]
    assert found[0] == found[1]


marked = st.lists(
    st.tuples(
        st.sampled_from([100, OFFER_BYTES - 1, OFFER_BYTES, 1400]),
        st.lists(st.sampled_from([MAGIC, CATHEDRAL.magic, bytes(8)]), min_size=1, max_size=20),
        st.integers(1, 1400),
    ),
    max_size=5,
)


@given(marked, st.booleans())
def test_offers_are_parted_alike(
    shapes: list[tuple[int, list[bytes], int]], cathedrals: bool
) -> None:
    found = []
    for names in TWINS:
        slot, runs, at = new_slot(), list[Run](), 0
        for number, (size, heads, last) in enumerate(shapes):
            packets = [head + bytes((number, i)) * (size // 2) for i, head in enumerate(heads)]
            packets = [packet[:size] for packet in packets]
            packets[-1] = packets[-1][: max(50, last)]
            runs.append(fill(slot, packets, at)._replace(source=bytes((number,)) * 18))
            at = runs[-1].end
        with using(names), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            receiver = UdpReceiver(udp)
            parted = receiver.split_offers(slot, runs, cathedrals=cathedrals)
        found.append((parted, bytes(slot.memory)))
    assert found[0] == found[1]


def told_of(sender: UdpSender) -> list[int | None]:
    told: list[int | None] = []
    sender.on_gso_broken = lambda error: told.append(error.errno)
    return told


@pytest.mark.parametrize("names", TWINS, ids=["python", "compiled"])
def test_a_socket_that_really_has_no_trains(names: tuple[str, ...]) -> None:
    """Without checksums the kernel refuses trains (EINVAL), and nothing else."""
    there = open_udp(LOOPBACK, gso=False, gro=False)
    here = open_udp(LOOPBACK, gso=False, gro=False)
    memory, runs = laid_out([(3, 100, 0), (40, 1000, 300), (1, 70, 0), (20, 60, 0)])
    with here.socket, there.socket, using(names):
        here.socket.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
        sender = UdpSender(here.socket, gso=True)
        told = told_of(sender)
        sender.send(memory, runs, address_of(there.socket))
        arrived = [there.socket.recv(2048) for _ in range(64)]
    view = new_slot(len(memory))
    view.memory[:] = memory
    assert arrived == packets_of(view, runs)
    assert told == [errno.EINVAL]
    assert counts(sender) == Counts(64, sum(map(len, arrived)), {}, 0, gso=False)


@pytest.mark.parametrize("names", TWINS, ids=["python", "compiled"])
def test_a_path_that_became_narrower(in_network: InNetwork, names: tuple[str, ...]) -> None:
    """What is too large is counted, the rest arrives, and trains stay on."""

    def test() -> None:
        Interface.here("lo").set_mtu(1300)
        there = open_udp(LOOPBACK, gso=True, gro=False)
        here = open_udp(LOOPBACK, gso=True, gro=False)
        memory, runs = laid_out([(5, 1000, 0), (6, 1400, 1200), (1, 1400, 0), (5, 1100, 0)])
        with using(names):
            sender = UdpSender(here.socket, gso=True)
            told = told_of(sender)
            sender.send(memory, runs, address_of(there.socket))
        sizes = [len(there.socket.recv(2048)) for _ in range(sender.datagrams)]
        assert sizes in ([1000] * 5 + [200] + [1100] * 5, [1000] * 5 + [1100] * 5)
        assert sender.drops == {Drop.SEND_TOO_LARGE: 17 - len(sizes)}
        assert (sender.gso, told) == (True, [])

    in_network(test)


@pytest.mark.parametrize("names", TWINS, ids=["python", "compiled"])
def test_refusals_are_counted_for_each_datagram(names: tuple[str, ...]) -> None:
    memory, runs = laid_out([(3, 100, 0), (1, 90, 0)])
    udp = open_udp(LOOPBACK, gso=True, gro=False)
    with udp.socket, using(names):
        for peer in (Address("192.0.2.1", 9), Address("::1", 9)):  # bound to loopback; no IPv6
            sender = UdpSender(udp.socket, gso=True)
            sender.send(memory, runs, peer)
            assert sender.drops == {Drop.SEND_FAILED: 4}
            assert sender.error in (errno.EINVAL, errno.ENETUNREACH, socket.EAI_ADDRFAMILY)
            assert sender.datagrams == 0


@pytest.mark.parametrize("names", TWINS, ids=["python", "compiled"])
def test_what_is_no_socket_is_an_error_of_ours(names: tuple[str, ...]) -> None:
    memory, runs = laid_out([(1, 100, 0)])
    with open(__file__, "rb") as file, using(names):
        udp = NoSocket(file.fileno())
        with pytest.raises(OSError, match="non-socket"):
            UdpSender(udp, gso=False).send(memory, runs, LOOPBACK)  # type: ignore[arg-type]


class NoSocket:
    """The descriptor of a file, for both twins."""

    family = socket.AF_INET

    def __init__(self, fd: int) -> None:
        self.fileno: Callable[[], int] = lambda: fd

    def sendto(self, *_: object) -> int:
        raise OSError(errno.ENOTSOCK, "Socket operation on non-socket")


def test_a_run_outside_of_its_memory_is_refused() -> None:
    with open_udp(LOOPBACK, gso=False, gro=False).socket as udp, using(("send",)):
        sender = UdpSender(udp, gso=False)
        with pytest.raises(IndexError):
            sender.send(memoryview(bytes(100)), [Run(0, 0, 2, 60, 60, 0)], LOOPBACK)
        with pytest.raises(ValueError, match="packets"):
            sender.send(memoryview(bytes(100)), [Run(0, 0, 0, 60, 60, 0)], LOOPBACK)
