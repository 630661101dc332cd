"""Runs out of one real socket and into another, with the kernel's trains and without."""

from __future__ import annotations

import errno
import random
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.daemon.hot.receive import UdpReceiver, split_offers
from chancel.daemon.hot.send import UDP_SEGMENT, UdpSender
from chancel.daemon.hot.views import SlotView
from chancel.daemon.run import MAX_RUNS, Run, pack_address, unpack_address
from chancel.daemon.udp import UdpSocket, open_udp
from chancel.wire.cathedral import CATHEDRAL
from chancel.wire.datagram import LEGACY
from chancel.wire.drop import Drop
from chancel.wire.offer import MAGIC, OFFER_BYTES
from chancel.wire.types import Address
from tests.daemon.naive import fill, new_slot, packets_of

LOOPBACK = Address("127.0.0.1", 0)

Pair = tuple[UdpSocket, UdpSocket]


@pytest.fixture(params=[True, False], ids=["trains", "singles"])
def pair(twin: str, request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Two sockets of one kind, and the twin that uses them: the sender's, the receiver's."""
    made = (
        open_udp(LOOPBACK, gso=request.param, gro=request.param),
        open_udp(LOOPBACK, gso=request.param, gro=request.param),
    )
    yield made
    for udp in made:
        udp.socket.close()


def address_of(udp: UdpSocket) -> Address:
    return Address(*udp.socket.getsockname())


def transfer(
    pair: Pair, packets: list[bytes]
) -> tuple[UdpSender, UdpReceiver, SlotView, list[Run]]:
    """Send packets as one run, and drain the other socket once they are there."""
    slot, taken = new_slot(), new_slot()
    sender = UdpSender(pair[0].socket, gso=pair[0].gso)
    receiver = UdpReceiver(pair[1].socket)
    runs: list[Run] = []
    sender.send(slot.memory, [fill(slot, packets, 17)], address_of(pair[1]))
    assert receiver.drain(taken, runs, 0, 5)[1]
    return sender, receiver, taken, runs


def noise(count: int, size: int, last: int) -> list[bytes]:
    source = random.Random(count * size)
    return [source.randbytes(size) for _ in range(count - 1)] + [source.randbytes(last)]


@pytest.mark.parametrize(
    ("count", "size", "last"),
    [(1, 50, 50), (1, 1522, 1522), (40, 1424, 1424), (40, 1424, 700), (130, 66, 66), (3, 51, 50)],
)
def test_a_run_arrives_as_it_was_sent(
    pair: Pair, twin: str, count: int, size: int, last: int
) -> None:
    packets = noise(count, size, last)
    sender, receiver, slot, runs = transfer(pair, packets)
    assert packets_of(slot, runs) == packets
    assert [(run.packets, run.size, run.last) for run in runs] == [(count, size, last)]
    source = pack_address(address_of(pair[0]))
    assert all((run.tunnel, run.next, run.source) == (5, 0, source) for run in runs)
    assert sender.datagrams == receiver.datagrams == count
    assert sender.bytes == receiver.bytes == sum(map(len, packets))
    assert not sender.drops
    assert not receiver.drops
    trains = -(-count // 64)
    if twin == "compiled":
        assert sender.calls == (1 if pair[0].gso else trains), "many messages in one call"
    else:
        assert sender.calls == (trains if pair[0].gso else count)
    if pair[0].gso:
        assert receiver.calls <= trains


def test_different_sizes_become_runs_in_order(pair: Pair) -> None:
    slot, receiver = new_slot(), UdpReceiver(pair[1].socket)
    sizes = [100, 100, 60, 60, 1000, 1000, 1000, 999]
    packets = [bytes([i]) * size for i, size in enumerate(sizes)]
    for packet in packets:
        pair[0].socket.sendto(packet, address_of(pair[1]))
    runs: list[Run] = []
    assert receiver.drain(slot, runs, 0, 0)[1]
    assert packets_of(slot, runs) == packets
    assert [run.packets for run in runs] == [3, 1, 4]


def test_two_sources_are_kept_apart(pair: Pair) -> None:
    slot, receiver = new_slot(), UdpReceiver(pair[1].socket)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(LOOPBACK)
        for udp in (pair[0].socket, other, pair[0].socket):
            udp.sendto(bytes(100), address_of(pair[1]))
        expected = [udp.getsockname() for udp in (pair[0].socket, other, pair[0].socket)]
    runs: list[Run] = []
    receiver.drain(slot, runs, 0, 0)
    assert [unpack_address(run.source) for run in runs] == expected


@pytest.mark.parametrize(
    ("packets", "arrived", "drops"),
    [
        ([b""], [], {Drop.TOO_SHORT: 1}),
        ([b"x" * 49], [], {Drop.TOO_SHORT: 1}),
        ([b"x" * 49] * 7, [], {Drop.TOO_SHORT: 7}),
        ([b"x" * 100] * 7 + [b"y" * 9], [b"x" * 100] * 7, {Drop.TOO_SHORT: 1}),
        ([b"x" * 1523], [], {Drop.TOO_LONG: 1}),
        ([b"x" * 1523] * 5, [], {Drop.TOO_LONG: 5}),
        ([b"x" * 1523] * 5 + [b"y" * 100], [b"y" * 100], {Drop.TOO_LONG: 5}),
        ([b"x" * 1523, b"y"], [], {Drop.TOO_LONG: 1, Drop.TOO_SHORT: 1}),
    ],
)
def test_sizes_nobody_sends_are_dropped_alone(
    pair: Pair, packets: list[bytes], arrived: list[bytes], drops: dict[Drop, int]
) -> None:
    slot, receiver = new_slot(), UdpReceiver(pair[1].socket)
    runs: list[Run] = []
    pair[0].socket.sendto(b"a" * 100, address_of(pair[1]))
    if packets[0]:
        sending = new_slot()
        run = fill(sending, packets)
        UdpSender(pair[0].socket, gso=pair[0].gso).send(sending.memory, [run], address_of(pair[1]))
    else:
        pair[0].socket.sendto(b"", address_of(pair[1]))
    pair[0].socket.sendto(b"z" * 60, address_of(pair[1]))
    assert receiver.drain(slot, runs, 0, 0)[1]
    assert packets_of(slot, runs) == [b"a" * 100, *arrived, b"z" * 60]
    assert receiver.drops == drops
    assert receiver.datagrams == len(packets) + 2


def test_a_full_slot_leaves_the_rest_in_the_socket(pair: Pair) -> None:
    slot, receiver = new_slot(2 * 65_536), UdpReceiver(pair[1].socket)
    sending = new_slot()
    packets = noise(150, 1400, 1400)
    run = fill(sending, packets)
    UdpSender(pair[0].socket, gso=pair[0].gso).send(sending.memory, [run], address_of(pair[1]))
    arrived: list[bytes] = []
    empty = False
    while not empty:
        runs: list[Run] = []
        end, empty = receiver.drain(slot, runs, 0, 0)
        assert end <= len(slot.memory)
        arrived += packets_of(slot, runs)
    assert arrived == packets


@pytest.mark.parametrize("twin", ["python"], indirect=True)
@pytest.mark.usefixtures("twin")
def test_a_flood_of_what_is_dropped_does_not_hold_up_a_batch() -> None:
    class Flood:
        """A socket that never runs empty."""

        def recvmsg_into(self, *_: object) -> tuple[int, list[Any], int, tuple[str, int]]:
            return 1, [], 0, ("192.0.2.1", 1)

    receiver = UdpReceiver(Flood())  # type: ignore[arg-type]
    assert receiver.drain(new_slot(), [], 0, 0) == (0, False)
    assert receiver.drops[Drop.TOO_SHORT] == receiver.calls


@pytest.mark.usefixtures("twin")
def test_a_pending_icmp_error_is_taken_off_and_others_are_not() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(LOOPBACK)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
            gone.bind(LOOPBACK)
            nobody = Address(*gone.getsockname())
        udp.connect(nobody)
        sender, receiver = UdpSender(udp, gso=False), UdpReceiver(udp)
        slot = new_slot()
        run = fill(slot, [bytes(100)])
        sender.send(slot.memory, [run], nobody)
        time.sleep(0.01)
        assert receiver.drain(slot, [], 0, 0) == (0, True)
        assert udp.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        sender.send(slot.memory, [run], nobody)
        time.sleep(0.01)
        sender.send(slot.memory, [run], nobody)
        assert sender.drops == {Drop.SEND_FAILED: 1}
    with pytest.raises(OSError, match="Bad file descriptor"):
        receiver.drain(slot, [], 0, 0)
    with pytest.raises(OSError, match="Bad file descriptor"):
        sender.send(slot.memory, [run], nobody)


@pytest.mark.parametrize("twin", ["python"], indirect=True)
def test_what_is_larger_than_the_path_is_counted_and_trains_stay_on(pair: Pair) -> None:
    """EMSGSIZE (EINVAL in older kernels, for trains) says nothing about trains as such."""
    slot = new_slot()
    sender = UdpSender(TooLarge(pair[0].socket, 1400), gso=pair[0].gso)  # type: ignore[arg-type]
    sender.on_gso_broken = lambda error: pytest.fail(str(error))
    sender.send(slot.memory, [fill(slot, noise(10, 1424, 500))], address_of(pair[1]))
    assert sender.drops == {Drop.SEND_TOO_LARGE: 9 if sender.calls > 1 else 10}
    assert sender.gso == pair[0].gso
    sender.send(slot.memory, [fill(slot, noise(10, 1000, 500))], address_of(pair[1]))
    assert sender.datagrams == (11 if sender.drops[Drop.SEND_TOO_LARGE] == 9 else 10)


class TooLarge:
    """A socket on a path whose MTU fell, as kernels up to 6.12 report it."""

    family = socket.AF_INET

    def __init__(self, udp: socket.socket, mtu: int) -> None:
        self._udp = udp
        self._mtu = mtu

    def sendmsg(self, parts: list[memoryview], control: list[Any], flags: int, to: Address) -> int:
        if int.from_bytes(control[0][2], "little") > self._mtu:
            raise OSError(errno.EINVAL, "Invalid argument")
        return self._udp.sendmsg(parts, control, flags, to)

    def sendto(self, data: memoryview, to: Address) -> int:
        if len(data) > self._mtu:
            raise OSError(errno.EMSGSIZE, "Message too long")
        return self._udp.sendto(data, to)


class NoTrains(TooLarge):
    """A socket on a device that can't complete the checksums of trains."""

    def sendmsg(self, parts: list[memoryview], control: list[Any], flags: int, to: Address) -> int:
        raise OSError(self._mtu, "no trains here")


@pytest.mark.parametrize("twin", ["python"], indirect=True)
@pytest.mark.parametrize("error", [errno.EIO, errno.EINVAL])
def test_trains_are_given_up_on_the_error_that_proves_them_broken(pair: Pair, error: int) -> None:
    slot, taken, told = new_slot(), new_slot(), list[OSError]()
    broken = NoTrains(pair[0].socket, error)
    broken.sendto = pair[0].socket.sendto  # type: ignore[method-assign, assignment]
    sender = UdpSender(broken, gso=True)  # type: ignore[arg-type]
    sender.on_gso_broken = told.append
    packets = noise(10, 1424, 500)
    sender.send(slot.memory, [fill(slot, packets)], address_of(pair[1]))
    assert [failure.errno for failure in told] == [error]
    assert not sender.gso
    assert not sender.drops
    runs: list[Run] = []
    UdpReceiver(pair[1].socket).drain(taken, runs, 0, 0)
    assert packets_of(taken, runs) == packets


def test_a_real_datagram_too_large_for_the_path_is_counted(pair: Pair) -> None:
    """Loopback takes 65,507 bytes; the packets of a run never come near, so a control does."""
    sender = UdpSender(pair[0].socket, gso=pair[0].gso)
    memory = memoryview(bytearray(70_000))
    sender.send(memory, [Run(0, 0, 1, 65_508, 65_508, 0)], address_of(pair[1]))
    assert sender.drops == {Drop.SEND_TOO_LARGE: 1}


def test_the_constant_is_the_kernels() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setsockopt(socket.SOL_UDP, UDP_SEGMENT, 1000)
        assert udp.getsockopt(socket.SOL_UDP, UDP_SEGMENT) == 1000


runs_of_kinds = st.lists(
    st.tuples(
        st.sampled_from([623, 640, 1424, 100]),
        st.lists(st.booleans(), min_size=1, max_size=30),
        st.integers(1, 99),
    ),
    min_size=1,
    max_size=5,
)


@given(runs_of_kinds)
def test_offers_are_picked_out_of_trains(shapes: list[tuple[int, list[bool], int]]) -> None:
    slot = new_slot()
    at = 0
    runs: list[Run] = []
    packets: list[bytes] = []
    for index, (size, marks, short) in enumerate(shapes):
        train = []
        for i, is_offer in enumerate(marks):
            head = MAGIC if is_offer else b"\x01\x02\x03\x04\x05\x06\x07\x08"
            whole = head + bytes([index, i]) + random.Random(i).randbytes(size - 10)
            train.append(whole if i < len(marks) - 1 else whole[: max(50, size - short)])
        run = fill(slot, train, at)._replace(source=bytes([index]) * 18)
        runs.append(run)
        packets += train
        at = run.end
    traffic, offers = split_offers(slot, runs)
    eligible = [packet[:8] == MAGIC and len(packet) >= OFFER_BYTES for packet in packets]
    assert packets_of(slot, offers) == [
        p for p, is_offer in zip(packets, eligible, strict=True) if is_offer
    ]
    assert packets_of(slot, traffic) == [
        p for p, is_offer in zip(packets, eligible, strict=True) if not is_offer
    ]
    assert all(run.packets == 1 for run in offers)
    assert len(traffic) <= len(runs)
    for run in (*traffic, *offers):
        first = packets_of(slot, [run])[0]
        assert run.source == bytes([first[8]]) * 18


def test_offers_arrive_within_trains_of_traffic(pair: Pair) -> None:
    offer = MAGIC + random.Random(1).randbytes(OFFER_BYTES - 8)
    other = random.Random(2).randbytes(OFFER_BYTES)
    packets = [other, offer, other, offer, other[:300]]
    _, receiver, slot, runs = transfer(pair, packets)
    traffic, offers = receiver.split_offers(slot, runs, cathedrals=False)
    assert packets_of(slot, traffic) == [other, other, other[:300]]
    assert packets_of(slot, offers) == [offer, offer]


def test_what_cathedrals_say_are_offers_to_who_has_one(pair: Pair) -> None:
    """To all others an SPI may look like that."""
    said = CATHEDRAL.magic + random.Random(1).randbytes(OFFER_BYTES - 8)
    offer = MAGIC + random.Random(2).randbytes(OFFER_BYTES - 8)
    other = random.Random(3).randbytes(OFFER_BYTES)
    packets = [other, said, offer, other, said[:-1]]
    _, receiver, slot, runs = transfer(pair, packets)
    traffic, offers = receiver.split_offers(slot, runs, cathedrals=True)
    assert packets_of(slot, offers) == [said, offer]
    assert packets_of(slot, traffic) == [other, other, said[:-1]]
    _, receiver, slot, runs = transfer(pair, packets)
    traffic, offers = receiver.split_offers(slot, runs, cathedrals=False)
    assert packets_of(slot, offers) == [offer]
    assert packets_of(slot, traffic) == [other, said, other, said[:-1]]


def test_release_0_9_has_shorter_datagrams_and_offers(pair: Pair) -> None:
    slot, receiver = new_slot(), UdpReceiver(pair[1].socket, LEGACY)
    offer = MAGIC + random.Random(1).randbytes(LEGACY.offer.offer_bytes - 8)
    heartbeat = bytes(LEGACY.traffic.overhead_bytes)
    for datagram in (offer, heartbeat, heartbeat[:-1]):
        pair[0].socket.sendto(datagram, address_of(pair[1]))
    runs: list[Run] = []
    empty = False
    while not empty:
        _, empty = receiver.drain(slot, runs, 0 if not runs else runs[-1].end, 0)
    assert receiver.drops == {Drop.TOO_SHORT: 1}
    current = UdpReceiver(pair[1].socket).split_offers(slot, runs, cathedrals=False)
    assert packets_of(slot, current[0]) == [offer, heartbeat]
    traffic, offers = receiver.split_offers(slot, runs, cathedrals=False)
    assert packets_of(slot, traffic) == [heartbeat]
    assert packets_of(slot, offers) == [offer]


def test_a_batch_leaves_room_for_being_parted(pair: Pair) -> None:
    slot, receiver = new_slot(), UdpReceiver(pair[1].socket)
    for i in range(MAX_RUNS):
        pair[0].socket.sendto(bytes(60 + i % 2 * 10 + i % 3), address_of(pair[1]))
    arrived, empty = 0, False
    while not empty:
        runs: list[Run] = []
        _, empty = receiver.drain(slot, runs, 0, 0)
        assert len(runs) <= MAX_RUNS // 2
        arrived += sum(run.packets for run in runs)
    assert arrived == MAX_RUNS
