"""Rooms of a real IRC server, ngircd, and links and tunnels through them."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from chancel.errors import LinkClosed, LocalProtocolError
from chancel.links import irc
from chancel.links.interface import Link
from chancel.links.irc import NGIRCD_RATE, IrcRoom
from chancel.links.text import LineRate, TextLink, tunnel_profile
from chancel.links.text_lines import Unused
from chancel.protocol.events import ExchangeEnded, Outcome
from chancel.tunnel import Tunnel, TunnelEvent
from tests.links.ircd import ngircd

PATIENCE_S = 90.0
UNLIMITED = "MaxPenaltyTime = 0"
ROOM = "#chancel"


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a test, and don't let it hang."""
    asyncio.run(asyncio.wait_for(test(), PATIENCE_S))


@contextlib.asynccontextmanager
async def member(port: int, nick: str, peer: str | None = None) -> AsyncIterator[IrcRoom]:
    room = await irc.join("127.0.0.1", ROOM, nick, port=port, peer=peer)
    try:
        yield room
    finally:
        room.close()
        await room.wait_closed()


@contextlib.asynccontextmanager
async def couple(port: int) -> AsyncIterator[tuple[IrcRoom, IrcRoom]]:
    """Alice and Bob, who listen to each other only."""
    async with member(port, "alice", "Bob") as alice, member(port, "bob", "alice") as bob:
        yield alice, bob


@contextlib.asynccontextmanager
async def links(port: int, rate: LineRate | None) -> AsyncIterator[tuple[TextLink, TextLink]]:
    alice = await irc.join("127.0.0.1", ROOM, "alice", port=port, peer="bob")
    bob = await irc.join("127.0.0.1", ROOM, "bob", port=port, peer="alice")
    async with TextLink(alice, rate=rate) as left, TextLink(bob, rate=rate) as right:
        yield left, right


