"""A program with a tunnel of the library, inside a host of the lab.

Its inner packets are IPv4, built here by hand: it asks for ICMP echoes, and answers them.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Generator
from pathlib import Path
from typing import Any, TypedDict

from chancel.errors import LinkClosed
from chancel.links.udp import UdpPort
from chancel.tunnel import Tunnel
from chancel.wire.types import Address

_IP = struct.Struct(">BBHHHBBH4s4s")
_ICMP = struct.Struct(">BBHHH")
_HEADERS_BYTES = _IP.size + _ICMP.size
_REPLY, _REQUEST = 0, 8
_IDENTIFIER = 0x4C42
_PATIENCE_S = 1.0
_TRIES = 10


class Options(TypedDict, total=False):
    """Settings of the tunnel, as JSON carries them."""

    shroud: bool
    tfc: bool
    mtu: int


def echo(kind: int, source: bytes, target: bytes, sequence: int, size: int) -> bytes:
    """An ICMP echo request or reply in an IPv4 packet of this size."""
    payload = bytes(size - _HEADERS_BYTES)
    plain = _ICMP.pack(kind, 0, 0, _IDENTIFIER, sequence) + payload
    icmp = _ICMP.pack(kind, 0, _checksum(plain), _IDENTIFIER, sequence) + payload
    fields = (0x45, 0, size, 0, 0x4000, 64, socket.IPPROTO_ICMP)
    header = _IP.pack(*fields, _checksum(_IP.pack(*fields, 0, source, target)), source, target)
    return header + icmp


def reply(request: bytes) -> bytes | None:
    """The answer to an echo request; ``None`` for any other packet."""
    if len(request) < _HEADERS_BYTES or request[9] != socket.IPPROTO_ICMP:
        return None
    kind, _, checksum, *_ = _ICMP.unpack_from(request, _IP.size)
    if kind != _REQUEST:
        return None
    # Eight less in one word of the sum is eight more in its complement, carry included.
    more = checksum + (_REQUEST << 8)
    icmp = _ICMP.pack(_REPLY, 0, (more & 0xFFFF) + (more >> 16), 0, 0)[:4]
    swapped = request[16:20] + request[12:16]
    return request[:12] + swapped + icmp + request[_IP.size + 4 :]


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    padded = data + bytes(len(data) % 2)
    words: tuple[int, ...] = struct.unpack(f">{len(padded) // 2}H", padded)
    return 0xFFFF - sum(words) % 0xFFFF


class Program:
    """A tunnel, and what is done with it."""

    def __init__(self, tunnel: Tunnel, own: str, other: str) -> None:
        self._tunnel = tunnel
        self._own, self._other = socket.inet_aton(own), socket.inet_aton(other)
        self._sequence = 0

    async def begin(self, ready_s: float) -> str | None:
        """Come up; what is wrong, if it doesn't in that time.

        A daemon's answer may be here before its own processes all know the key: so packets may be
        lost until the first one has come back.
        """
        await self._tunnel.__aenter__()
        try:
            await self._tunnel.ready(ready_s)
        except LinkClosed as error:
            return str(error)
        for _ in range(_TRIES):
            if await self._ping(_HEADERS_BYTES):
                return None
        return "nothing comes back"

    async def ping(self, count: int, size: int) -> int:
        """How many of our requests were answered."""
        return sum([await self._ping(size) for _ in range(count)])

    async def ping_until(self, path: str, size: int) -> int:
        """Ask again and again until a file exists."""
        answered = 0
        while not Path(path).exists():
            answered += await self._ping(size)
            await asyncio.sleep(0.02)
        return answered

    async def answer_until(self, path: str) -> int:
        """Answer all requests until a file exists."""
        answered = 0
        while not Path(path).exists():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    answer = reply(await self._tunnel.receive())
                    if answer is not None:
                        await self._tunnel.send(answer)
                        answered += 1
        return answered

    async def idle(self, seconds: float) -> int:
        """Say nothing, but for what the tunnel says by itself."""
        await asyncio.sleep(seconds)
        return 0

    async def end(self) -> dict[str, int]:
        """Close; what was dropped."""
        self._tunnel.close()
        await self._tunnel.wait_closed()
        return {str(reason): count for reason, count in self._tunnel.drops.items()}

    async def _ping(self, size: int) -> bool:
        self._sequence += 1
        request = echo(_REQUEST, self._own, self._other, self._sequence, size)
        expected = echo(_REPLY, self._other, self._own, self._sequence, size)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._tunnel.send(request)
                # The kernel chooses identification, flags and time to live of its reply.
                while (await self._tunnel.receive())[_IP.size :] != expected[_IP.size :]:
                    pass
        except TimeoutError:
            return False
        return True


def talk(
    outer: list[Any],
    peer: list[Any],
    secret: str,
    options: Options,
    steps: list[list[Any]],
    ready_s: float = 15.0,
) -> Generator[Any, None, dict[str, int]]:
    """Run a tunnel between 10.77.0.1 (here) and 10.77.0.2 through some steps, methods of
    ``Program`` with their arguments.

    Yields what is wrong when it should be up (``None``: nothing), then what each step returns; the
    result is what was dropped.
    """
    with asyncio.Runner() as runner:
        port = UdpPort.bind(Address(*outer))
        tunnel = Tunnel(port, bytes.fromhex(secret), Address(*peer), **options)
        program = Program(tunnel, "10.77.0.1", "10.77.0.2")
        yield runner.run(program.begin(ready_s))
        for name, *arguments in steps:
            yield runner.run(getattr(program, name)(*arguments))
        return runner.run(program.end())
