"""Links over a port: to one address, or, by a listener, to everyone who calls.

A :class:`PortLink` owns its port and closes it. The links of a :class:`PortListener` share one; it
is closed when the listener and all links that were accepted are. Nothing tells a port that a peer
is gone. So a link of a listener lasts until it is closed, or until its peer has been silent for
``idle_s`` and a new one needs the place. Those who are heard keep theirs: whoever fills the table
from forged sources keeps new peers out for as long, and takes nobody's place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

from chancel.errors import LinkClosed
from chancel.links.endpoint import LinkEndpoint, ListenerEndpoint
from chancel.links.interface import MAX_BATCH, Link, Peer, Port
from chancel.wire.types import Address, Buffer

MAX_PEERS = 4096
"""Links of one listener: a new source makes one, and sources can be forged."""

MAX_BACKLOG = 128
"""Links that nobody has accepted yet."""

MAX_WAITING_BYTES = 16 << 20
"""What waits in the links of one listener together, each of which may hold ``MAX_WAITING``."""

IDLE_S = 180.0
"""After a silence as long as this, NAT routers too have forgotten the peer."""


class PortLink(LinkEndpoint):
    """The link to one address over a port, which it owns: it is closed with the link.

    Nothing that is sent has to arrive. Datagrams from other addresses are dropped, and counted in
    ``strangers``. ``scheme`` is that of the peer's address string.
    """

    reliable = False

    def __init__(self, port: Port, address: Address, *, scheme: str = "udp") -> None:
        super().__init__(port.max_datagram)
        self.strangers = 0
        self._port = port
        self._address = address
        self._scheme = scheme

    def __repr__(self) -> str:
        return f"<PortLink {self._address}{' closed' if self.closed else ''}>"

    @property
    def peer(self) -> Peer:
        """The other end."""
        return Peer(f"{self._scheme}://{self._address}")

    async def send(self, message: Buffer) -> None:
        """Send one message."""
        self._enter()
        await self._port.send(message, self._address)

    async def send_batch(self, messages: Sequence[Buffer]) -> None:
        """Send several messages in this order."""
        self._enter()
        address = self._address
        await self._port.send_batch([(message, address) for message in messages])

    async def receive_batch(self, limit: int = MAX_BATCH) -> list[bytes]:
        """Return at least one message and at most ``limit``."""
        self._enter()
        address = self._address
        while True:
            batch = await self._port.receive_batch(limit)
            messages = [datagram for datagram, source in batch if source == address]
            self.strangers += len(batch) - len(messages)
            if messages:
                return messages

    async def wait_closed(self) -> None:
        """Wait until the port is released."""
        await self._port.wait_closed()

    def _release(self) -> None:
        super()._release()
        self._port.close()


class PortListener(ListenerEndpoint):
    """Many peers on one port: a link for each address from which datagrams come.

    The first datagram of a peer is the first message of its link. Where a peer calls again after
    its link was closed here, that is a new link. ``refused`` counts datagrams of new peers for whom
    there was no place. The port is the listener's: nobody else is to receive from it.
    """

    def __init__(
        self,
        port: Port,
        *,
        max_peers: int = MAX_PEERS,
        idle_s: float = IDLE_S,
        scheme: str = "udp",
    ) -> None:
        super().__init__(MAX_BACKLOG)
        self.refused = 0
        self.port = port
        self.scheme = scheme
        self.waiting_bytes = 0
        """What was not received yet, over all links."""
        self._max_peers = max_peers
        self._idle_s = idle_s
        self._peers: dict[Address, PeerLink] = {}
        """Whoever was silent for longest stands first."""
        self._pump: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        state = " closed" if self.closed else ""
        return f"<PortListener {self.port.local} {len(self._peers)} peers{state}>"

    @property
    def address(self) -> str:
        """Where to call."""
        return f"{self.scheme}://{self.port.local}"

    async def accept(self) -> Link:
        """Return the link of the next peer."""
        self._enter()
        link = (await self.inbox.take(1))[0]
        assert isinstance(link, PeerLink)
        link.accepted = True
        return link

    async def wait_closed(self) -> None:
        """Wait until the port is released, if no link needs it."""
        if self.closed and not self._peers:
            await self.port.wait_closed()
            if self._pump is not None:
                await asyncio.wait([self._pump])

    def forget(self, address: Address) -> None:
        """A link is closed: its peer's place is free."""
        self._peers.pop(address, None)
        if self.closed and not self._peers:
            self.port.close()

    def _enter(self) -> None:
        super()._enter()
        if self._pump is None:
            self._pump = asyncio.get_running_loop().create_task(self._receive())

    async def _receive(self) -> None:
        """Hand what arrives to the links, for as long as the port is open."""
        why = "the event loop of the listener has ended"
        try:
            while not (self.closed and not self._peers):
                batch = await self.port.receive_batch()
                for source, group in groupby(batch, itemgetter(1)):
                    self._deliver(source, [datagram for datagram, _ in group])
        except LinkClosed as error:
            why = str(error)
        finally:
            self.inbox.end(why)
            for peer in self._peers.values():
                peer.inbox.end(why)

    def _deliver(self, source: Address, datagrams: list[bytes]) -> None:
        now = asyncio.get_running_loop().time()
        peer = self._peers.pop(source, None) or self._new_peer(source, now)
        if peer is None:
            self.refused += len(datagrams)
            return
        self._peers[source] = peer
        peer.heard_at = now
        if self.waiting_bytes + sum(map(len, datagrams)) <= MAX_WAITING_BYTES:
            taken = peer.inbox.put_all(datagrams)
            self.waiting_bytes += sum(map(len, datagrams[:taken]))
        else:
            peer.inbox.lost += len(datagrams)

    def _new_peer(self, source: Address, now: float) -> PeerLink | None:
        if self.closed or self.inbox.full:
            return None
        if len(self._peers) >= self._max_peers:
            silent = next(iter(self._peers.values()))
            if now - silent.heard_at < self._idle_s:
                return None
            silent.expire()
        peer = PeerLink(self, source)
        self.inbox.put(peer)
        return peer

    def _release(self) -> None:
        super()._release()
        for peer in [peer for peer in self._peers.values() if not peer.accepted]:
            peer.close()
        if not self._peers:
            self.port.close()