class Raw:
    """Somebody with another client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    @classmethod
    async def enter(cls, port: int, nick: str) -> Raw:
        raw = cls(*await asyncio.open_connection("127.0.0.1", port))
        raw.say(f"NICK {nick}\r\nUSER {nick} 0 * :{nick}\r\nJOIN {ROOM}")
        await raw.until(" 366 ")
        return raw

    def say(self, line: str) -> None:
        self.writer.write(f"{line}\r\n".encode())

    async def until(self, part: str) -> str:
        while part not in (line := (await self._reader.readline()).decode()):
            assert line, f"the server closed before {part!r}"
        return line


def test_what_one_says_the_other_reads() -> None:
    async def test(port: int) -> None:
        async with couple(port) as (alice, bob):
            assert alice.nick == "alice"
            assert alice.name == f"irc://127.0.0.1:{port}/{ROOM}"
            await alice.send_line("hello : there")
            await bob.send_line(":-)")
            assert await bob.receive_line() == "hello : there"
            assert await alice.receive_line() == ":-)"

    with ngircd() as port:
        run(lambda: test(port))


def test_the_longest_line_arrives_whole_and_a_longer_one_does_not() -> None:
    async def test(port: int) -> None:
        async with couple(port) as (alice, bob):
            longest = "x" * alice.max_line
            await alice.send_line(longest)
            await alice.send_line(longest + "y")
            assert await bob.receive_line() == longest
            assert len(await bob.receive_line()) == len(longest)

    with ngircd() as port:
        run(lambda: test(port))


def test_only_the_peer_in_this_room_is_listened_to() -> None:
    async def test(port: int) -> None:
        mallory = await Raw.enter(port, "mallory")
        async with couple(port) as (alice, bob):
            mallory.say(f"PRIVMSG {ROOM} :not alice")
            mallory.say(f"NOTICE {ROOM} :nor here")
            mallory.say("PRIVMSG bob :nor in private")
            mallory.say(f"PING done\r\nPART {ROOM}")
            await mallory.until("PART")
            await alice.send_line("alice")
            assert await bob.receive_line() == "alice"
        mallory.writer.close()

    with ngircd(UNLIMITED) as port:
        run(lambda: test(port))


def test_without_a_peer_everybody_is_listened_to() -> None:
    async def test(port: int) -> None:
        names = ("alice", "bob", "carol")
        async with contextlib.AsyncExitStack() as stack:
            alice, bob, carol = [
                await stack.enter_async_context(member(port, name)) for name in names
            ]
            await alice.send_line("alice")
            assert await carol.receive_line() == "alice"
            await bob.send_line("bob")
            assert await carol.receive_line() == "bob"

    with ngircd() as port:
        run(lambda: test(port))


def test_the_server_does_not_let_everybody_in() -> None:
    async def test(port: int) -> None:
        async with member(port, "alice"):
            with pytest.raises(LinkClosed, match="the nick is in use: choose another"):
                await irc.join("127.0.0.1", ROOM, "alice", port=port)
        with pytest.raises(LinkClosed, match="there is no such room"):
            await irc.join("127.0.0.1", "chancel", "bob", port=port)
        with pytest.raises(LinkClosed, match="doesn't allow this nick"):
            await irc.join("127.0.0.1", ROOM, "1bob", port=port)
        operator = await Raw.enter(port, "op")
        operator.say(f"MODE {ROOM} +k sesame")
        await operator.until("MODE")
        with pytest.raises(LinkClosed, match="the room wants another key"):
            await irc.join("127.0.0.1", ROOM, "bob", port=port, key="wrong")
        (await irc.join("127.0.0.1", ROOM, "bob", port=port, key="sesame")).close()
        operator.say(f"MODE {ROOM} +b carol!*@*")
        await operator.until("+b")
        with pytest.raises(LinkClosed, match="the room has banned us"):
            await irc.join("127.0.0.1", ROOM, "carol", port=port, key="sesame")
        operator.writer.close()

    with ngircd(UNLIMITED) as port:
        run(lambda: test(port))


def test_the_servers_password() -> None:
    async def test(port: int) -> None:
        with pytest.raises(LinkClosed):
            await irc.join("127.0.0.1", ROOM, "alice", port=port, password="wrong")
        room = await irc.join("127.0.0.1", ROOM, "alice", port=port, password="sesame")
        room.close()

    with ngircd(UNLIMITED, password="sesame") as port:
        run(lambda: test(port))


def test_being_thrown_out_is_the_end() -> None:
    async def test(port: int) -> None:
        operator = await Raw.enter(port, "op")
        async with member(port, "alice") as alice:
            operator.say(f"KICK {ROOM} alice :too much\x02noise")
            with pytest.raises(LinkClosed, match=r"thrown out of #chancel: 'too much\\x02noise'"):
                await alice.receive_line()
            with pytest.raises(LinkClosed, match="no longer in #chancel"):
                await alice.send_line("but")
        operator.writer.close()

    with ngircd() as port:
        run(lambda: test(port))


def test_lines_that_the_server_does_not_pass_on_are_counted() -> None:
    async def test(port: int) -> None:
        operator = await Raw.enter(port, "op")
        async with member(port, "alice") as alice:
            operator.say(f"MODE {ROOM} +m")
            await operator.until("+m")
            await alice.send_line("may I?")
            operator.say(f"MODE {ROOM} +v alice")
            await operator.until("+v")
            operator.say(f"PRIVMSG {ROOM} :yes")
            assert await alice.receive_line() == "yes"
            await alice.send_line("thanks")
            assert "thanks" in await operator.until("PRIVMSG")
            assert alice.undelivered == 1
        operator.writer.close()

    with ngircd(UNLIMITED) as port:
        run(lambda: test(port))


def test_another_nick_shortens_our_lines() -> None:
    """A server may give us one. It then stands in front of what we say."""

    async def test(port: int) -> None:
        async with member(port, "al") as alice, member(port, "bob") as bob:
            before = alice.max_line
            await alice._write("NICK alexander")
            await alice.send_line("x")
            assert await bob.receive_line() == "x"
            await bob.send_line("now you know")  # the server said NICK before it said this
            assert await alice.receive_line() == "now you know"
            assert alice.nick == "alexander"
            assert alice.max_line == before - len("exander")
            await alice.send_line("x" * alice.max_line)
            assert await bob.receive_line() == "x" * alice.max_line

    with ngircd(UNLIMITED) as port:
        run(lambda: test(port))


def test_a_server_that_stops_is_the_end() -> None:
    async def test(alice: IrcRoom) -> None:
        with pytest.raises(LinkClosed, match="the server"):
            await alice.receive_line()
        alice.close()
        await alice.wait_closed()

    with asyncio.Runner() as runner:
        with ngircd() as port:
            alice = runner.run(irc.join("127.0.0.1", ROOM, "alice", port=port))
        runner.run(test(alice))
        with pytest.raises(LinkClosed, match="can't reach irc://"):
            runner.run(irc.join("127.0.0.1", ROOM, "alice", port=port))


def test_the_servers_ping_is_answered() -> None:
    """It throws out who doesn't within a second of its question, asked after one of silence."""

    async def test(port: int) -> None:
        async with couple(port) as (alice, bob):
            silent = await Raw.enter(port, "silent")
            await silent.until("PING")
            assert "ERROR" in await silent.until("ERROR")
            await alice.send_line("still here")
            assert await bob.receive_line() == "still here"
            silent.writer.close()

    with ngircd("PingTimeout = 1\nPongTimeout = 1") as port:
        run(lambda: test(port))


