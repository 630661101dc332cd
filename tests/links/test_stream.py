"""Stream links over sockets: what closes, breaks, dribbles and waits."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator

import pytest

from chancel.errors import LinkClosed, LocalProtocolError
from chancel.links import sockets, stream
from chancel.links.conformance import check_link
from chancel.links.descriptors import DescriptorTransport
from chancel.links.endpoint import MAX_WAITING
from chancel.links.framing import Damage, Framer, LengthPrefix, Slip
from chancel.links.interface import Link
from chancel.links.stream import LINGER_S, MAX_UNSENT_BYTES, MAX_WAITING_BYTES, StreamLink
from tests.links.streams import run, steps, until

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER that makes close send a reset."""


async def linked(end: socket.socket, framer: Framer | None = None) -> StreamLink:
    """A link over one end of a connection."""
    _, link = await asyncio.get_running_loop().connect_accepted_socket(
        lambda: StreamLink(lambda _: "test:", framer or LengthPrefix()), end
    )
    return link


def tcp_ends() -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        left = socket.create_connection(listening.getsockname())
        right, _ = listening.accept()
    return left, right


@contextlib.asynccontextmanager
async def pair() -> AsyncIterator[tuple[Link, Link]]:
    left, right = tcp_ends()
    async with await linked(left) as one, await linked(right) as other:
        yield one, other


@contextlib.asynccontextmanager
async def with_peer(
    framer: Framer | None = None,
) -> AsyncIterator[tuple[StreamLink, socket.socket]]:
    """A link, and the plain socket at its other end."""
    ours, theirs = tcp_ends()
    with theirs:
        theirs.setblocking(False)
        async with await linked(ours, framer) as link:
            yield link, theirs


async def read_all(end: socket.socket) -> bytes:
    """Everything up to the end."""
    loop, data = asyncio.get_running_loop(), bytearray()
    while part := await loop.sock_recv(end, 65536):
        data += part
    return bytes(data)


def test_it_keeps_the_rules() -> None:
    async def test() -> None:
        await check_link(pair)

    asyncio.run(test())


def test_a_peer_that_dribbles_is_understood() -> None:
    async def test() -> None:
        async with with_peer() as (link, peer):
            for byte in b"\0\3abc\0\0\0\2de":
                peer.send(bytes((byte,)))
                await steps(3)
            assert [await link.receive() for _ in range(3)] == [b"abc", b"", b"de"]

    run(test)


def test_many_messages_in_one_segment_are_one_batch() -> None:
    async def test() -> None:
        async with with_peer() as (link, peer):
            peer.send(b"".join(LengthPrefix().encode(b"%d" % number) for number in range(300)))
            first = await link.receive()
            batch = await link.receive_batch(1000)
            assert [first, *batch] == [b"%d" % number for number in range(300)]

    run(test)


def test_prefix_and_body_are_one_write() -> None:
    async def test() -> None:
        # A socket that keeps the boundaries of writes shows them.
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, ours:
            link = StreamLink(lambda _: "test:", LengthPrefix())
            DescriptorTransport(link, os.dup(ours.fileno()), os.dup(ours.fileno()))
            async with link:
                await link.send(b"one")
                await link.send_batch([b"two", b"three"])
                assert theirs.recv(100) == b"\0\3one"
                assert theirs.recv(100) == b"\0\3two\0\5three"

    run(test)


@pytest.mark.parametrize("size", [2, 4])
def test_a_huge_length_ends_the_link_after_what_was_good(size: int) -> None:
    async def test() -> None:
        framer = LengthPrefix(2 if size == 2 else 4, 1000)
        async with with_peer(framer) as (link, peer):
            peer.send(framer.encode(b"good") + b"\xff" * size + b"more")
            assert await link.receive() == b"good"
            for _ in range(2):
                with pytest.raises(LinkClosed, match="framing"):
                    await link.receive()
            with pytest.raises(LinkClosed, match="framing"):
                await link.send(b"an answer")
            assert link.drops == {Damage.TOO_LONG: 1}
            assert await read_all(peer) == b""  # we have let go

    run(test)


