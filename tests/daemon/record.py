"""Records what a real kernel gives a device: ``python -m tests.daemon.record`` (root).

Two networks joined by two TUN devices with all offloads; what one gives is written to the other, as
it is. Programs in both talk to each other in every way that the tests want to have recorded. Each
kind becomes a file in ``recorded``: frames behind their lengths (be32), compressed.
"""

from __future__ import annotations

import fcntl
import itertools
import lzma
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from typing import NamedTuple

from chancel.daemon import linux, netconf
from tests.daemon.frames import Frame
from tests.daemon.naive import VNET, checksum

FOLDER = Path(__file__).parent / "recorded"
SUFFIX = ".xz"
MOST_FRAMES = 120
"""Of one kind: its first ones, and some of its last."""

LAST_FRAMES = 20
PORT = 5001
SETTLE_S = 0.3
LIMIT_S = 20.0

_TUNSETIFF, _TUNSETOFFLOAD, _TUNSETVNETHDRSZ = 0x4004_54CA, 0x4004_54D0, 0x4004_54D8
_FLAGS = 0x0001 | 0x1000 | 0x4000
_ALL_OFFLOADS = 0x01 | 0x02 | 0x04 | 0x08 | 0x20 | 0x40
_UDP_SEGMENT = 103
_IP_OPTIONS, _IPV6_HOPOPTS, _IPV6_DSTOPTS = 4, 54, 59
_CE = 0x03
_MARKED_EVERY = 7
_LENGTH = struct.Struct("!I")


def load(name: str) -> list[Frame]:
    """The frames of a recording."""
    data = lzma.decompress((FOLDER / f"{name}{SUFFIX}").read_bytes())
    frames, at = [], 0
    while at < len(data):
        (size,) = _LENGTH.unpack_from(data, at)
        frame = data[at + _LENGTH.size : at + _LENGTH.size + size]
        frames.append(Frame(frame[: VNET.size], frame[VNET.size :]))
        at += _LENGTH.size + size
    return frames


def names() -> list[str]:
    """All recordings."""
    return sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}"))


class End(NamedTuple):
    """A network with a device in it."""

    net: int
    device: int


