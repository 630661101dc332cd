"""A UDP socket as a port: many peers, trains of datagrams, and the event loop of asyncio.

Nothing is read while nobody receives: what waits is in the kernel's buffer, which is bounded and
drops. A waiting ``receive`` is woken by the callback that read the datagrams, without a task.

The loop has to watch sockets (``add_reader``). On Windows ``asyncio.SelectorEventLoop`` does; the
proactor loop, the default there, doesn't, which a ``LocalProtocolError`` says.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator, Sequence
from typing import Self

from chancel.errors import LinkClosed, LocalProtocolError
from chancel.links import udp_offload, udp_socket
from chancel.links.endpoint import PortEndpoint
from chancel.links.interface import MAX_BATCH
from chancel.links.udp_offload import MAX_DATAGRAM, Offloads, Train
from chancel.links.udp_socket import Target, address_of, target_of
from chancel.wire.types import Address, Buffer

MAX_READ_BYTES = 1 << 20
"""What is read at once, so that the inbox of an idle port with a slow reader stays small."""

MAX_READS = 64
"""Calls for one batch, so that a flood of refusals can't hold up the rest."""

MAX_TRIES = 4
"""How often something is sent whose call fails with the errors of others."""


class UdpPort(PortEndpoint):
    """A port over a UDP socket, which it owns.

    ``offload=False`` leaves the kernel's trains alone. :attr:`refused` counts what the network
    refused: no route, nobody there, too large. An IPv6 socket bound to any address takes IPv4 too.
    """

    def __init__(self, udp: socket.socket, *, offload: bool = True) -> None:
        super().__init__(MAX_DATAGRAM)
        self.refused = 0
        self._udp = udp
        self._ipv6 = udp.family == socket.AF_INET6
        self._local = address_of(udp.getsockname())
        self._offloads = udp_offload.probe(udp) if offload else Offloads(send=False, receive=False)
        udp_offload.hear_refusals(udp)
        self._reading = False
        self._senders: set[asyncio.Future[None]] = set()

    @classmethod
    def bind(cls, local: Address, *, offload: bool = True, fragment: bool = True) -> Self:
        """Open a port at ``local`` (port 0: any free one). Raises ``LocalProtocolError``.

        ``fragment=False`` sends whole or not at all, which finding out the path's MTU by probes
        needs, and which Linux alone does.
        """
        return cls(udp_socket.bind(local, fragment=fragment), offload=offload)

    def __repr__(self) -> str:
        return f"<UdpPort {self._local}{' closed' if self.closed else ''}>"

    @property
    def local(self) -> Address:
        """Our own address, as this machine knows it."""
        return self._local

    @property
    def offloads(self) -> Offloads:
        """Which trains the kernel carries for us."""
        return self._offloads

    async def send(self, datagram: Buffer, address: Address) -> None:
        """Send one datagram; waits while the socket's buffer is full."""
        await self.send_batch(((datagram, address),))

    async def send_batch(self, datagrams: Sequence[tuple[Buffer, Address]]) -> None:
        """Send several datagrams; runs of one size to one address with one call."""
        self._enter()
        if self.inbox.ended:
            raise LinkClosed(self.inbox.why)
        trains = udp_offload.trains(datagrams, offload=self._offloads.send)
        targets = [target_of(train.address, self._ipv6) for train in trains]
        await self._breathe(len(datagrams))
        for train, target in zip(trains, targets, strict=True):
            if target is None:
                self.refused += len(train.datagrams)
            else:
                await self._send(train, target)

    async def receive_batch(self, limit: int = MAX_BATCH) -> list[tuple[bytes, Address]]:
        """Return at least one datagram and at most ``limit``."""
        self._enter()
        await self._breathe(0)
        if not self.inbox:
            self._read()
        if not self.inbox and not self._reading:
            self._watch()
        taken = await self.inbox.take(limit)
        self._without_yield += len(taken)
        return taken

    async def _send(self, train: Train, target: Target) -> None:
        for _ in range(MAX_TRIES):
            try:
                await self._hand_over(train, target)
            except OSError as error:
                if len(train.datagrams) > 1 and error.errno in udp_offload.NO_TRAIN:
                    await self._send_alone(train, target, error)
                    return
                self._check_broken(error)
                if self.inbox.ended:
                    raise LinkClosed(self.inbox.why) from error
                if not self._take_refusals():
                    break  # so the error is about this one
            else:
                return
        self.refused += len(train.datagrams)

    async def _hand_over(self, train: Train, target: Target) -> None:
        """Give a train to the kernel as soon as it has room. Raises ``OSError``."""
        while True:
            try:
                udp_offload.send(self._udp, train, target)
            except BlockingIOError:
                await self._writable()
            else:
                return

    async def _send_alone(self, train: Train, target: Target, error: OSError) -> None:
        """Send the datagrams of a train that the kernel wouldn't take as one."""
        if error.errno == errno.EIO:
            self._offloads = self._offloads._replace(send=False)
        for datagram in train.datagrams:
            await self._send(Train([datagram], len(datagram), train.address), target)

    def _check_broken(self, error: OSError) -> None:
        """End the port for good where an error says that the socket itself is broken."""
        if error.errno not in udp_offload.PASSING:
            self._unwatch()
            self.inbox.end(f"the socket of {self._local} failed: {error.strerror}")

    def _take_refusals(self) -> int:
        """Count what ICMP said. The error of any call may be about a datagram of earlier."""
        count = udp_offload.take_refusals(self._udp)
        self.refused += count
        return count

    async def _writable(self) -> None:
        assert self._loop is not None
        waiter: asyncio.Future[None] = self._loop.create_future()
        if not self._senders:
            with _watching():
                self._loop.add_writer(self._udp, self._can_write)
        self._senders.add(waiter)
        try:
            await waiter
        finally:
            self._senders.discard(waiter)
            if not self._senders and not self.closed:
                self._loop.remove_writer(self._udp)
        if self.closed:
            raise LinkClosed("closed at this end")

    def _can_write(self) -> None:
        for waiter in self._senders:
            if not waiter.done():
                waiter.set_result(None)

    def _watch(self) -> None:
        assert self._loop is not None
        with _watching():
            self._loop.add_reader(self._udp, self._can_read)
        self._reading = True

    def _can_read(self) -> None:
        if self.inbox:
            self._unwatch()  # nobody receives: what comes now waits in the kernel
            return
        self._read()
        if not self.inbox:
            self._take_refusals()

    def _unwatch(self) -> None:
        if self._reading:
            assert self._loop is not None
            self._loop.remove_reader(self._udp)
            self._reading = False

    def _read(self) -> None:
        """Move what the kernel has into the inbox, up to a batch."""
        room = MAX_READ_BYTES
        for _ in range(MAX_READS):
            try:
                datagrams, source = udp_offload.receive(self._udp, offload=self._offloads.receive)
            except BlockingIOError:
                return
            except OSError as error:
                self._check_broken(error)
                if self.inbox.ended:
                    return
                self._take_refusals()
                continue
            address = address_of(source)
            self.inbox.put_all([(datagram, address) for datagram in datagrams])
            room -= len(datagrams[0]) * len(datagrams)
            if room <= 0 or len(self.inbox) >= MAX_BATCH:
                return

    def _release(self) -> None:
        super()._release()
        if self._loop is not None and not self._loop.is_closed():
            self._unwatch()
            self._loop.remove_writer(self._udp)
        self._can_write()
        self._udp.close()


@contextlib.contextmanager
def _watching() -> Iterator[None]:
    try:
        yield
    except NotImplementedError:
        raise LocalProtocolError(
            "this event loop can't watch a UDP socket: run in asyncio.SelectorEventLoop"
        ) from None
