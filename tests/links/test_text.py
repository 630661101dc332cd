"""Links over rooms in memory, in which time jumps."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import pytest

from chancel.errors import LinkClosed, LocalProtocolError
from chancel.links.conformance import check_link
from chancel.links.interface import Link
from chancel.links.text import MAX_MESSAGE, LineChannel, LineRate, TextLink, tunnel_profile
from chancel.links.text_lines import Unused
from chancel.protocol.profile import CURRENT, Profile
from chancel.tunnel import Tunnel
from tests.links.jumping import run_jumping
from tests.links.rooms import Room


@contextlib.asynccontextmanager
async def ends(room: Room, rate: LineRate | None = None) -> AsyncIterator[list[TextLink]]:
    """Two links that use one room."""
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(TextLink(room.member(), rate=rate)) for _ in range(2)
        ]


async def until_quiet(link: Link, quiet_s: float = 10.0) -> list[bytes]:
    """What arrives before it gets quiet."""
    arrived: list[bytes] = []
    with contextlib.suppress(TimeoutError):
        while True:
            async with asyncio.timeout(quiet_s):
                arrived.append(await link.receive())
    return arrived


@pytest.mark.parametrize("echo", [False, True])
def test_it_keeps_the_rules(echo: bool) -> None:
    @contextlib.asynccontextmanager
    async def pair() -> AsyncIterator[tuple[Link, Link]]:
        async with ends(Room(echo=echo)) as (left, right):
            yield left, right

    asyncio.run(check_link(pair))


def test_it_is_what_it_claims_to_be() -> None:
    async def test() -> None:
        room = Room()
        member = room.member()
        channel: LineChannel = member
        async with TextLink(channel) as link:
            assert isinstance(link, Link)
            assert not link.reliable
            assert link.max_message == MAX_MESSAGE
            assert link.peer.name == "memory://room"

    run_jumping(test())


@pytest.mark.parametrize("seed", range(5))
def test_a_bad_room_loses_messages_and_alters_none(seed: int) -> None:
    contents = random.Random(seed)
    messages = [contents.randbytes(contents.randrange(1400)) + b"." for _ in range(300)]

    async def test() -> None:
        room = Room(echo=True, loss=0.05, doubling=0.1, delay=0.1, seed=seed)
        async with ends(room) as (left, right):
            await left.send_batch(messages)
            arrived = await until_quiet(right)
        assert set(arrived) <= set(messages)
        assert len(arrived) == len(set(arrived))
        assert 0 < len(messages) - len(arrived) <= room.lost
        assert right.unused[Unused.REPEATED] > 0
        assert left.unused[Unused.ECHO] > 0

    run_jumping(test())


def test_lines_keep_to_the_rate() -> None:
    async def test() -> None:
        room = Room(max_line=443)
        async with ends(room, LineRate(2.0, burst=3)) as (left, right):
            await left.send_batch([bytes(623)] * 8)
            assert len(await until_quiet(right)) == 8
        times = [at for at, _ in room.said]
        assert len(times) == 16
        assert times == pytest.approx([0.0] * 3 + [0.5 * number for number in range(1, 14)])

    run_jumping(test())


def test_a_silence_saves_up_one_burst_and_no_more() -> None:
    async def test() -> None:
        room = Room()
        async with ends(room, LineRate(1.0, burst=2)) as (left, right):
            await asyncio.sleep(1000.0)
            start = asyncio.get_running_loop().time()
            await left.send_batch([b"x"] * 4)
            await until_quiet(right)
        assert [at - start for at, _ in room.said] == pytest.approx([0.0, 0.0, 1.0, 2.0])

    run_jumping(test())


def test_sending_waits_so_that_nothing_old_piles_up() -> None:
    async def test() -> None:
        clock = asyncio.get_running_loop().time
        async with ends(Room(), LineRate(1.0)) as (left, right):
            await left.send_batch([b"x"] * 10)
            assert clock() == pytest.approx(8.0)  # when the last but one has left
            assert len(await until_quiet(right)) == 10

    run_jumping(test())


def test_people_and_other_pairs_in_the_room_do_no_harm() -> None:
    async def test() -> None:
        room = Room()
        others = [TextLink(room.member(), tag="others") for _ in range(2)]
        async with ends(room) as (left, right), others[0], others[1]:
            for number in range(20):
                room.say(None, "what is all this about?")
                await left.send(bytes([number]) * 700)
                await others[0].send(b"not for you")
            assert await until_quiet(right) == [bytes([number]) * 700 for number in range(20)]
            assert await until_quiet(others[1]) == [b"not for you"] * 20
            assert right.unused[Unused.NOT_OURS] > 20

    run_jumping(test())


def test_a_channel_that_ends_ends_the_link() -> None:
    async def test() -> None:
        room = Room()
        member = room.member()
        async with TextLink(member) as link:
            receiving = asyncio.create_task(link.receive())
            await asyncio.sleep(0)
            member.lines.end("the server has closed the connection")
            with pytest.raises(LinkClosed, match="the server has closed the connection"):
                await receiving
            with pytest.raises(LinkClosed, match="the server has closed the connection"):
                await link.send(b"x")

    run_jumping(test())


def test_closing_does_not_wait_for_a_slow_room() -> None:
    async def test() -> None:
        clock = asyncio.get_running_loop().time
        async with ends(Room(), LineRate(0.01)) as (left, _):
            sending = asyncio.create_task(left.send_batch([b"x"] * 10))
            await asyncio.sleep(1.0)
            left.close()
            with pytest.raises(LinkClosed, match="closed at this end"):
                await sending
            await left.wait_closed()
            assert clock() < 2.0
            with pytest.raises(LocalProtocolError, match="was closed"):
                await left.send(b"x")

    run_jumping(test())


def test_what_cannot_work_is_refused_at_once() -> None:
    room = Room(max_line=80)
    with pytest.raises(LocalProtocolError, match="choose a smaller max_message"):
        TextLink(room.member(), max_message=MAX_MESSAGE * 10)
    with pytest.raises(LocalProtocolError, match="choose a smaller max_message"):
        TextLink(Room(max_line=20).member(), max_message=1)
    for tag in ("", "with space", "a" * 17, "a:b", "\N{SNOWMAN}"):
        with pytest.raises(LocalProtocolError, match="letters and digits"):
            TextLink(room.member(), tag=tag)
    for rate in ((0.0, 1), (-1.0, 1), (1.0, 0)):
        with pytest.raises(LocalProtocolError, match="lines per second"):
            LineRate(*rate)


async def _time_to_agree(rate: LineRate, profile: Profile) -> float | None:
    """Virtual seconds until a tunnel has keys; ``None`` if it gets none."""
    clock = asyncio.get_running_loop().time
    room = Room(max_line=443)
    left, right = (
        Tunnel(
            TextLink(room.member(), rate=rate),
            bytes(32),
            profile=profile,
            wall=lambda: 1_800_000_000.0 + clock(),
        )
        for _ in range(2)
    )
    async with left, right:
        try:
            async with asyncio.timeout(600.0):
                await asyncio.gather(left.ready(), right.ready())
        except TimeoutError:
            return None
        agreed = clock()
        await left.send(b"and it carries")
        assert await right.receive() == b"and it carries"
        return agreed


@pytest.mark.parametrize(
    ("rate", "within_s"),
    [(LineRate(0.25, 4), 50.0), (LineRate(0.5, 5), 25.0), (LineRate(2.0, 3), 7.0)],
)
def test_a_tunnel_comes_up_at_the_pace_of_its_room(rate: LineRate, within_s: float) -> None:
    took_s = run_jumping(_time_to_agree(rate, tunnel_profile(rate)))
    assert took_s is not None
    assert took_s < within_s


def test_the_protocols_own_timers_want_two_lines_a_second() -> None:
    took_s = run_jumping(_time_to_agree(LineRate(2.0, 3), CURRENT))
    assert took_s is not None
    assert took_s < CURRENT.offer_transmissions * CURRENT.offer_interval_s
    assert run_jumping(_time_to_agree(LineRate(1.0, 3), CURRENT)) is None
    assert tunnel_profile(LineRate(16.0)) == CURRENT


def test_a_tunnel_carries_a_megabyte_over_a_bad_room() -> None:
    """What arrives is unaltered and arrives once; the room loses one line in fifty."""
    contents = random.Random(1)

    async def test() -> None:
        clock = asyncio.get_running_loop().time
        room = Room(max_line=443, echo=True, loss=0.02, doubling=0.05, delay=0.05)
        rate = LineRate(100.0, burst=10)
        left, right = (
            Tunnel(
                TextLink(room.member(), rate=rate),
                bytes(32),
                wall=lambda: 1_800_000_000.0 + clock(),
            )
            for _ in range(2)
        )
        async with left, right:
            await asyncio.gather(left.ready(), right.ready())
            sent = [contents.randbytes(1200) for _ in range(1_000_000 // 1200)]
            arriving = asyncio.create_task(until_quiet(right))
            await left.send_batch(sent)
            arrived = await arriving
            assert set(arrived) <= set(sent)
            assert len(arrived) == len(set(arrived))
            assert len(arrived) > 0.8 * len(sent)

    run_jumping(test())
