"""What the benchmark of cathedrals does inside the hosts of the lab: many devices, their traffic.

Each function is a process of its own in a host
(``host.call("benchmarks.congregation:FUNCTION")``).
All devices have one identity; a device is one socket at an address of its own, with a tunnel to
each of the others. Offers are sealed before anything is measured, so that sending them costs little
of the machine on which the cathedral is measured.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from chancel.crypto.kdf_cathedral import client_offer_base
from chancel.crypto.system import SystemSuite
from chancel.protocol.cathedral_offers import seal_request
from chancel.wire.cathedral import CATHEDRAL, NAT
from chancel.wire.cathedral_fields import CathedralId, TunnelId
from chancel.wire.info import InfoBody
from chancel.wire.types import FlockId, Flocks, InstanceId, Spi

FLOCK = FlockId(0xCAFEBA00)
IDENTITY = CathedralId(0x0BADF00D)
FLOCKS = Flocks(FLOCK, FLOCK)
PORT, NAT_PORT = 2333, 2334
INTERVAL_S = 5.0
DEVICES_NETWORK = "10.80.{}.{}"

TRAIN = 40
PACKET_BYTES = 1400
_BURST = 32
_UDP_SEGMENT, _UDP_GRO = 103, 104
_HEAD = struct.Struct("!IIQQQ")
_SEALED_TRIAL = 200
_SLACK = 1.4
"""How much longer sealing may take than a trial says."""


class _Sender(NamedTuple):
    base: bytes
    cosk: bytes
    suite: SystemSuite

    @classmethod
    def load(cls, folder: str) -> _Sender:
        suite = SystemSuite()
        secret = Path(folder, "secretdir", f"flock-{FLOCK:x}", f"{IDENTITY:08x}.key").read_bytes()
        cosk = Path(folder, "cosk").read_bytes()
        return cls(client_offer_base(suite, secret, FLOCK), cosk, suite)

    def info(self, tunnel: TunnelId, timestamp: int, *, nat: bool = False) -> bytes:
        """One info, or the request of NAT detection that follows it."""
        receiving = Spi(tunnel << 16 | 0xBEEF)
        body = InfoBody(tunnel, InstanceId(tunnel + 1), 0, receiving, skips_ambry=True)
        layout = NAT if nat else CATHEDRAL
        return seal_request(
            self.suite, self.base, FLOCKS, IDENTITY, timestamp, body, self.cosk, layout
        )


def address_of(device: int) -> str:
    """Where a device is."""
    return DEVICES_NETWORK.format(device // 250, device % 250 + 1)


def register(
    folder: str, cathedral: str, devices: int, rounds: int, nat: bool
) -> Iterator[dict[str, float]]:
    """Register all tunnels between the devices, again and again at the reference's interval.

    Yields once all is sealed, then after each round how many offers were sent, how many answers
    came since the last time, and by how much the round was late, in seconds.
    """
    sender = _Sender.load(folder)
    tunnels = [
        TunnelId(own << 8 | peer) for own, peer in itertools.permutations(range(1, devices + 1), 2)
    ]
    started = time.monotonic()
    for tunnel in tunnels[:_SEALED_TRIAL]:
        sender.info(tunnel, 0, nat=nat)
    each_s = (time.monotonic() - started) / len(tunnels[:_SEALED_TRIAL])
    begin = time.time() + each_s * len(tunnels) * rounds * (1 + nat) * _SLACK + 1.0
    sealed: list[list[tuple[int, bytes, bytes | None]]] = []
    for number in range(rounds):
        of_round: list[tuple[int, bytes, bytes | None]] = []
        for index, tunnel in enumerate(tunnels):
            timestamp = int(begin + INTERVAL_S * (number + index / len(tunnels)))
            offer = sender.info(tunnel, timestamp)
            probe = sender.info(tunnel, timestamp, nat=True) if nat else None
            of_round.append((tunnel >> 8, offer, probe))
        sealed.append(of_round)
    with contextlib.ExitStack() as stack:
        sockets = {own: stack.enter_context(_device(own)) for own in range(1, devices + 1)}
        yield {"sealed_s": begin - time.time()}
        time.sleep(max(0.0, begin - time.time()))
        for number, of_round in enumerate(sealed):
            late, answers = _send_round(
                of_round, sockets, cathedral, begin + number * INTERVAL_S, len(tunnels)
            )
            yield {"sent": len(of_round) * (1 + nat), "answers": answers, "late_s": late}


def _device(number: int) -> socket.socket:
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.bind((address_of(number), PORT))
    end.setblocking(False)
    return end


def _send_round(
    offers: Sequence[tuple[int, bytes, bytes | None]],
    sockets: dict[int, socket.socket],
    cathedral: str,
    begin: float,
    count: int,
) -> tuple[float, int]:
    answers = 0
    for index, (own, offer, probe) in enumerate(offers):
        if index % _BURST == 0:
            time.sleep(max(0.0, begin + INTERVAL_S * index / count - time.time()))
        end = sockets[own]
        end.sendto(offer, (cathedral, PORT))
        if probe is not None:
            end.sendto(probe, (cathedral, NAT_PORT))
        answers += _drain(end)
    late = time.time() - (begin + INTERVAL_S)
    time.sleep(max(0.0, -late))
    return late, answers + sum(map(_drain, sockets.values()))


def _drain(end: socket.socket) -> int:
    """Take what waits; returns how many of it are the cathedral's own words, nothing relayed."""
    came = 0
    with contextlib.suppress(BlockingIOError):
        while data := end.recv(2048):
            came += data.startswith(CATHEDRAL.magic)
    return came


def stay(
    folder: str, cathedral: str, own: int, peer: int, seconds: float
) -> Generator[int, None, int]:
    """Keep one tunnel registered, and count the bytes that are relayed to it.

    Yields 0 once it is registered; the result is the count.
    """
    sender = _Sender.load(folder)
    tunnel = TunnelId(own << 8 | peer)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.bind((address_of(own), PORT))
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        end.setsockopt(socket.SOL_UDP, _UDP_GRO, 1)
        end.settimeout(0.1)
        until, next_at, told = time.monotonic() + seconds, 0.0, False
        buffer = bytearray(65_536)
        octets = 0
        while (now := time.monotonic()) < until:
            if now >= next_at:
                end.sendto(sender.info(tunnel, int(time.time())), (cathedral, PORT))
                next_at = now + INTERVAL_S
            if not told:
                told = True
                yield 0
            with contextlib.suppress(TimeoutError):
                octets += end.recv_into(buffer)
        return octets


def blast(cathedral: str, own: int, peer: int, rate: float, seconds: float) -> int:
    """Send traffic of the tunnel for its other end, in trains, at ``rate`` bytes a second."""
    receiver = (peer << 8 | own) << 16 | 0xBEEF
    head = _HEAD.pack(receiver, 0, 0, FLOCK, FLOCK)
    packet = head.ljust(PACKET_BYTES, b"\x5a")
    train = packet * TRAIN
    sent = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.bind((address_of(own), PORT + 1))
        end.setsockopt(socket.SOL_UDP, _UDP_SEGMENT, PACKET_BYTES)
        end.connect((cathedral, PORT))
        started = time.monotonic()
        while (now := time.monotonic()) < started + seconds:
            ahead = sent / rate - (now - started)
            if ahead > 0:
                time.sleep(ahead)
            sent += end.send(train)
    return sent
