# ruff: noqa: ARG001 - all rules take the same arguments
"""Rules about messages: whole, in order, of any size that is allowed, in batches or not."""

from __future__ import annotations

from chancel.errors import LocalProtocolError
from chancel.links.conformance.checking import Rule, Terms, expect, expect_raised, running
from chancel.links.conformance.courier import Courier
from chancel.links.interface import Link, Peer
from chancel.wire.types import Buffer

_BURST = 64
"""Small messages that even an unreliable link takes at once, if its network is good."""

_MAX_TRIED = 64 << 20
"""Larger messages aren't made just to see them refused."""


async def describes_itself(left: Link, right: Link, terms: Terms) -> None:
    """A link says what it is."""
    expect(isinstance(left, Link), f"{left!r} lacks a member of Link")
    expect(left.max_message >= 1, f"max_message is {left.max_message}: not even a byte")
    expect(isinstance(left.reliable, bool), f"reliable is {left.reliable!r}, neither yes nor no")
    expect(left.reliable == right.reliable, "one end is reliable, the other isn't")
    expect(isinstance(left.peer, Peer), f"peer is {left.peer!r}")
    expect(str(left.peer) != "", "the name of the peer is empty")


async def any_size_arrives(left: Link, right: Link, terms: Terms) -> None:
    """A message of any allowed size arrives as it was sent."""
    courier = Courier(left, right, terms)
    for size in _sizes(terms.size(left, left.max_message)):
        await courier.carry(courier.message(size))


async def bursts_arrive(left: Link, right: Link, terms: Terms) -> None:
    """Messages sent one after the other arrive once and in order."""
    courier = Courier(left, right, terms)
    sent = [courier.message(24 + 7 * number % 160) for number in range(_BURST)]

    async def send() -> None:
        for message in sent:
            await left.send(message)

    async with running(send()) as sending:
        arrived = await courier.taken_while(sending, len(sent))
    courier.judge(sent, arrived, all_of=True)


async def batches_arrive(left: Link, right: Link, terms: Terms) -> None:
    """Messages sent in one batch arrive once and in order."""
    courier = Courier(left, right, terms)
    await left.send_batch([])
    sent = [courier.message(24 + 7 * (number // 5) % 160) for number in range(_BURST)]
    async with running(left.send_batch(sent)) as sending:
        arrived = await courier.taken_while(sending, len(sent))
    courier.judge(sent, arrived, all_of=True)


async def batches_have_a_limit(left: Link, right: Link, terms: Terms) -> None:
    """receive_batch returns at least one message and at most as many as asked for."""
    courier = Courier(left, right, terms)
    await courier.carry(courier.message())
    for limit in (0, -1):
        with expect_raised(LocalProtocolError, f"receive_batch({limit})"):
            await right.receive_batch(limit)
    sent = courier.messages(20)
    for limit in (1, 3, 7):
        async with running(left.send_batch(sent * 10 if courier.loses else sent)) as sending:
            batch = await right.receive_batch(limit)
            expect(1 <= len(batch) <= limit, f"receive_batch({limit}) returned {len(batch)}")
            arrived = batch + await courier.taken_while(sending, len(sent) - len(batch))
        if not courier.loses:
            courier.judge(sent, arrived, all_of=True)


async def buffers_are_not_kept(left: Link, right: Link, terms: Terms) -> None:
    """A buffer that was handed in is the caller's again when the call returns."""
    courier = Courier(left, right, terms)
    while True:
        message = courier.message(300)
        if await _lent(courier, message, view=False) and await _lent(courier, message, view=True):
            return


async def oversized_are_refused(left: Link, right: Link, terms: Terms) -> None:
    """A message above max_message raises LocalProtocolError and changes nothing."""
    courier = Courier(left, right, terms)
    if left.max_message < _MAX_TRIED:
        oversized = bytes(left.max_message + 1)
        with expect_raised(LocalProtocolError, "sending a message that is one byte too large"):
            await left.send(oversized)
        with expect_raised(LocalProtocolError, "sending a batch with a message too large"):
            await left.send_batch([courier.message(), oversized])
    await courier.carry(courier.message())


async def both_ways_at_once(left: Link, right: Link, terms: Terms) -> None:
    """Messages of both directions don't get in each other's way."""
    there, back = Courier(left, right, terms), Courier(right, left, terms, first=1000)
    for size in (24, 300, 1000):
        going, coming = there.message(size), back.message(size)
        await left.send(going)
        await back.carry(coming)
        if not await there.arrives(going):
            await there.carry(going)


MESSAGES: tuple[Rule[Link, Link], ...] = (
    describes_itself,
    any_size_arrives,
    bursts_arrive,
    batches_arrive,
    batches_have_a_limit,
    buffers_are_not_kept,
    oversized_are_refused,
    both_ways_at_once,
)


def _sizes(largest: int) -> list[int]:
    """All small sizes, those around powers of two, and the largest."""
    powers = (1 << power for power in range(6, largest.bit_length() + 1))
    around = {size for power in powers for size in (power - 1, power, power + 1)}
    return sorted(size for size in {*range(66), *around, largest - 1, largest} if size <= largest)


async def _lent(courier: Courier, message: bytes, *, view: bool) -> bool:
    """Send from a buffer that is used for something else afterwards; whether it arrived."""
    for batch in (False, True):
        own = bytearray(message)
        lent: Buffer = memoryview(own) if view else own
        await (courier.sender.send_batch([lent]) if batch else courier.sender.send(lent))
        own[:] = bytes(len(own))
        if isinstance(lent, memoryview):
            lent.release()
        try:
            own.clear()
        except BufferError as error:
            raise AssertionError("a view of the buffer is still held after the call") from error
        if not await courier.arrives(message):
            return False
    return True
