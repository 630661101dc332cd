"""Port, Link and Listener: the three interfaces through which every byte leaves and arrives.

A **Link** moves messages to and from one peer; a **Port** moves datagrams to and from many
addresses; a **Listener** brings a Link for each peer that calls. A transport makes one of them. A
channel or a tunnel takes a Link (or a Port) and is itself a Link, so they nest to any depth.

What holds for all of them, and what ``conformance`` checks:

* A message is whole: it arrives as it was sent, or not at all. It may be empty. Where
  :attr:`Link.reliable` holds, nothing is missing, doubled or out of order until the link closes.
* ``send`` returns once the message was taken over, and waits where no more can be taken for now.
  Several tasks may send at once. ``receive`` is for one task at a time.
* Cancelling a call loses nothing: a cancelled ``receive`` leaves its message for the next one, and
  after a cancelled ``send`` the message was sent whole or not at all.
* ``close`` takes effect at once and may be called again. Calls that wait raise
  :class:`~chancel.errors.LinkClosed`; later ones raise
  :class:`~chancel.errors.LocalProtocolError`. What a reliable link took over before is still sent:
  ``wait_closed`` waits for that.
* When the peer has closed a reliable link, what it sent before is still received; then ``receive``
  raises ``LinkClosed``. A link over datagrams can't know.
* A message that is larger than ``max_message`` raises ``LocalProtocolError`` and changes nothing;
  in a batch, none of the batch is sent then.
* An object belongs to the event loop that first awaited it; another one gets
  ``LocalProtocolError``.

Sizes are in bytes. Buffers handed in are not kept after the call returns.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Sequence
from typing import Protocol, Self, runtime_checkable

from chancel.wire.types import Address, Buffer

MAX_BATCH = 256
"""Messages that ``receive_batch`` returns at most, unless it is told another number."""


@dataclasses.dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, as far as that is known.

    ``name`` is for people and logs: an address string where there is one (``tcp://192.0.2.1:4000``).
    ``authenticated`` says whether the other end has proved to hold a key, which only a channel or a
    tunnel can.
    """

    name: str
    authenticated: bool = False

    def __str__(self) -> str:
        return self.name


@runtime_checkable
class Link(Protocol):
    """Moves messages to and from one peer."""

    @property
    def reliable(self) -> bool:
        """Whether everything arrives, once and in order, for as long as the link is open."""
        ...

    @property
    def max_message(self) -> int:
        """The largest message that :meth:`send` takes."""
        ...

    @property
    def peer(self) -> Peer:
        """The other end. May change on a link over datagrams."""
        ...

    async def send(self, message: Buffer) -> None:
        """Send one message. Raises ``LinkClosed`` and ``LocalProtocolError``."""
        ...

    async def send_batch(self, messages: Sequence[Buffer]) -> None:
        """Send several messages in this order. If cancelled, the first ones may have been sent."""
        ...

    async def receive(self) -> bytes:
        """Return the next message. Raises ``LinkClosed`` and ``LocalProtocolError``."""
        ...

    async def receive_batch(self, limit: int = MAX_BATCH) -> list[bytes]:
        """Return at least one message and at most ``limit``: what is there, without waiting for
        more."""
        ...

    def close(self) -> None:
        """Close. Never raises."""
        ...

    async def wait_closed(self) -> None:
        """Wait until what was sent before :meth:`close` has left, and everything is released."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Messages as they come, until the link closes; closing it in the loop ends that too."""
        ...


@runtime_checkable
class Readied(Protocol):
    """A link that can't send at once, as a tunnel or a channel, says when it can."""

    async def ready(self, timeout_s: float | None = None) -> None:
        """Wait until it can send, for that long at most. Raises ``LinkClosed``."""
        ...


@runtime_checkable
class Port(Protocol):
    """Moves datagrams to and from many addresses. Nothing that is sent has to arrive."""

    @property
    def max_datagram(self) -> int:
        """The largest datagram that :meth:`send` takes."""
        ...

    @property
    def local(self) -> Address:
        """Our own address, as far as it is known here."""
        ...

    async def send(self, datagram: Buffer, address: Address) -> None:
        """Send one datagram. What the network refuses (no route, nobody there) is lost like
        anything else, and counted. Raises ``LinkClosed`` and ``LocalProtocolError``."""
        ...

    async def send_batch(self, datagrams: Sequence[tuple[Buffer, Address]]) -> None:
        """Send several datagrams; those to one address in this order."""
        ...

    async def receive(self) -> tuple[bytes, Address]:
        """Return the next datagram and its source."""
        ...

    async def receive_batch(self, limit: int = MAX_BATCH) -> list[tuple[bytes, Address]]:
        """Return at least one datagram and at most ``limit``: what is there, without waiting for
        more."""
        ...

    def close(self) -> None:
        """Close. Never raises."""
        ...

    async def wait_closed(self) -> None:
        """Wait until everything is released."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...


@runtime_checkable
class Listener(Protocol):
    """Brings a Link for each peer that calls."""

    @property
    def address(self) -> str:
        """Where to call, as an address string."""
        ...

    async def accept(self) -> Link:
        """Return the link of the next peer. Raises ``LinkClosed`` and ``LocalProtocolError``.

        A peer that breaks off, or says nothing sensible, before it has a link is passed over.
        """
        ...

    def close(self) -> None:
        """Take no more calls. Links that were accepted stay."""
        ...

    async def wait_closed(self) -> None:
        """Wait until everything is released."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...

    def __aiter__(self) -> AsyncIterator[Link]: ...
