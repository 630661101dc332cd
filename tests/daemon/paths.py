"""One way through two groups: what enters one end's device, and what comes out at the other end's.

The six duties of a way are real, each in a process of its own, joined by the wiring that the
guardian makes. The test is what stands at both ends of it (the kernel, behind two socket pairs) and
what hands out keys. With ``relayed`` it is the network, too.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from typing import Any, NamedTuple, NoReturn, Self

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from chancel.daemon import guardian, linux
from chancel.daemon.board import BoardReader
from chancel.daemon.config_types import Mode
from chancel.daemon.hot import twins
from chancel.daemon.hot.send import UDP_SEGMENT
from chancel.daemon.link import KeyLink, MessageLink
from chancel.daemon.offloads import ALL, OF_DEVICE, Offload, of_socket
from chancel.daemon.process import Process
from chancel.daemon.settings import TunnelSettings
from chancel.daemon.topology import Wiring, of
from chancel.daemon.udp import UdpSocket, open_udp
from chancel.protocol.messages import InstallMask, InstallReceiveKey, InstallSendKey
from chancel.wire.drop import Drop
from chancel.wire.traffic import HEADER_BYTES, NEXT_INNER, TAIL_BYTES, nonce
from chancel.wire.types import NO_FLOCKS, Address, Salt, SessionKey, Spi
from tests.daemon import wirings
from tests.daemon.frames import ETHERNET, GSO_ECN, TYPES, Frame, packets_of
from tests.daemon.naive import (
    GSO_NONE,
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP_L4,
    NO_VNET,
    UDP,
    Flow,
)

SENDING = ("bless", "purgatory-tx", "heaven-rx")
_KINDS = {
    GSO_NONE: Offload.CHECKSUM,
    GSO_TCPV4: Offload.TSO4,
    GSO_TCPV6: Offload.TSO6,
    GSO_UDP_L4: Offload.USO4 | Offload.USO6,
}

RECEIVING = ("heaven-tx", "confess", "purgatory-rx")
"""In the order in which a tunnel is added."""

LOOPBACK = Address("127.0.0.1", 0)
KEY = Spi(7), Salt(b"salt"), SessionKey(bytes(range(32)))
MASK = bytes(range(32, 64))
LIMIT_S = 60.0
"""Bounds a hang; a machine that runs tests may pause."""

WINDOW_PACKETS = 100
"""Packets that may be under way: a UDP socket has room for them all, however small they are."""

FRAME_BYTES = 70_000
SETTINGS = TunnelSettings(
    instance="t0",
    tunnel=IPv4Interface("10.77.0.1/30"),
    accepts=(IPv4Network("172.16.0.0/12"), IPv6Network("2001:db8::/32")),
    mtu=1422,
    mtu_discovery=False,
    peer=None,
    flocks=NO_FLOCKS,
    spi_prefix=0,
    secret="none",
    tunnel6=IPv6Interface("fd00::1/64"),
)


class Side(NamedTuple):
    """How one end works: with which of the kernel's offloads, and which compiled twins."""

    offloads: Offload = ALL
    twins: tuple[str, ...] = ()

    @property
    def vnet(self) -> bool:
        """Whether frames of the device have a virtio header."""
        return bool(self.offloads & OF_DEVICE)

    def udp(self) -> UdpSocket:
        """The socket of such an end."""
        gso, gro = Offload.GSO in self.offloads, Offload.GRO in self.offloads
        return open_udp(LOOPBACK, gso=gso, gro=gro)

    def given(self, frame: Frame, link_bytes: int) -> list[Frame]:
        """The frames in which the device gives the packets of one that has everything."""
        kind = _KINDS.get(frame.vnet[1] & ~GSO_ECN)
        wanted = Offload.CHECKSUM | (kind or Offload.CHECKSUM)
        if kind is not None and wanted & self.offloads == wanted:
            return [frame]
        return [Frame(NO_VNET, packet) for packet in packets_of(frame, link_bytes)]


class Kind(NamedTuple):
    """What the tunnel is like."""

    tap: bool = False
    shroud: bool = False
    tfc: bool = False
    mtu: int = 1422

    @property
    def link_bytes(self) -> int:
        """What stands before an IP packet on the device."""
        return len(ETHERNET) + 2 if self.tap else 0

    def link(self, version: int) -> bytes:
        """It."""
        return ETHERNET + TYPES[version] if self.tap else b""


class Datagram(NamedTuple):
    """What is sent to the network: whole, its packet number, and what is in it."""

    data: bytes
    number: int
    payload: bytes
    next_: int


