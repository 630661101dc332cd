"""A relay between sockets of this machine: senders, receivers, and a brain that knows some ways."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
from collections import Counter

from chancel.cathedrald.relay import Relay
from chancel.daemon.udp import open_udp
from chancel.protocol.cathedral.route import Relayed
from chancel.wire.types import Address, Buffer

SIZE = 1400
ANY_PORT = Address("127.0.0.1", 0)
_UDP_SEGMENT, _UDP_GRO = 103, 104


class Way:
    """A route that lets ``room`` packets pass."""

    def __init__(self, destination: Address, room: int = 1_000_000) -> None:
        self.destination = destination
        self.room = room
        self.is_limited = room < 1_000_000
        self.federated = False

    def admit_train(self, octets: int, packets: int, last: int, now: float) -> int:
        assert 0 < last <= octets
        passing = min(packets, self.room)
        self.room -= passing
        return passing

    def pass_train(self, octets: int, packets: int) -> None:
        assert not self.is_limited
        assert 0 < packets < octets


class Brain:
    """Knows ways by SPI, and remembers what it was given."""

    def __init__(self) -> None:
        self.relayed = Relayed(Counter())
        self.ways: dict[int, Way] = {}
        self.asked = 0
        self.learns: dict[int, Way] = {}
        """Ways that it has from the first packet on that it was given."""
        self.given: list[tuple[bytes, Address]] = []
        self.answers: list[tuple[bytes, Address]] = []

    def route(self, head: bytes, source: Address) -> Way | None:
        assert len(head) == 32
        assert isinstance(head, bytes)
        self.asked += 1
        return self.ways.get(struct.unpack_from("!I", head)[0])

    def receive(self, datagram: Buffer, source: Address, now: float, wall: float) -> None:
        self.given.append((bytes(datagram), source))
        spi = int.from_bytes(datagram[:4], "big")
        if spi in self.learns:
            self.ways[spi] = self.learns[spi]
            self.answers.append((bytes(datagram), self.ways[spi].destination))

    def datagrams(self) -> list[tuple[bytes, Address]]:
        answers, self.answers = self.answers, []
        return answers


class Sender:
    """Somebody who sends to the cathedral."""

    def __init__(self, to: Address) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(ANY_PORT)
        self.socket.connect(to)

    @property
    def address(self) -> Address:
        return Address(*self.socket.getsockname())

    def train(self, *packets: bytes) -> None:
        """Send packets of one size, the last maybe shorter, with one call."""
        self.socket.setsockopt(socket.SOL_UDP, _UDP_SEGMENT, len(packets[0]))
        self.socket.send(b"".join(packets))
        self.socket.setsockopt(socket.SOL_UDP, _UDP_SEGMENT, 0)

    def singly(self, *packets: bytes) -> None:
        for packet in packets:
            self.socket.send(packet)


class Receiver:
    """Somebody who is relayed to."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.socket.bind(ANY_PORT)
        self.socket.setblocking(False)

    @property
    def address(self) -> Address:
        return Address(*self.socket.getsockname())

    def packets(self) -> list[bytes]:
        found = []
        with contextlib.suppress(BlockingIOError):
            while packet := self.socket.recv(2048):
                found.append(packet)
        return found


class Scene:
    is_alone = False

    def __init__(self, *, gso: bool = True, shroud: bool = False) -> None:
        self.brain = Brain()
        self.main = open_udp(ANY_PORT)
        assert self.main.gso, "every kernel that is tested on has it"
        assert self.main.gro, "likewise"
        main = self.main.socket
        self.relay = Relay(self.brain, main, gso=gso, shroud=shroud)  # type: ignore[arg-type]
        self.sender = Sender(Address(*main.getsockname()))
        self.one, self.other = Receiver(), Receiver()
        self.brain.ways = {1: Way(self.one.address), 2: Way(self.other.address)}

    def work(self) -> None:
        """Relay all that waits: a round may leave some for the next."""
        while select.select([self.main.socket], [], [], 0)[0]:
            self.relay.receive(self.main.socket)

    def close(self) -> None:
        for each in (self.main.socket, self.sender.socket, self.one.socket, self.other.socket):
            each.close()


def packet(spi: int = 1, number: int = 0, size: int = SIZE, flock: int = 0xCAFEBA00) -> bytes:
    head = struct.pack("!IIQQQ", spi, number, number, flock, flock)
    return head + bytes(number + at & 0xFF for at in range(size - len(head)))


def packets(count: int, spi: int = 1, size: int = SIZE) -> list[bytes]:
    return [packet(spi, number, size) for number in range(count)]
