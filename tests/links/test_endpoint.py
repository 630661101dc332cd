"""The inbox, and what all endpoints have in common."""

from __future__ import annotations

import array
import asyncio
from typing import Any

import pytest

from chancel.errors import LinkClosed, LocalProtocolError
from chancel.links import udp_offload
from chancel.links.endpoint import MAX_WITHOUT_YIELD, Endpoint, Inbox, LinkEndpoint
from chancel.links.framing import LengthPrefix
from chancel.links.memory import MemoryNetwork, memory_pair
from chancel.wire.types import Address
from tests.links.ends import LEFT, RIGHT


def test_what_finds_the_inbox_full_is_counted() -> None:
    inbox = Inbox[int](limit=3)
    assert [inbox.put(number) for number in range(4)] == [True, True, True, False]
    assert (inbox.full, inbox.lost, list(inbox)) == (True, 1, [0, 1, 2])
    assert inbox.put_all([4, 5]) == 0
    assert inbox.lost == 3


def test_put_all_takes_what_fits() -> None:
    inbox = Inbox[int](limit=3)
    assert inbox.put_all([]) == 0
    assert inbox.put_all([1, 2]) == 2
    assert inbox.put_all([3, 4]) == 1
    assert (list(inbox), inbox.lost) == ([1, 2, 3], 1)
    inbox.end("over")
    assert (inbox.put_all([5]), inbox.put(6), inbox.lost) == (0, False, 3)


def test_take_returns_what_is_there_up_to_the_limit() -> None:
    async def main() -> None:
        inbox = Inbox[int]()
        inbox.put_all([1, 2, 3, 4])
        assert await inbox.take(3) == [1, 2, 3]
        assert await inbox.take(3) == [4]
        inbox.put_all([5, 6])
        assert await inbox.take(2) == [5, 6]
        for limit in (0, -1):
            with pytest.raises(LocalProtocolError, match="1 or more"):
                await inbox.take(limit)

    asyncio.run(main())


def test_room_is_called_when_a_full_inbox_has_room_again() -> None:
    async def main() -> None:
        calls: list[int] = []
        inbox = Inbox[int](limit=2, room=lambda: calls.append(len(inbox)))
        inbox.put(1)
        await inbox.take(1)
        assert calls == []
        inbox.put_all([1, 2])
        await inbox.take(1)
        assert calls == [1]
        inbox.put(3)
        inbox.end("over")
        await inbox.take(9)
        assert calls == [1]

    asyncio.run(main())


def test_the_rest_is_taken_after_the_end_unless_discarded() -> None:
    async def main() -> None:
        inbox = Inbox[int]()
        inbox.put(1)
        assert (inbox.ended, inbox.why) == (False, "")
        inbox.end("over")
        inbox.end("a later reason")
        assert (inbox.ended, inbox.why) == (True, "over")
        assert await inbox.take(1) == [1]
        with pytest.raises(LinkClosed, match="over"):
            await inbox.take(1)
        other = Inbox[int]()
        other.put(1)
        other.end("gone", discard=True)
        with pytest.raises(LinkClosed, match="gone"):
            await other.take(1)

    asyncio.run(main())


@pytest.mark.parametrize("steps", range(4))
def test_a_cancelled_take_leaves_everything(steps: int) -> None:
    async def main() -> None:
        inbox = Inbox[int]()
        taking = asyncio.create_task(inbox.take(1))
        await asyncio.sleep(0)
        inbox.put(1)
        for _ in range(steps):
            await asyncio.sleep(0)
        taking.cancel()
        await asyncio.wait([taking])
        taken = [] if taking.cancelled() else taking.result()
        inbox.put(2)
        assert taken + await inbox.take(9) == [1, 2]

    asyncio.run(main())


def test_one_task_takes() -> None:
    async def main() -> None:
        inbox = Inbox[int]()
        taking = asyncio.create_task(inbox.take(1))
        await asyncio.sleep(0)
        with pytest.raises(LocalProtocolError, match="one task receive"):
            await inbox.take(1)
        inbox.put(7)
        assert await taking == [7]

    asyncio.run(main())


class Counting(Endpoint):
    released = 0

    def _release(self) -> None:
        self.released += 1


def test_an_endpoint_is_released_once() -> None:
    async def main() -> None:
        endpoint = Counting()
        async with endpoint as entered:
            assert entered is endpoint
            assert not endpoint.closed
        endpoint.close()
        assert endpoint.closed
        assert endpoint.released == 1
        with pytest.raises(LocalProtocolError, match="open another"):
            endpoint._enter()

    asyncio.run(main())


def test_an_endpoint_belongs_to_one_event_loop() -> None:
    left, _ = memory_pair()

    async def main() -> None:
        await left.send(b"1")

    asyncio.run(main())
    with pytest.raises(LocalProtocolError, match="another event loop"):
        asyncio.run(main())


def test_breathing_yields_after_so_many_messages_and_notices_the_end() -> None:
    async def main() -> None:
        endpoint, turns = Counting(), list[str]()
        asyncio.get_running_loop().call_soon(turns.append, "another task")
        await endpoint._breathe(MAX_WITHOUT_YIELD)
        assert turns == []
        await endpoint._breathe()
        assert turns == ["another task"]
        asyncio.get_running_loop().call_soon(endpoint.close)
        with pytest.raises(LinkClosed):
            await endpoint._breathe(MAX_WITHOUT_YIELD + 1)

    asyncio.run(main())


class Collecting(LinkEndpoint):
    """Of the least that a transport writes itself."""

    def __init__(self) -> None:
        super().__init__(max_message=10)
        self.sent: list[bytes] = []

    async def send(self, message: bytes | bytearray | memoryview) -> None:
        self.sent.append(bytes(message))


def test_a_batch_with_a_message_too_large_is_not_sent_at_all() -> None:
    async def main() -> None:
        link = Collecting()
        await link.send_batch([b"1", bytearray(b"2"), memoryview(b"3")])
        with pytest.raises(LocalProtocolError, match="11 bytes is too large"):
            await link.send_batch([b"4", bytes(11)])
        assert link.sent == [b"1", b"2", b"3"]

        port = MemoryNetwork().port(LEFT)
        with pytest.raises(LocalProtocolError, match="too large"):
            await port.send_batch([(b"1", LEFT), (bytes(port.max_datagram + 1), RIGHT)])
        assert len(port.inbox) == 0

    asyncio.run(main())


@pytest.mark.parametrize(
    "message",
    [
        memoryview(array.array("I", range(10))),
        memoryview(bytes(12)).cast("B", (3, 4)),
        memoryview(bytes(12))[::2],
        "text",
        None,
        [1, 2],
    ],
)
def test_what_is_no_row_of_bytes_is_no_message(message: Any) -> None:
    """``len`` of some buffers counts something else, and a frame would have the wrong length."""

    async def main() -> None:
        for left, right in (memory_pair(), MemoryNetwork().links()):
            async with left, right:
                with pytest.raises(LocalProtocolError, match=r"cast\('B'\)|is no message"):
                    await left.send(message)
                with pytest.raises(LocalProtocolError, match=r"cast\('B'\)|is no message"):
                    await left.send_batch([b"whole", message])
        with pytest.raises(LocalProtocolError):
            LengthPrefix().encode(message)
        with pytest.raises(LocalProtocolError):
            udp_offload.trains([(message, Address("127.0.0.1", 9))], offload=True)

    asyncio.run(main())
