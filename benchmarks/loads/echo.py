"""Round trips by ICMP, whose other side is the peer's kernel: no program has to wake up for it."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Generator
from typing import NamedTuple

from benchmarks.loads import pass_gate

PAYLOAD_BYTES = 56
TIMEOUT_S = 1.0
RETRY_S = 0.01

_HEADER = struct.Struct(">BBHHH")
_REQUEST, _REPLY = 8, 0
_IP_HEADER_BYTES = 20
_TIMEVAL = struct.Struct("@ll")


def round_trips(
    host: str, count: int, interval_s: float, gate: str = "", delay_s: float = 0.0
) -> Generator[str, None, list[float]]:
    """Milliseconds of each, from ``delay_s`` after the gate on, and for as long as so many take at
    this interval: slow ones are fewer.

    One without an answer counts with the whole timeout.
    """
    requests = [_request(number) for number in range(count)]
    times = []
    with _Pinger(host) as pinger:
        yield "ready"
        pass_gate(gate)
        time.sleep(delay_s)
        ends = time.perf_counter() + count * interval_s
        for number, request in enumerate(requests):
            begun = time.perf_counter()
            if begun >= ends:
                break
            answered = pinger.answered(request, number, TIMEOUT_S)
            taken = time.perf_counter() - begun
            times.append((taken if answered else TIMEOUT_S) * 1e3)
            time.sleep(max(0.0, interval_s - taken))
    return times


def first_answer(host: str, limit_s: float) -> Generator[str, None, float | None]:
    """Ask again and again until there is an answer: when it came, or None."""
    yield "ready"
    deadline = time.monotonic() + limit_s
    number = 0
    with _Pinger(host) as pinger:
        while (begun := time.monotonic()) < deadline:
            if pinger.answered(_request(number), number, RETRY_S):
                return time.monotonic()
            number = (number + 1) & 0xFFFF
            time.sleep(max(0.0, begun + RETRY_S - time.monotonic()))
    return None


class _Pinger:
    def __init__(self, host: str) -> None:
        self._host = host
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self._buffer = bytearray(2048)
        self._timeout_s = 0.0

    def __enter__(self) -> _Pinger:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def answered(self, request: bytes, number: int, timeout_s: float) -> bool:
        """Whether this request is answered in time. One that can't be sent is not."""
        self._set_timeout(timeout_s)
        deadline = time.monotonic() + timeout_s
        try:
            self._sock.sendto(request, (self._host, 0))
            while True:
                self._sock.recv_into(self._buffer)
                if _answer_untrusted(self._buffer) == _Echo(_REPLY, _identifier(), number):
                    return True
                if time.monotonic() > deadline:
                    return False
        except OSError:  # nothing came, or there is no way to the host yet
            return False

    def _set_timeout(self, seconds: float) -> None:
        """In the kernel, which spares a system call for each packet."""
        if seconds != self._timeout_s:
            value = _TIMEVAL.pack(int(seconds), int(seconds % 1 * 1e6))
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
            self._timeout_s = seconds


class _Echo(NamedTuple):
    kind: int
    identifier: int
    number: int


def _identifier() -> int:
    return os.getpid() & 0xFFFF


def _request(number: int) -> bytes:
    payload = bytes(PAYLOAD_BYTES)
    words = (_REQUEST << 8, _identifier(), number)
    # RFC 1071; the payload is zero and adds nothing.
    checksum = 0xFFFF - sum(words) % 0xFFFF
    return _HEADER.pack(_REQUEST, 0, checksum, _identifier(), number) + payload


def _answer_untrusted(packet: bytearray) -> _Echo:
    kind, _, _, identifier, number = _HEADER.unpack_from(packet, _IP_HEADER_BYTES)
    return _Echo(kind, identifier, number)