class PeerLink(LinkEndpoint):
    """The link to one peer of a :class:`PortListener`, with whose other links it shares the port.

    A ``send`` that waits for the shared port while the link is closed still finishes.
    """

    reliable = False

    def __init__(self, listener: PortListener, address: Address) -> None:
        super().__init__(listener.port.max_datagram)
        self._loop = listener._loop
        self.accepted = False
        self.heard_at = 0.0
        """When the last datagram came, on the loop's clock."""
        self._listener = listener
        self._address = address

    def __repr__(self) -> str:
        return f"<PeerLink {self._address}{' closed' if self.closed else ''}>"

    @property
    def peer(self) -> Peer:
        """The other end."""
        return Peer(f"{self._listener.scheme}://{self._address}")

    async def send(self, message: Buffer) -> None:
        """Send one message."""
        await self.send_batch((message,))

    async def send_batch(self, messages: Sequence[Buffer]) -> None:
        """Send several messages in this order."""
        self._enter()
        if self.inbox.ended:
            raise LinkClosed(self.inbox.why)
        address = self._address
        await self._listener.port.send_batch([(message, address) for message in messages])

    async def receive_batch(self, limit: int = MAX_BATCH) -> list[bytes]:
        """Return at least one message and at most ``limit``."""
        messages = await super().receive_batch(limit)
        self._listener.waiting_bytes -= sum(map(len, messages))
        return messages

    def expire(self) -> None:
        """Give the place to a new peer; what came before can still be received."""
        self.inbox.end("silent for so long that a new peer took its place")
        self._listener.forget(self._address)

    def _release(self) -> None:
        self._listener.waiting_bytes -= sum(map(len, self.inbox))
        super()._release()
        self._listener.forget(self._address)
