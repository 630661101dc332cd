"""Links and ports in memory: for tests, for simulations, and between two parts of one program.

:class:`MemoryNetwork` carries datagrams between its ports and does to them what networks do, drawn
from a seed, so that a run can be repeated. :func:`memory_pair` makes two ends of a reliable link.
Time is that of the running event loop: where its clock jumps, an hour passes at once.
"""

from __future__ import annotations

import asyncio
import dataclasses
import heapq
import itertools
import random
from collections.abc import Callable

from chancel.errors import LinkClosed, LocalProtocolError
from chancel.links.endpoint import MAX_WAITING, LinkEndpoint, PortEndpoint
from chancel.links.interface import MAX_BATCH, Peer
from chancel.links.port_link import PortLink
from chancel.wire.types import Address, Buffer

MAX_DATAGRAM = 65_507
"""As with UDP over IPv4, so that what works here fits there."""

MAX_MESSAGE = 1 << 20
"""Of a reliable link: room for what an application cuts a file into."""

MAX_UNDER_WAY = 16_384
"""Datagrams that a network holds: as in a router whose queue is full, the next one is lost."""

REORDER_HOLD_S = 0.05
"""A reordered datagram is held back for up to this long, so that later ones overtake it."""


class _Agenda:
    """Calls at given times; those due at one moment in the order in which they were asked for,
    which the timers of an event loop don't promise."""

    def __init__(self) -> None:
        self._order = itertools.count()
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._heap)

    def call_at(
        self, loop: asyncio.AbstractEventLoop, at: float, callback: Callable[[], None]
    ) -> None:
        heapq.heappush(self._heap, (at, next(self._order), callback))
        if self._timer is None or at < self._timer.when():
            self._arm(loop)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(self._heap[0][0], self._run, loop)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        # A loop may call a little early; the due time of its timer counts then.
        now = max(loop.time(), self._heap[0][0])
        self._timer = None
        while self._heap and self._heap[0][0] <= now:
            heapq.heappop(self._heap)[2]()
        if self._heap:
            self._arm(loop)


