"""What carries a tunnel's datagrams: a port, or a link, which is a port with one address.

What to do with either is decided here, so that the tunnel itself knows addressed datagrams only.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Final, Protocol

from chancel.errors import LocalProtocolError
from chancel.links.interface import Link, Port, Readied
from chancel.wire.types import Address, Buffer

PORT_RUN: Final = 256
"""Messages that are sealed and sent at once on a port, which takes them as fast as they come."""
LINK_RUN: Final = 16
"""The same on a link, which may be a slow line: only between two of these runs there is a turn for
heartbeats and offers, which mustn't wait for half a minute."""

PORT_WORDS: Final = 64
"""A tunnel's own datagrams that wait for a port: a round of an exchange, a key and an answer, to
each place where the peer may be, and what a cathedral is told."""
LINK_WORDS: Final = 8
"""The same for a link, which may be slow: one round. More would only be old when they arrive."""

LINK_PEER: Final = Address("link", 0)
"""Whatever is at the other end of a link: the protocol wants an address, and compares it only."""


class Carrier(Protocol):
    """Moves the datagrams of one tunnel, which owns it."""

    @property
    def reliable(self) -> bool:
        """Whether nothing is lost, so that reading may stop while nobody receives."""
        ...

    @property
    def run(self) -> int:
        """How many datagrams to send at once."""
        ...

    @property
    def words(self) -> int:
        """How many datagrams of the tunnel's own may wait; the oldest go first."""
        ...

    @property
    def max_datagram(self) -> int:
        """The largest datagram."""
        ...

    def name(self, address: Address | None) -> str:
        """The peer at this address, for people."""
        ...

    def take(self) -> None:
        """Make what is below carry this tunnel alone, for good.

        Raises ``LocalProtocolError`` if it carries another one: they would take each other's
        datagrams.
        """
        ...

    async def open(self) -> None:
        """Enter what is below. Raises ``LocalProtocolError``."""
        ...

    async def ready(self) -> None:
        """Wait until something can be sent. Raises ``LinkClosed``."""
        ...

    async def send(self, datagrams: Sequence[tuple[Buffer, Address]]) -> None:
        """Send datagrams in this order."""
        ...

    async def receive(self, limit: int) -> list[tuple[bytes, Address]]:
        """Return at least one datagram and at most ``limit``."""
        ...

    def close(self) -> None:
        """Close what is below."""
        ...

    async def wait_closed(self) -> None:
        """Wait until what is below is released."""
        ...


class PortCarrier:
    """Datagrams on a port, from and to any address."""

    reliable = False
    run = PORT_RUN
    words = PORT_WORDS

    def __init__(self, port: Port) -> None:
        self._port = port
        self.max_datagram = port.max_datagram
        self.send = port.send_batch
        self.receive = port.receive_batch
        self.close = port.close
        self.wait_closed = port.wait_closed

    def name(self, address: Address | None) -> str:
        """The peer's address."""
        return "unknown" if address is None else str(address)

    def take(self) -> None:
        """Take the port."""
        _take(self._port)

    async def open(self) -> None:
        """Enter the port."""
        await self._port.__aenter__()

    async def ready(self) -> None:
        """A port can send at once."""


class LinkCarrier:
    """Datagrams on a link, as messages from and to whatever is at its other end."""

    run = LINK_RUN
    words = LINK_WORDS

    def __init__(self, link: Link) -> None:
        self._link = link
        self.reliable = link.reliable
        self.close = link.close
        self.wait_closed = link.wait_closed

    @property
    def max_datagram(self) -> int:
        """What the link takes, which may change if it is a tunnel itself."""
        return self._link.max_message

    def name(self, address: Address | None) -> str:
        """The link's own name for its peer."""
        del address
        return self._link.peer.name

    def take(self) -> None:
        """Take the link."""
        _take(self._link)

    async def open(self) -> None:
        """Enter the link."""
        await self._link.__aenter__()

    async def ready(self) -> None:
        """Wait for a link that isn't ready at once."""
        if isinstance(self._link, Readied):
            await self._link.ready()

    async def send(self, datagrams: Sequence[tuple[Buffer, Address]]) -> None:
        """Send datagrams in this order."""
        await self._link.send_batch([datagram for datagram, _ in datagrams])

    async def receive(self, limit: int) -> list[tuple[bytes, Address]]:
        """Return at least one datagram and at most ``limit``."""
        return [(message, LINK_PEER) for message in await self._link.receive_batch(limit)]


_taken: weakref.WeakSet[Port | Link] = weakref.WeakSet()
"""What carries a tunnel."""


def _take(carrier: Port | Link) -> None:
    if carrier in _taken:
        raise LocalProtocolError(f"{carrier!r} carries another tunnel: make one for each")
    _taken.add(carrier)


def carried(
    carrier: Port | Link, peer: Address | None, cathedral: bool
) -> tuple[Carrier, Address | None]:
    """What carries, and where the peer is on it. Raises ``LocalProtocolError``."""
    if not isinstance(carrier, Link):
        return PortCarrier(carrier), None if peer is None else Address(*peer)
    if cathedral:
        raise LocalProtocolError(
            "a link leads to one peer, so a cathedral can't be reached: give a port instead"
        )
    if peer is not None:
        raise LocalProtocolError(
            f"a link leads to one peer, so the address {peer} means nothing: leave it out"
        )
    return LinkCarrier(carrier), LINK_PEER