def test_a_connection_that_ends_within_a_frame_says_so() -> None:
    async def test() -> None:
        async with with_peer() as (link, peer):
            peer.send(b"\0\4good\0\4ba")
            peer.shutdown(socket.SHUT_WR)
            assert await link.receive() == b"good"
            with pytest.raises(LinkClosed, match="in the middle of a message"):
                await link.receive()
            assert link.drops == {Damage.CUT_OFF: 1}

    run(test)


def test_a_reset_within_a_frame_says_so() -> None:
    async def test() -> None:
        async with with_peer() as (link, peer):
            peer.send(b"\0\4good\0\4ba")
            assert await link.receive() == b"good"
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            peer.close()
            with pytest.raises(LinkClosed, match=r"broke: .*reset.*, in the middle of a message"):
                await link.receive()
            with pytest.raises(LinkClosed, match="reset"):
                await link.send(b"x")
            assert link.drops == {Damage.CUT_OFF: 1}

    run(test)


def test_damaged_frames_of_a_line_framer_are_counted() -> None:
    async def test() -> None:
        async with with_peer(Slip()) as (link, peer):
            peer.send(b"noise\xc0" + Slip().encode(b"good"))
            assert await link.receive() == b"good"
            assert link.drops == {Damage.BAD_CHECKSUM: 1}

    run(test)


def test_a_peer_that_has_half_closed_gets_what_was_sent_before() -> None:
    async def test() -> None:
        async with with_peer() as (link, peer):
            await link.send(b"before")
            peer.shutdown(socket.SHUT_WR)
            with pytest.raises(LinkClosed, match="the peer closed the connection"):
                await link.receive()
            with pytest.raises(LinkClosed, match="the peer closed the connection"):
                await link.send(b"after")
            link.close()
            assert await read_all(peer) == b"\0\6before"

    run(test)


def test_close_sends_what_was_taken_over_though_the_peer_still_speaks() -> None:
    """A plain close with unread data resets, and what the peer hasn't received yet is gone."""

    async def test() -> None:
        async with with_peer() as (link, peer):
            message = bytes(50_000)
            sent = 0
            with contextlib.suppress(TimeoutError):
                while True:
                    async with asyncio.timeout(0.2):
                        await link.send(message)
                    sent += 1
            link.close()
            peer.send(b"something that nobody reads")
            received = bytearray()
            while part := await asyncio.get_running_loop().sock_recv(peer, 10_000):
                received += part
                with contextlib.suppress(OSError):
                    peer.send(b"and more")
            assert len(received) == sent * (2 + len(message))

    run(test)


def test_what_had_arrived_survives_a_write_that_fails() -> None:
    async def test() -> None:
        async with with_peer() as (link, peer):
            messages = [b"%d" % number for number in range(3 * MAX_WAITING)]
            peer.send(b"".join(map(LengthPrefix().encode, messages)))
            await until(lambda: link.inbox.full)
            more = [b"later %d" % number for number in range(1000)]
            peer.send(b"".join(map(LengthPrefix().encode, more)))
            peer.close()  # so our writes are answered by a reset, while reading is paused
            while link._connection_stands():
                await link.send(b"x")
                await asyncio.sleep(0)
            assert [message async for message in link] == messages + more

    run(test)


def test_a_flood_stops_at_the_limits_and_goes_on_when_there_is_room() -> None:
    async def test() -> None:
        async with with_peer() as (link, peer):
            one = LengthPrefix().encode(bytes(50_000))
            flood = asyncio.create_task(asyncio.get_running_loop().sock_sendall(peer, one * 1000))
            await until(lambda: link._reading_paused)
            await steps(50)
            assert not flood.done()
            assert link._waiting_bytes < MAX_WAITING_BYTES + 50_000
            assert sum(map(len, link._backlog)) <= 1 << 18  # the rest of one read
            for _ in range(1000):
                assert len(await link.receive()) == 50_000
            await flood
            assert link._waiting_bytes == 0

    run(test)