class Duties:
    """Some duties of one group, each in its process."""

    def __init__(self, names: Sequence[str], settings: TunnelSettings, used: Sequence[str]) -> None:
        self._makers = guardian.load_duties(Mode.TUNNEL)
        self._pids: dict[str, int] = {}
        self.settings = settings
        with ExitStack() as cleaning:
            wiring = Wiring.make(of(Mode.TUNNEL))
            cleaning.callback(wirings.close, wiring)
            before = twins.used()
            twins.use(used)
            for name in names:
                self._start(name, wiring)
            twins.use(before)
            self._links = {
                name: MessageLink(_moved(wiring.guardian_links[name][0])) for name in names
            }
            self._keys = {name: KeyLink(_moved(ends[0])) for name, ends in wiring.key_links.items()}
            self._boards: dict[str, BoardReader[Any]] = {
                name: BoardReader(wiring.boards[name], spec.record)
                for name, spec in of(Mode.TUNNEL).boards.items()
                if name in names
            }
        for link in self._links.values():
            link.receive(blocking=True)

    def _start(self, name: str, wiring: Wiring) -> None:
        pid = os.fork()
        if pid == 0:
            self._serve(name, wiring)
        self._pids[name] = pid

    def _serve(self, name: str, wiring: Wiring) -> NoReturn:
        status = 1
        try:
            linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
            process = Process(name, wiring)
            process.serve(self._makers[name](process))
            status = 0
        except BaseException:  # noqa: BLE001 - told on the real standard error
            import traceback

            os.write(2, f"{name}: {traceback.format_exc()}".encode())
        finally:
            os._exit(status)

    def add(self, name: str, *fds: int) -> None:
        """Give a duty the tunnel; its descriptors are closed here."""
        order = {"do": "add", "tunnel": 0, "settings": self.settings.to_json()}
        self._links[name].send(order, fds)
        self._links[name].receive(blocking=True)
        for fd in fds:
            os.close(fd)

    def key(self, link: str, command: Any) -> None:
        """Be the keeper."""
        self._keys[link].send(0, command)

    def record(self, name: str) -> Any:
        """What a duty says of the tunnel on its board."""
        entry = self._boards[name].read(0)
        return entry and entry.record

    def drops(self) -> dict[Drop, int]:
        """What all of these duties have dropped, as their boards say now."""
        found: dict[Drop, int] = {}
        for board in self._boards.values():
            entry = board.read(0)
            for reason, count in (entry.drops if entry else {}).items():
                found[reason] = found.get(reason, 0) + count
        return found

    def dead(self) -> list[str]:
        """Those that have ended."""
        return [name for name, pid in self._pids.items() if os.waitpid(pid, os.WNOHANG) != (0, 0)]

    def close(self) -> None:
        """End them."""
        for pid in self._pids.values():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        for link in self._links.values():
            link.close()
        for key in self._keys.values():
            key._end.close()


def _moved(end: socket.socket) -> socket.socket:
    """The same end by another number: those of the wiring are few."""
    return socket.socket(fileno=os.dup(end.fileno()))


