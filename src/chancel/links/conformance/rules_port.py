# ruff: noqa: ARG001 - all rules take the same arguments
"""Rules that are about ports alone; those of links are checked by a ``PortLink`` on each port."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from chancel.errors import LinkClosed, LocalProtocolError
from chancel.links.conformance.checking import (
    MakeEnds,
    MakeLinks,
    Rule,
    Terms,
    expect,
    expect_raised,
    pause,
    running,
)
from chancel.links.conformance.courier import Courier
from chancel.links.interface import Link, Port
from chancel.links.port_link import PortLink
from chancel.wire.types import Address

MakePorts = MakeEnds[Port, Port]

_SENDS = 20


async def describes_itself(left: Port, right: Port, terms: Terms) -> None:
    """A port says what it is."""
    expect(isinstance(left, Port), f"{left!r} lacks a member of Port")
    expect(left.max_datagram >= 1, f"max_datagram is {left.max_datagram}: not even a byte")
    expect(isinstance(left.local, Address), f"local is {left.local!r}, no Address")
    expect(left.local != right.local, "both ports have the same address")


async def sources_are_true(left: Port, right: Port, terms: Terms) -> None:
    """A datagram comes with the address of its sender, and an answer to that reaches it."""
    for sender, receiver in ((left, right), (right, left)):
        source = await _carried(sender, receiver, b"called", terms)
        expect(source == sender.local, f"{source} was said to have sent what {sender.local} sent")
        expect(isinstance(source, Address), f"the source is {source!r}, no Address")


async def runs_keep_their_order(left: Port, right: Port, terms: Terms) -> None:
    """A batch of runs of one size, short ones between, arrives once and in order."""
    courier = Courier(PortLink(left, right.local), PortLink(right, left.local), terms)
    sizes = [100] * 5 + [40] + [100] * 3 + [101] * 4 + [30, 31, 32] + [24] * 10 + [500]
    sent = [courier.message(size) for size in sizes]
    await left.send_batch([(datagram, right.local) for datagram in sent])
    courier.judge(sent, await courier.rest(), all_of=True)
    await left.send_batch([])


async def nobody_there_is_no_error(left: Port, right: Port, terms: Terms) -> None:
    """Sending to an address where nobody is (any more) raises nothing."""
    await _carried(right, left, b"1", terms)
    gone = right.local
    right.close()
    await right.wait_closed()
    async with running(left.receive()) as receiving:
        for _ in range(_SENDS):
            await left.send(b"1", gone)
            await left.send_batch([(b"1", gone)] * 3)
            await pause(1)
        left.close()
        with expect_raised(LinkClosed, "receive, when the port was closed"):
            await receiving


async def oversized_are_refused(left: Port, right: Port, terms: Terms) -> None:
    """A datagram above max_datagram raises LocalProtocolError and changes nothing."""
    oversized = bytes(left.max_datagram + 1)
    with expect_raised(LocalProtocolError, "a datagram that is one byte too large"):
        await left.send(oversized, right.local)
    with expect_raised(LocalProtocolError, "a batch with a datagram that is too large"):
        await left.send_batch([(b"of the batch", right.local), (oversized, right.local)])
    await _carried(left, right, b"afterwards", terms)


PORTS: tuple[Rule[Port, Port], ...] = (
    describes_itself,
    sources_are_true,
    runs_keep_their_order,
    nobody_there_is_no_error,
    oversized_are_refused,
)


def as_links(make_ports: MakePorts) -> MakeLinks:
    """A link over each port, to the other one."""

    @contextlib.asynccontextmanager
    async def make_links() -> AsyncIterator[tuple[Link, Link]]:
        async with (
            make_ports() as (left, right),
            PortLink(left, right.local) as there,
            PortLink(right, left.local) as back,
        ):
            yield there, back

    return make_links


async def _carried(sender: Port, receiver: Port, datagram: bytes, terms: Terms) -> Address:
    """Send a datagram until it arrives, where the network may lose it; returns its source."""
    excused = terms.loses or terms.duplicates or terms.reorders
    while True:
        await sender.send(datagram, receiver.local)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(terms.quiet_s if terms.loses else None):
                arrived, source = await receiver.receive()
                while arrived != datagram:
                    expect(excused, f"{len(arrived)} bytes arrived instead of the datagram")
                    arrived, source = await receiver.receive()
            return source
