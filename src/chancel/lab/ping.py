"""A pinger of our own (ICMP echo, IPv4 and IPv6), since not every machine has one.

Needs CAP_NET_RAW: any host of the lab has it, and root.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections.abc import Generator, Iterator
from typing import NamedTuple, TypedDict

from chancel.wire.types import Buffer

_ICMP_HEADER = struct.Struct(">BBHHH")  # type, code, checksum, identifier, sequence
_PMTUDISC_PROBE = 3  # set "don't fragment", and trust no remembered path MTU


class _Family(NamedTuple):
    """What differs between the versions of IP. ``header``: the kernel hands over IP headers."""

    family: socket.AddressFamily
    protocol: int
    request: int
    reply: int
    header: bool
    level: int
    mtu_discover: int


_IP4 = _Family(socket.AF_INET, socket.IPPROTO_ICMP, 8, 0, True, socket.IPPROTO_IP, 10)
_IP6 = _Family(socket.AF_INET6, socket.IPPROTO_ICMPV6, 128, 129, False, socket.IPPROTO_IPV6, 23)


class Echo(TypedDict):
    """What became of one request."""

    sequence: int
    sent_at: float
    """On the machine's monotonic clock, which all its processes share."""
    rtt_s: float | None
    """None when no reply came in time."""


class PingResult(TypedDict):
    """What became of all of them; ``rtts_s`` by sequence."""

    sent: int
    received: int
    duplicates: int
    rtts_s: list[float | None]


def ping(
    destination: str,
    count: int = 5,
    interval_s: float = 0.2,
    size: int = 56,
    dont_fragment: bool = True,
    timeout_s: float = 1.0,
) -> Generator[Echo, None, PingResult]:
    """Send ``count`` echo requests with ``size`` bytes of payload.

    The IP packet has 28 bytes more, or 48 with IPv6.

    A request goes out each ``interval_s`` whether or not the last one was answered. Each is
    yielded, in order, once its reply is there or ``timeout_s`` is over. A request that the kernel
    refuses (no route, too big for the interface) counts as unanswered. Raises PermissionError
    without the right to raw sockets.
    """
    kind = _IP6 if ":" in destination else _IP4
    with socket.socket(kind.family, socket.SOCK_RAW, kind.protocol) as sock:
        if dont_fragment:
            sock.setsockopt(kind.level, kind.mtu_discover, _PMTUDISC_PROBE)
        echoes = _Echoes(count, interval_s, timeout_s, time.monotonic())
        payload = bytes(index & 0xFF for index in range(size))
        while not echoes.done:
            while echoes.due(time.monotonic()):
                _send(sock, destination, _request(kind, echoes.sent(time.monotonic()), payload))
            yield from echoes.settled(time.monotonic())
            if select.select([sock], [], [], echoes.patience_s(time.monotonic()))[0]:
                sequence = _reply_untrusted(kind, sock.recv(65535))
                if sequence is not None:
                    echoes.answered(sequence, time.monotonic())
    return echoes.result()


class _Echoes:
    """Which requests were sent and answered, when, and which are due."""

    def __init__(self, count: int, interval_s: float, timeout_s: float, now: float) -> None:
        self._count, self._interval_s, self._timeout_s = count, interval_s, timeout_s
        self._start = now
        self._sent_at: list[float] = []
        self._rtts: dict[int, float] = {}
        self._duplicates = 0
        self._told = 0

    @property
    def done(self) -> bool:
        return self._told == self._count

    def due(self, now: float) -> bool:
        return len(self._sent_at) < self._count and now >= self._next_at()

    def _next_at(self) -> float:
        return self._start + len(self._sent_at) * self._interval_s

    def sent(self, now: float) -> int:
        self._sent_at.append(now)
        return len(self._sent_at) - 1

    def answered(self, sequence: int, now: float) -> None:
        if sequence in self._rtts:
            self._duplicates += 1
        elif sequence < len(self._sent_at) and now < self._sent_at[sequence] + self._timeout_s:
            self._rtts[sequence] = now - self._sent_at[sequence]

    def settled(self, now: float) -> Iterator[Echo]:
        while self._told < len(self._sent_at):
            sequence, sent_at = self._told, self._sent_at[self._told]
            if sequence not in self._rtts and now < sent_at + self._timeout_s:
                return
            self._told += 1
            rtt = self._rtts.get(sequence)
            yield {"sequence": sequence, "sent_at": sent_at, "rtt_s": rtt}

    def patience_s(self, now: float) -> float:
        """How long nothing will happen but a reply."""
        moments = [sent_at + self._timeout_s for sent_at in self._sent_at[self._told :][:1]]
        if len(self._sent_at) < self._count:
            moments.append(self._next_at())
        return max(0.0, min(moments, default=now) - now)

    def result(self) -> PingResult:
        return {
            "sent": self._count,
            "received": len(self._rtts),
            "duplicates": self._duplicates,
            "rtts_s": [self._rtts.get(sequence) for sequence in range(self._count)],
        }


def _identifier() -> int:
    return os.getpid() & 0xFFFF


def _request(kind: _Family, sequence: int, payload: bytes) -> bytes:
    """In IPv6 the kernel fills in the checksum, whatever stands there."""
    header = (kind.request, 0, 0, _identifier(), sequence & 0xFFFF)
    checksum = _checksum(_ICMP_HEADER.pack(*header) + payload)
    return _ICMP_HEADER.pack(*header[:2], checksum, *header[3:]) + payload


def _checksum(data: bytes) -> int:
    """RFC 1071: one's complement sum of 16-bit words; 0xFFFF is congruent to 0 there."""
    padded = data + bytes(len(data) % 2)
    words: tuple[int, ...] = struct.unpack(f">{len(padded) // 2}H", padded)
    return 0xFFFF - sum(words) % 0xFFFF


def _send(sock: socket.socket, destination: str, request: bytes) -> None:
    try:
        sock.sendto(request, (destination, 0))
    except PermissionError:
        raise
    except OSError:
        return  # no route at the moment, too big, ...: unanswered, as documented


def _reply_untrusted(family: _Family, packet: Buffer) -> int | None:
    """The sequence number of a packet that answers us, None for any other packet."""
    start = (packet[0] & 0x0F) * 4 if packet and family.header else 0
    if len(packet) < start + _ICMP_HEADER.size:
        return None
    kind, _, _, identifier, sequence = _ICMP_HEADER.unpack_from(packet, start)
    if kind != family.reply or identifier != _identifier():
        return None
    return int(sequence)