class Path:
    """From the device of the left end to that of the right end."""

    def __init__(self, left: Side, right: Side, kind: Kind, *, relayed: bool = False) -> None:
        self.left, self.right, self.kind = left, right, kind
        self._numbers = itertools.count(1)
        self._waiting: list[Frame] = []
        udp = left.udp(), right.udp()
        self.target = Address(*udp[1].socket.getsockname())
        self.network: socket.socket | None = None
        if relayed:
            self.network = open_udp(LOOPBACK, gro=False).socket
        peer = Address(*self.network.getsockname()) if self.network else self.target
        self._sending = Duties(SENDING, self._settings(left, udp[0], peer), left.twins)
        self._receiving = Duties(RECEIVING, self._settings(right, udp[1], peer), right.twins)
        self._in, device = _device()
        self._out, other = _device()
        os.set_blocking(other, True)  # the test reads when it likes, and nothing may be lost
        self._start(udp, device, other)

    def _settings(self, side: Side, udp: UdpSocket, peer: Address) -> TunnelSettings:
        kind = self.kind
        return dataclasses.replace(
            SETTINGS,
            mtu=kind.mtu,
            peer=peer,
            tun_vnet=side.vnet,
            offloads=side.offloads & OF_DEVICE | of_socket(gso=udp.gso, gro=udp.gro),
            tap=kind.tap,
            tunnel=None if kind.tap else SETTINGS.tunnel,
            tunnel6=None if kind.tap else SETTINGS.tunnel6,
            tfc=kind.tfc,
            shroud=kind.shroud,
        )

    def _start(self, udp: tuple[UdpSocket, UdpSocket], near: int, far: int) -> None:
        """From the far end backwards; a duty that has a key in time looks at it before a packet."""
        self._receiving.add("heaven-tx", far)
        self._receiving.add("confess")
        self._receiving.key("receive-keys", InstallReceiveKey(*KEY))
        self._receiving.add("purgatory-rx", udp[1].socket.detach())
        self._sending.add("purgatory-tx", udp[0].socket.detach())
        self._sending.add("bless")
        if self.kind.shroud:
            self._receiving.key("receive-mask", InstallMask(MASK))
            self._sending.key("send-mask", InstallMask(MASK))
        self._sending.key("send-keys", InstallSendKey(*KEY))
        self._sending.add("heaven-rx", near)
        deadline = time.monotonic() + LIMIT_S
        while self._sending.record("bless").spi != KEY[0]:
            assert time.monotonic() < deadline, "bless never had its key"
            time.sleep(0.001)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all processes."""
        self._sending.close()
        self._receiving.close()
        for end in (self._in, self._out, *([self.network] if self.network else [])):
            end.close()

    def carry(self, frames: Iterable[Frame], packets: int = 1) -> list[Frame]:
        """What comes out at the right of frames that enter at the left, each of ``packets``."""
        came: list[Frame] = []
        under_way = 0
        for frame in frames:
            self.write(frame, came)
            under_way += packets
            if under_way >= WINDOW_PACKETS:
                came += self.settle()
                under_way = 0
        return came + self.settle()

    def write(self, frame: Frame, came: list[Frame]) -> None:
        """Have the left device give a frame; ``came`` takes what the right one is given then."""
        data = frame.vnet + frame.data if self.left.vnet else frame.data
        while True:
            self._in.setblocking(False)
            try:
                self._in.send(data)
            except BlockingIOError:
                came += self._read()
            else:
                return

    def settle(self) -> list[Frame]:
        """All that comes until a packet has come that is sent now: order is kept."""
        came: list[Frame] = []
        mark = self.mark()
        self.write(Frame(NO_VNET, mark), came)
        return came + self.until(mark)

    def mark(self) -> bytes:
        """A packet like no other, which is joined to none."""
        number = next(self._numbers).to_bytes(8, "big")
        flow = Flow(protocol=UDP, source_port=9, destination_port=9)
        return self.kind.link(4) + flow.packet(number + bytes(24))

    def until(self, mark: bytes) -> list[Frame]:
        """What the right device is given before this packet."""
        came: list[Frame] = []
        while not (came and came[-1].data == mark):
            came += self._read()
        return came[:-1]

    def overhear(self, frames: Iterable[Frame]) -> list[Datagram]:
        """What the left end sends to the network, in its order, when the device gives these frames;
        graces are left out. For a way that is ``relayed``: nothing goes on by itself."""
        assert self.network is not None
        mark = self.mark()
        for frame in (*frames, Frame(NO_VNET, mark)):
            self.write(frame, [])
        heard: list[Datagram] = []
        while not (heard and heard[-1].payload == mark):
            assert select.select([self.network], [], [], LIMIT_S)[0], "nothing is sent any more"
            datagram = read_datagram(self.network.recv(FRAME_BYTES))
            if datagram.next_ == NEXT_INNER:
                heard.append(datagram)
        return heard[:-1]

    def relay(self, data: bytes, size: int) -> None:
        """Send the right end a train of datagrams of ``size`` bytes, the last perhaps shorter."""
        assert self.network is not None
        control = [(socket.SOL_UDP, UDP_SEGMENT, struct.pack("=H", size))]
        self.network.sendmsg([data], control if len(data) > size else [], 0, self.target)

    def _read(self) -> list[Frame]:
        """What the right device was given."""
        ready = select.select([self._out], [], [], LIMIT_S)[0]
        dead = self._sending.dead() + self._receiving.dead()
        assert ready, f"nothing comes any more (dead: {dead or 'nobody'}; {self.drops()})"
        frame = self._out.recv(FRAME_BYTES)
        assert frame, f"the device was closed (dead: {dead or 'nobody'})"
        if not self.right.vnet:
            return [Frame(NO_VNET, frame)]
        return [Frame(frame[: len(NO_VNET)], frame[len(NO_VNET) :])]

    def drops(self) -> dict[Drop, int]:
        """What was dropped on the way, as the boards say now."""
        found = self._sending.drops()
        for reason, count in self._receiving.drops().items():
            found[reason] = found.get(reason, 0) + count
        return found

    def accounted(self) -> bool:
        """Whether, by what the boards say now, each packet that heaven-rx made of its reads was
        written or dropped by a reason."""
        read = self._sending.record("heaven-rx").packets
        written = self._receiving.record("heaven-tx").packets
        drops = self._receiving.drops()
        return bool(read == written + sum(drops.values()))


def read_datagram(data: bytes) -> Datagram:
    """Take a datagram of the left end apart."""
    number = int.from_bytes(data[8:16], "big")
    salt, key = KEY[1:]
    text = AESGCM(key).decrypt(nonce(salt, number), data[HEADER_BYTES:], data[:HEADER_BYTES])
    return Datagram(data, number, text[:-TAIL_BYTES], text[-1])


def _device() -> tuple[socket.socket, int]:
    """A device: the kernel's side, and the descriptor of the duty's side."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    theirs.setblocking(False)
    return ours, theirs.detach()