def test_nothing_that_is_given_becomes_a_command() -> None:
    async def test(port: int) -> None:
        for bad in ("a b", "a\r\nQUIT", "a,b", "", ":a", "a!b", "a\0"):
            with pytest.raises(LocalProtocolError, match="can't be a name"):
                await irc.join("127.0.0.1", ROOM, bad, port=port)
            with pytest.raises(LocalProtocolError, match="can't be a name"):
                await irc.join("127.0.0.1", f"#{bad} x", "alice", port=port)
        with pytest.raises(LocalProtocolError, match="line break"):
            await irc.join("127.0.0.1", ROOM, "alice", port=port, password="a\r\nQUIT")
        async with member(port, "alice") as alice:
            for bad in ("a\r\nQUIT", "a\nb", "a\0b", ""):
                with pytest.raises(LocalProtocolError, match="no CR, LF or NUL"):
                    await alice.send_line(bad)

    with ngircd() as port:
        run(lambda: test(port))


def test_a_link_keeps_to_what_the_server_takes() -> None:
    """At the rate that ngircd allows nothing is lost, with its limits as they are by default."""
    messages = [bytes([number]) * 623 for number in range(8)]

    async def test(port: int) -> None:
        async with links(port, NGIRCD_RATE) as (left, right):
            assert isinstance(left, Link)
            sending = asyncio.create_task(left.send_batch(messages))
            assert [await right.receive() for _ in messages] == messages
            await sending
            assert right.unused[Unused.DAMAGED] == 0

    with ngircd() as port:
        run(lambda: test(port))


def test_a_tunnel_comes_up_and_carries() -> None:
    """In its first exchange, through a server with the limits that it has by default."""

    async def test(port: int) -> None:
        events: list[TunnelEvent] = []
        async with links(port, NGIRCD_RATE) as (left, right):
            profile = tunnel_profile(NGIRCD_RATE)
            alice, bob = (Tunnel(link, bytes(32), profile=profile) for link in (left, right))
            async with alice, bob:
                listening = asyncio.create_task(collect(alice, events))
                await asyncio.gather(alice.ready(), bob.ready())
                await alice.send(b"hello, Bob")
                assert await bob.receive() == b"hello, Bob"
                await bob.send(b"x" * bob.max_message)
                assert await alice.receive() == b"x" * bob.max_message
                listening.cancel()
        expired = [event for event in events if isinstance(event, ExchangeEnded)]
        assert all(event.outcome is not Outcome.EXPIRED for event in expired)

    with ngircd() as port:
        run(lambda: test(port))


async def collect(tunnel: Tunnel, events: list[TunnelEvent]) -> None:
    async for event in tunnel.events():
        events.append(event)


def test_a_tunnel_carries_more_where_the_server_has_no_limits() -> None:
    contents = random.Random(1)
    sent = [contents.randbytes(1200) for _ in range(100)]

    async def test(port: int) -> None:
        # Not without any: ngircd drops who can't read as fast as others write.
        rate = LineRate(500.0, burst=10)
        async with links(port, rate) as (left, right):
            alice, bob = Tunnel(left, bytes(32)), Tunnel(right, bytes(32))
            async with alice, bob:
                await asyncio.gather(alice.ready(), bob.ready())
                sending = asyncio.create_task(alice.send_batch(sent))
                assert [await bob.receive() for _ in sent] == sent
                await sending

    with ngircd(UNLIMITED) as port:
        run(lambda: test(port))