def test_a_flood_of_empty_messages_loses_none() -> None:
    async def test() -> None:
        async with with_peer() as (link, peer):
            count = 200_000
            flood = asyncio.create_task(
                asyncio.get_running_loop().sock_sendall(peer, bytes(2 * count))
            )
            got = 0
            while got < count:
                batch = await link.receive_batch(1000)
                assert set(batch) == {b""}
                got += len(batch)
                assert len(link.inbox) <= MAX_WAITING
            await flood
            assert got == count

    run(test)


def test_a_waiting_send_that_is_cancelled_has_sent_nothing() -> None:
    async def test() -> None:
        async with with_peer() as (link, peer):
            sent = []
            for number in range(10_000):
                message = b"%d" % number * 2000
                task = asyncio.create_task(link.send(message))
                await steps(2)
                if not task.done():
                    task.cancel()
                    await asyncio.wait([task])
                    assert task.cancelled()
                    break
                sent.append(message)
            assert link._live.get_write_buffer_size() <= MAX_UNSENT_BYTES + 10_000
            link.close()
            framer = LengthPrefix()
            assert framer.feed(await read_all(peer)) == sent
            assert not framer.partial

    run(test)


def test_a_peer_that_takes_nothing_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stream, "LINGER_S", 0.05)

    async def test() -> None:
        async with with_peer() as (link, _):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    while True:
                        await link.send(bytes(60_000))
            link.close()
            await link.wait_closed()

    with caplog.at_level(logging.WARNING, "chancel.links"):
        run(test)
    assert "peer took no more" in caplog.text


def test_a_reset_while_the_kernel_still_has_something_ends_the_wait() -> None:
    async def test() -> None:
        async with with_peer() as (link, peer):
            # The peer has ended its direction, and all that is unsent is in the kernel: no event
            # of the socket would tell.
            peer.shutdown(socket.SHUT_WR)
            with pytest.raises(LinkClosed):
                await link.receive()
            shared = link._live.get_extra_info("socket")
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(shared.fileno(), bytes(100_000))
            assert sockets.unacknowledged(link._live) > 0
            link.close()
            await steps(3)
            assert link._connection_stands()
            peer.close()  # with unread data: a reset
            before = asyncio.get_running_loop().time()
            await link.wait_closed()
            assert asyncio.get_running_loop().time() - before < LINGER_S / 2

    run(test)


def test_without_the_kernels_count_it_is_closed_when_everything_was_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sockets, "HAS_OUTQ", False)

    async def test() -> None:
        async with with_peer() as (link, peer):
            await link.send(b"last")
            link.close()
            await link.wait_closed()
            assert await read_all(peer) == b"\0\4last"

    run(test)


def test_abort_loses_what_is_unsent() -> None:
    async def test() -> None:
        async with with_peer() as (link, _):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    while True:
                        await link.send(bytes(60_000))
            link.abort()
            await link.wait_closed()
            with pytest.raises(LocalProtocolError, match="was closed"):
                await link.receive()

    run(test)


def test_close_after_the_loop_has_ended_raises_nothing() -> None:
    kept: list[StreamLink] = []
    ours, theirs = tcp_ends()

    async def test() -> None:
        kept.append(await linked(ours))

    with theirs:
        run(test)
        kept[0].close()
        assert kept.pop().closed
        with pytest.warns(ResourceWarning):  # by asyncio, which then closes the socket
            gc.collect()
        assert theirs.recv(1) == b""


def test_errors_are_told_in_words() -> None:
    assert sockets.in_words(ConnectionResetError(104, "x", "y")) == "Connection reset by peer"
    assert sockets.in_words(TimeoutError()) == "no answer in time"
    gone = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    assert sockets.in_words(gone) == "Name or service not known"
    assert sockets.in_words(OSError("several things")) == "several things"
