"""What the campaign does inside the hosts of the lab: throws things at a running group.

Each function is a process of its own in a host (``host.call("fuzz.thrower:FUNCTION", ...)``);
arguments and results are what JSON can carry, bytes as hexadecimal digits.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import struct
import time
from collections.abc import Callable, Iterator

from fuzz.mutate import mutate
from tests.daemon.naive import Flow

_BURST = 64
_SOL_PACKET, _PACKET_VNET_HDR = 263, 15
_ETHERNET = 1
_ETH_P_IP = 0x0800
_UDP_SEGMENT = 103
_IP = struct.Struct("!BBHHHBBH4s4s")
_UDP = struct.Struct("!HHHH")
_MOST_BYTES = 1472
_ANSWER_LIMIT_S = 0.05


def _paced(count: int, rate: float) -> Iterator[int]:
    """Numbers up to ``count``, in bursts, never faster than ``rate`` a second."""
    started = time.monotonic()
    for number in range(count):
        if number % _BURST == 0:
            time.sleep(max(0.0, started + number / rate - time.monotonic()))
        yield number


def datagrams(
    recorded: list[str], target: tuple[str, int], spoofed: tuple[str, int], rate: float, *plan: int
) -> dict[str, int]:
    """Throw datagrams (``plan``: how many, seed) made of real ones at a port, from any source.

    Half of them come from the true peer's address, as an attacker on the path sends them; a few are
    the very same as were heard, some of them with another number, the rest is changed anyhow.
    """
    count, seed = plan
    rng = random.Random(seed)
    known = [bytes.fromhex(each) for each in recorded]
    kinds = {"replayed": 0, "mutated": 0, "spoofed": 0}
    prefix = spoofed[0].rpartition(".")[0]
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for _ in _paced(count, rate):
            data = rng.choice(known)
            if rng.random() < 0.05:
                kinds["replayed"] += 1
            else:
                data = mutate(rng, data, known, _MOST_BYTES)
                kinds["mutated"] += 1
            host, port = spoofed
            if rng.random() < 0.5:
                host, port = f"{prefix}.{rng.randrange(3, 255)}", rng.randrange(65536)
            else:
                kinds["spoofed"] += 1
            with contextlib.suppress(OSError):
                raw.sendto(_datagram(data, (host, port), target), (target[0], 0))
    return kinds


def _datagram(data: bytes, source: tuple[str, int], target: tuple[str, int]) -> bytes:
    udp = _UDP.pack(source[1], target[1], 8 + len(data), 0) + data
    ends = socket.inet_aton(source[0]), socket.inet_aton(target[0])
    return _IP.pack(0x45, 0, 0, 0, 0, 64, socket.IPPROTO_UDP, 0, *ends) + udp


def lost_datagrams(port: int) -> int:
    """How many datagrams the kernel threw away before the owner of this port read them."""
    with open("/proc/net/udp") as lines:
        next(lines)
        fields = [line.split() for line in lines]
    return sum(int(each[-1]) for each in fields if int(each[1].rpartition(":")[2], 16) == port)


_REQUESTS = (
    {"do": "status"},
    {"do": "watch", "interval_s": 1},
    {"do": "watch", "interval_s": 1e999},
    {"do": "add", "name": "a.conf"},
    {"do": "add", "name": "\ud800" * 9000},
    {"do": "remove", "instance": "nobody" * 9000},
    {"do": "remove", "instance": "t0"},
    {"do": "trace"},
    {"do": ["status"], "x": {"y": [1, None, 10**400]}},
)
_LINES = (
    *(json.dumps(each).encode() + b"\n" for each in _REQUESTS),
    b"[" * 60_000 + b"\n",
    b'{"do":' * 9000 + b"\n",
    b"9" * 60_000 + b"\n",
    b"\xff\xfe\n\n\n",
    b"x" * 70_000,
    b"GET /metrics HTTP/1.1\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 3000,
)


def messages(streams: list[str], datagram: str, count: int, seed: int) -> dict[str, int]:
    """Say ``count`` hostile things to the control sockets (three of four to a stream socket)."""
    rng = random.Random(seed)
    said = {"streams": 0, "datagrams": 0, "answers": 0, "refused": 0}
    with contextlib.ExitStack() as files:
        held: list[socket.socket] = []
        passed = _hostile_files(rng)
        for fd in passed:
            files.callback(os.close, fd)
        for number in range(count):
            if number % 4 == 3:
                said["datagrams"] += 1
                _say_datagram(rng, datagram, said)
            else:
                said["streams"] += 1
                held.append(_say_line(rng, rng.choice(streams), passed, said))
                while len(held) > rng.randrange(20):
                    held.pop(0).close()
        for each in held:
            each.close()
    return said


def _hostile_files(rng: random.Random) -> list[int]:
    """Descriptors to pass: what is no configuration, and things that are no files."""
    file = os.memfd_create("configuration")
    os.write(file, b"instance " + rng.randbytes(5000) + b"\n")
    large = os.memfd_create("large")
    os.ftruncate(large, 1 << 30)
    return [file, large, os.open("/dev/zero", os.O_RDONLY), os.eventfd(0), *os.pipe()]


def _say_line(
    rng: random.Random, path: str, passed: list[int], said: dict[str, int]
) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(_ANSWER_LIMIT_S)
    words = rng.choice(_LINES)
    if rng.random() < 0.5:
        words = mutate(rng, words, _LINES, 1 << 17)
    fds = rng.sample(passed, rng.randrange(3)) if rng.random() < 0.3 else []
    try:
        client.connect(path)
        if words:
            socket.send_fds(client, [words], fds)
        if rng.random() < 0.1 and client.recv(1 << 16):
            said["answers"] += 1
    except TimeoutError:
        pass
    except OSError:
        said["refused"] += 1
    return client


def _say_datagram(rng: random.Random, path: str, said: dict[str, int]) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.settimeout(1.0)
        if rng.random() < 0.7:
            client.bind("")  # the kernel finds a name; without one there is no answer
        with contextlib.suppress(OSError):
            client.sendto(rng.choice((b"", b"\1", b"\1", rng.randbytes(rng.randrange(300)))), path)
            if rng.random() < 0.05:
                client.settimeout(_ANSWER_LIMIT_S)
                said["answers"] += bool(client.recv(100))


def frames(interface: str, ends: tuple[str, str], rate: float, *plan: int) -> dict[str, int]:
    """Write hostile packets (``plan``: how many, seed) to a device, as its users could.

    From local sockets with the kernel's own trains, and raw: any bytes after any virtio header.
    ``ends`` are the tunnel's addresses.
    """
    count, seed = plan
    rng = random.Random(seed)
    flows = [Flow(source=ends[0], destination=ends[1], protocol=protocol) for protocol in (6, 17)]
    flows += [Flow(version=6, source="fd00::1", destination="fd00::2")]
    known = [flow.packet(rng.randbytes(size)) for flow in flows for size in (0, 30, 900, 1380)]
    known += [flow.packet(rng.randbytes(20_000), partial=True) for flow in flows]
    sent = {"raw": 0, "trains": 0, "sockets": 0, "refused": 0}
    with contextlib.ExitStack() as sockets:
        raw, link = _raw(sockets, interface, vnet=False)
        vnet, _ = _raw(sockets, interface, vnet=True)
        udp = sockets.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        for end in (raw, vnet, udp):
            end.setblocking(False)
        ways: tuple[tuple[str, Callable[[], object]], ...] = (
            ("raw", lambda: raw.send(link + mutate(rng, rng.choice(known), known, 1500))),
            ("trains", lambda: vnet.send(_train(rng, flows, link))),
            ("sockets", lambda: _socket_train(rng, udp, ends[1])),
        )
        for _ in _paced(count, rate):
            name, way = rng.choice(ways)
            try:
                way()
                sent[name] += 1
            except OSError:
                sent["refused"] += 1
    return sent


def _raw(
    sockets: contextlib.ExitStack, interface: str, *, vnet: bool
) -> tuple[socket.socket, bytes]:
    """A packet socket on the device, and what it wants before each packet."""
    end = sockets.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
    if vnet:
        end.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
    end.bind((interface, _ETH_P_IP))
    _, _, _, kind, mac = end.getsockname()
    return end, mac + mac + b"\x08\x00" if kind == _ETHERNET else b""


def _train(rng: random.Random, flows: list[Flow], link: bytes) -> bytes:
    """A big packet behind a virtio header of which half is not as it should be."""
    flow = rng.choice(flows)
    segment = rng.choice((1, 2, 13, 100, 1300, 1400, 1460, 9000))
    packet = flow.packet(rng.randbytes(rng.randrange(12_000)), partial=True)
    vnet = bytearray(flow.vnet(segment, shift=len(link)))
    if rng.random() < 0.5:
        vnet[rng.randrange(len(vnet))] = rng.randrange(256)
    if rng.random() < 0.3:
        packet = mutate(rng, packet, [packet], 60_000)
    return bytes(vnet) + link + packet


def _socket_train(rng: random.Random, udp: socket.socket, host: str) -> None:
    """What any local program can do: a train of datagrams of any size, or a fragmented one."""
    udp.setsockopt(socket.SOL_UDP, _UDP_SEGMENT, rng.choice((0, 1, 8, 500, 1300, 1400)))
    udp.sendto(
        rng.randbytes(rng.choice((0, 1, 400, 5000, 60_000))), (host, rng.randrange(1, 65536))
    )
