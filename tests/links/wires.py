"""Wires of flesh and blood between two ends on loopback: they cut, hold back, lose and damage."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path

from chancel.errors import LinkClosed
from chancel.links.udp import UdpPort
from chancel.wire.types import Address

HOST = "127.0.0.1"
_MOST_BYTES = 4000
_PAUSE_ONE_IN = 200
_PAUSE_S = 0.002


@contextlib.asynccontextmanager
async def stream_wire(target: int | Path, entry: Path | None = None) -> AsyncIterator[int]:
    """A wire to a stream listener, a port or a socket's path; yields the port of its near end.

    Bytes are handed on in pieces of any size, with pauses. With ``entry`` the near end is there.
    """
    rng = random.Random(7)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(rng.randint(1, _MOST_BYTES)):
                writer.write(piece)
                await writer.drain()
                if not rng.randrange(_PAUSE_ONE_IN):
                    await asyncio.sleep(_PAUSE_S)
        writer.close()

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if isinstance(target, Path):
            far_reader, far_writer = await asyncio.open_unix_connection(target)
        else:
            far_reader, far_writer = await asyncio.open_connection(HOST, target)
        await asyncio.gather(pass_on(reader, far_writer), pass_on(far_reader, writer))

    if entry is not None:
        server = await asyncio.start_unix_server(join, entry)
        port = 0
    else:
        server = await asyncio.start_server(join, HOST, 0)
        port = server.sockets[0].getsockname()[1]
    try:
        yield port
    finally:
        server.close()


class DatagramWire:
    """Two ports: what comes to one leaves from the other, unless it is lost; some twice, some late,
    some damaged."""

    TROUBLE = 0.01
    """The part of the datagrams that each kind of trouble happens to."""

    def __init__(self, far: Address) -> None:
        self.near_port = UdpPort.bind(Address(HOST, 0))
        self._far_port = UdpPort.bind(Address(HOST, 0))
        self._far = far
        self._near: Address | None = None
        self._rng = random.Random(8)
        self.done = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Address]:
        """Yields the address of the near end."""
        async with asyncio.TaskGroup() as tasks, self.near_port, self._far_port:
            both = [tasks.create_task(self._there()), tasks.create_task(self._back())]
            yield self.near_port.local
            for task in both:
                task.cancel()

    async def _there(self) -> None:
        with contextlib.suppress(LinkClosed):
            while True:
                batch = await self.near_port.receive_batch()
                self._near = batch[-1][1]
                out = self._troubled([datagram for datagram, _ in batch])
                await self._far_port.send_batch([(each, self._far) for each in out])

    async def _back(self) -> None:
        with contextlib.suppress(LinkClosed):
            while True:
                batch = await self._far_port.receive_batch()
                out = self._troubled([datagram for datagram, _ in batch])
                assert self._near is not None
                near = self._near
                await self.near_port.send_batch([(each, near) for each in out])

    def _troubled(self, datagrams: list[bytes]) -> list[bytes]:
        out: list[bytes] = []
        for datagram in datagrams:
            kind = self._rng.random() / self.TROUBLE
            self.done += kind < 4
            if kind < 1:
                continue
            if kind < 2:
                out += [datagram, datagram]
            elif kind < 3:
                damaged = bytearray(datagram)
                damaged[self._rng.randrange(len(damaged))] ^= 1 << self._rng.randrange(8)
                out.append(bytes(damaged))
            elif kind < 4:
                out.insert(max(0, len(out) - 3), datagram)
            else:
                out.append(datagram)
        return out