class Recorder:
    """Both ends, the traffic between them, and what was read of it."""

    def __init__(self, mtu: int) -> None:
        self.ends = (self._end("left", 1, mtu), self._end("right", 2, mtu))
        self.frames: list[bytes] = []
        self.marks_congestion = False
        self._count = itertools.count()

    def _end(self, name: str, number: int, mtu: int) -> End:
        with linux.empty_network():
            device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _FLAGS))
            fcntl.ioctl(device, _TUNSETVNETHDRSZ, struct.pack("i", VNET.size))
            fcntl.ioctl(device, _TUNSETOFFLOAD, _ALL_OFFLOADS)
            own6 = IPv6Interface(f"fd00::{number}/64") if mtu >= 1280 else None
            netconf.configure(name, IPv4Interface(f"10.77.0.{number}/30"), mtu, [], tunnel6=own6)
            Path("/proc/sys/net/ipv4/tcp_ecn").write_text("1")
            net = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        return End(net, device)

    @contextmanager
    def inside(self, end: int) -> Iterator[None]:
        """Be at one of the ends."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        linux.setns(self.ends[end].net, linux.CLONE_NEWNET)
        try:
            yield
        finally:
            linux.setns(home, linux.CLONE_NEWNET)
            os.close(home)

    def during(self, talk: Callable[[], None]) -> list[bytes]:
        """What was read while something was said."""
        self.frames = []
        talking = threading.Thread(target=talk, daemon=True)
        talking.start()
        deadline = time.monotonic() + LIMIT_S
        quiet_at = time.monotonic() + SETTLE_S
        while talking.is_alive() or time.monotonic() < quiet_at:
            assert time.monotonic() < deadline, "nobody stops talking"
            if self._pass_on():
                quiet_at = time.monotonic() + SETTLE_S
        return self.frames

    def _pass_on(self) -> bool:
        devices = [end.device for end in self.ends]
        ready = select.select(devices, [], [], 0.02)[0]
        for device in ready:
            frame = bytearray(os.read(device, 70_000))
            if self.marks_congestion and next(self._count) % _MARKED_EVERY == 0:
                _mark_congestion(frame)
            self.frames.append(bytes(frame))
            os.write(devices[1 - devices.index(device)], frame)
        return bool(ready)


def _mark_congestion(frame: bytearray) -> None:
    """As a router does that has a queue: of a packet that may be marked."""
    at = VNET.size
    if frame[at] >> 4 == 6 and frame[at + 1] & 0x30:
        frame[at + 1] |= _CE << 4
    elif frame[at] == 0x45 and frame[at + 1] & _CE:
        frame[at + 1] |= _CE
        frame[at + 10 : at + 12] = bytes(2)
        struct.pack_into("!H", frame, at + 10, checksum(bytes(frame[at : at + 20])))


def text(size: int) -> bytes:
    """What compresses well, and yet is nowhere twice the same."""
    return b"".join(b"%07d\n" % i for i in range(size // 8 + 1))[:size]


class Talk:
    """The conversations. ``six``: over IPv6."""

    def __init__(self, recorder: Recorder, six: bool = False) -> None:
        self.recorder = recorder
        self.family = socket.AF_INET6 if six else socket.AF_INET
        self.hosts = ("fd00::1", "fd00::2") if six else ("10.77.0.1", "10.77.0.2")

    def tcp(self, size: int, *, urgent: bool = False, reset: bool = False) -> None:
        with self.recorder.inside(1):
            server = socket.create_server((self.hosts[1], PORT), family=self.family)
        with self.recorder.inside(0):
            client = socket.socket(self.family)
        reading = threading.Thread(target=self._read_all, args=(server,))
        reading.start()
        client.connect((self.hosts[1], PORT))
        client.sendall(text(size))
        if urgent:
            client.send(b"!", socket.MSG_OOB)
            client.sendall(text(3000))
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        reading.join()
        server.close()

    def _read_all(self, server: socket.socket) -> None:
        stream, _ = server.accept()
        with stream:
            try:
                while stream.recv(1 << 20):
                    pass
            except ConnectionResetError:
                return

    def udp(
        self, sizes: list[int], segment: int = 0, options: tuple[int, int, bytes] | None = None
    ) -> None:
        with self.recorder.inside(1):
            receiver = socket.socket(self.family, socket.SOCK_DGRAM)
            receiver.bind((self.hosts[1], PORT))
        with self.recorder.inside(0):
            sender = socket.socket(self.family, socket.SOCK_DGRAM)
        if options:
            sender.setsockopt(*options)
        if segment:
            sender.setsockopt(socket.SOL_UDP, _UDP_SEGMENT, segment)
        for size in sizes:
            sender.sendto(text(size), (self.hosts[1], PORT))
        sender.close()
        receiver.close()


def conversations() -> Iterator[tuple[str, list[bytes]]]:
    """Each kind's name and what was read of it."""
    whole, small = Recorder(1422), Recorder(700)
    four, six, narrow = Talk(whole), Talk(whole, six=True), Talk(small)
    alert = (socket.IPPROTO_IP, _IP_OPTIONS, b"\x94\x04\0\0")
    hops = (socket.IPPROTO_IPV6, _IPV6_HOPOPTS, b"\0\0\x05\x02\0\0\1\0")
    target = (socket.IPPROTO_IPV6, _IPV6_DSTOPTS, b"\0\0\1\4\0\0\0\0")
    yield "tcp4", whole.during(lambda: four.tcp(500_000))
    yield "tcp6", whole.during(lambda: six.tcp(500_000))
    yield "tcp4-small-mtu", small.during(lambda: narrow.tcp(500_000))
    yield "urgent", whole.during(lambda: four.tcp(20_000, urgent=True))
    yield "reset", whole.during(lambda: six.tcp(20_000, reset=True))
    whole.marks_congestion = True
    yield "ecn4", whole.during(lambda: four.tcp(500_000))
    yield "ecn6", whole.during(lambda: six.tcp(500_000))
    whole.marks_congestion = False
    sizes = [0, 1, 2, 17, 17, 17, 500, 500, 1394, 1394, 1394, 3]
    yield "udp4", whole.during(lambda: four.udp(sizes * 3))
    yield "udp6", whole.during(lambda: six.udp([each for each in sizes * 3 if each < 1394]))
    yield "uso4", whole.during(lambda: four.udp([50_000, 1200, 1201, 36_000], 1200))
    yield "uso6", whole.during(lambda: six.udp([50_000, 1200, 1201, 36_000], 1200))
    yield "fragments4", whole.during(lambda: four.udp([1395, 4000, 9000, 3000]))
    yield "fragments6", whole.during(lambda: six.udp([1395, 4000, 9000, 3000]))
    yield "ip-options", whole.during(lambda: four.udp([0, 100, 1300, 1300], 0, alert))
    yield "hop-by-hop", whole.during(lambda: six.udp([0, 100, 1300], 0, hops))
    yield "destination-options", whole.during(lambda: six.udp([0, 100, 1300], 0, target))


def main() -> None:
    """Record everything anew."""
    for name, read in conversations():
        frames = read
        if len(read) > MOST_FRAMES:
            frames = read[: MOST_FRAMES - LAST_FRAMES] + read[-LAST_FRAMES:]
        data = b"".join(_LENGTH.pack(len(each)) + each for each in frames)
        path = FOLDER / f"{name}{SUFFIX}"
        path.write_bytes(lzma.compress(data, preset=9))
        print(f"{name}: {len(frames)} frames, {len(data)} bytes, {path.stat().st_size} compressed")


if __name__ == "__main__":
    main()