@dataclasses.dataclass(frozen=True, slots=True)
class Trouble:
    """What a network does to datagrams. Probabilities are per datagram, times in seconds.

    Delay and jitter (uniform, on top of the delay) keep the order of what goes to one port;
    ``reorder`` breaks it. ``corrupt`` flips one bit.
    """

    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    corrupt: float = 0.0
    delay_s: float = 0.0
    jitter_s: float = 0.0

    def __post_init__(self) -> None:
        for name in ("loss", "duplicate", "reorder", "corrupt"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise LocalProtocolError(f"{name} is a probability: between 0 and 1")
        if self.delay_s < 0 or self.jitter_s < 0:
            raise LocalProtocolError("delay and jitter can't be negative: give 0 or more")

    def copies(self, rng: random.Random) -> int:
        """How many copies of the next datagram arrive."""
        if self.loss and rng.random() < self.loss:
            return 0
        return 2 if self.duplicate and rng.random() < self.duplicate else 1

    def damaged(self, datagram: bytes, rng: random.Random) -> bytes:
        """The datagram as it arrives."""
        if not self.corrupt or not datagram or rng.random() >= self.corrupt:
            return datagram
        flipped = bytearray(datagram)
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        return bytes(flipped)


class MemoryNetwork:
    """A network of ports. The trouble may be changed at any time.

    What is sent to an address without a port is lost, like what the trouble takes; ``lost`` counts
    both, ``sent`` counts what was handed in.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        loss: float = 0.0,
        duplicate: float = 0.0,
        reorder: float = 0.0,
        corrupt: float = 0.0,
        delay_s: float = 0.0,
        jitter_s: float = 0.0,
    ) -> None:
        self.trouble = Trouble(loss, duplicate, reorder, corrupt, delay_s, jitter_s)
        self.sent = 0
        self.lost = 0
        self._rng = random.Random(seed)  # noqa: S311 - trouble to be repeated, no secret
        self._ports: dict[Address, MemoryPort] = {}
        self._agenda = _Agenda()
        self._loop: asyncio.AbstractEventLoop | None = None

    def port(self, address: Address) -> MemoryPort:
        """A new port; its host may be any word. Raises ``LocalProtocolError`` if it is taken."""
        if address in self._ports:
            raise LocalProtocolError(f"{address} is taken in this network: choose another one")
        port = self._ports[address] = MemoryPort(self, address)
        return port

    def links(self) -> tuple[PortLink, PortLink]:
        """Two ends of an unreliable link through this network."""
        numbers = (n for n in itertools.count(1) if Address("left", n) not in self._ports)
        number = next(numbers)
        left, right = Address("left", number), Address("right", number)
        return (
            PortLink(self.port(left), right, scheme="memory"),
            PortLink(self.port(right), left, scheme="memory"),
        )

    def carry(self, datagram: bytes, source: Address, destination: Address) -> None:
        """Take a datagram from a port, whose event loop is running."""
        loop = asyncio.get_running_loop()
        if self._loop not in (None, loop):
            raise LocalProtocolError(
                "this memory network belongs to another event loop: make a network here"
            )
        self._loop = loop
        self.sent += 1
        port = self._ports.get(destination)
        copies = self.trouble.copies(self._rng) if port is not None else 0
        if port is None or not copies or len(self._agenda) >= MAX_UNDER_WAY:
            self.lost += 1
            return
        now = loop.time()
        for _ in range(copies):
            data = self.trouble.damaged(datagram, self._rng)
            at = self._arrival(port, now)
            if at <= now:
                port.inbox.put((data, source))
            else:
                self._agenda.call_at(loop, at, _Arrival(port, data, source))

    def leave(self, port: MemoryPort) -> None:
        """Take a port off the network."""
        del self._ports[port.local]

    def _arrival(self, port: MemoryPort, now: float) -> float:
        trouble, rng = self.trouble, self._rng
        at = now + trouble.delay_s
        if trouble.jitter_s:
            at += trouble.jitter_s * rng.random()
        if trouble.reorder and rng.random() < trouble.reorder:
            return at + REORDER_HOLD_S * rng.random()
        port.last_arrival = max(at, port.last_arrival)
        return port.last_arrival


@dataclasses.dataclass(frozen=True, slots=True)
class _Arrival:
    port: MemoryPort
    datagram: bytes
    source: Address

    def __call__(self) -> None:
        self.port.inbox.put((self.datagram, self.source))


class MemoryPort(PortEndpoint):
    """A port of a :class:`MemoryNetwork`."""

    def __init__(self, network: MemoryNetwork, address: Address) -> None:
        super().__init__(MAX_DATAGRAM)
        self.last_arrival = 0.0
        """When the last datagram in order arrives here, on the loop's clock."""
        self._network = network
        self._address = address

    def __repr__(self) -> str:
        return f"<MemoryPort {self._address}{' closed' if self.closed else ''}>"

    @property
    def local(self) -> Address:
        """Our own address."""
        return self._address

    async def send(self, datagram: Buffer, address: Address) -> None:
        """Send one datagram."""
        self._enter()
        self._check_size(datagram)
        await self._breathe()
        self._network.carry(bytes(datagram), self._address, address)

    def _release(self) -> None:
        super()._release()
        self._network.leave(self)


def memory_pair(
    *, max_message: int = MAX_MESSAGE, limit: int = MAX_WAITING, delay_s: float = 0.0
) -> tuple[MemoryLink, MemoryLink]:
    """Two ends of a reliable link. ``limit`` messages wait at each; then the sender waits."""
    left = MemoryLink("left", max_message, limit, delay_s)
    right = MemoryLink("right", max_message, limit, delay_s)
    left.other, right.other = right, left
    return left, right


class MemoryLink(LinkEndpoint):
    """One end of a reliable link; :func:`memory_pair` makes both."""

    reliable = True
    other: MemoryLink

    def __init__(self, name: str, max_message: int, limit: int, delay_s: float) -> None:
        super().__init__(max_message, limit)
        self._name = name
        self._limit = limit
        self._delay_s = delay_s
        self._agenda = _Agenda()
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._peer_closed = False

    def __repr__(self) -> str:
        return f"<MemoryLink {self._name}{' closed' if self.closed else ''}>"

    @property
    def peer(self) -> Peer:
        """The other end."""
        return Peer(f"memory://{self.other._name}")

    async def send(self, message: Buffer) -> None:
        """Send one message; waits while the other end's inbox is full."""
        self._enter()
        self._check_size(message)
        await self._breathe()
        async with self._turn:
            self._check_open()
            while len(self.other.inbox) + len(self._agenda) >= self._limit:
                self._changed.clear()
                await self._changed.wait()
                self._check_open()
            self._carry(bytes(message))

    async def receive_batch(self, limit: int = MAX_BATCH) -> list[bytes]:
        """Return at least one message and at most ``limit``."""
        messages = await super().receive_batch(limit)
        self.other._changed.set()
        return messages

    async def wait_closed(self) -> None:
        """Wait until all that was sent has arrived."""
        while self._agenda:
            self._changed.clear()
            await self._changed.wait()

    def _check_open(self) -> None:
        if self.closed:
            raise LinkClosed("closed at this end")
        if self._peer_closed:
            raise LinkClosed("closed by the peer")

    def _carry(self, message: bytes | None) -> None:
        if self._delay_s and self._loop is not None and not self._loop.is_closed():
            at = self._loop.time() + self._delay_s
            self._agenda.call_at(self._loop, at, lambda: self._arrive(message))
        else:
            self._arrive(message)

    def _arrive(self, message: bytes | None) -> None:
        """A message, or the end (``None``), reaches the other side."""
        if message is not None:
            self.other.inbox.put(message)
        else:
            self.other._peer_closed = True
            self.other.inbox.end("closed by the peer")
            self.other._changed.set()
        self._changed.set()

    def _release(self) -> None:
        super()._release()
        self._changed.set()
        self._carry(None)
