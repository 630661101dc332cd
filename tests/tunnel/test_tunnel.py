"""A tunnel carries messages between two programs, and says what is wrong where it can't."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Any

import pytest

from chancel.errors import LinkClosed, LocalProtocolError
from chancel.links.interface import Link, Peer
from chancel.links.memory import MemoryNetwork, memory_pair
from chancel.protocol.events import ClockSkew, SecretUnavailable
from chancel.protocol.profile import V0_9
from chancel.tunnel import Down, Refused, Tunnel, Up
from chancel.vault.secret import Secret
from chancel.wire.drop import Drop
from chancel.wire.types import Address, FlockId, Flocks
from tests.tunnel.pair import (
    LEFT,
    RIGHT,
    SECRET,
    Diary,
    all_that_comes,
    both_ready,
    left_of,
    linked,
    narrow,
    pair,
    right_of,
    run_jumping,
    wall,
    why_not,
)

IP_PACKET = bytes.fromhex("4500001c") + bytes(24)


async def carries(left: Tunnel, right: Tunnel) -> None:
    """Messages of all sizes arrive whole, both ways."""
    sent = [b"", b"x", secrets.token_bytes(left.max_message), b"last"]
    for sender, receiver in ((left, right), (right, left)):
        await sender.send_batch(sent)
        await sender.send(b"alone")
        arrived: list[bytes] = []
        while len(arrived) < 5:
            arrived += await receiver.receive_batch(2)
        assert arrived == [*sent, b"alone"]


@pytest.mark.parametrize(
    ("settings", "largest"),
    [
        ({}, 1422),
        ({"shroud": True}, 1373),
        ({"mtu": 700}, 700),
        ({"spi_prefix": 0x1234}, 1422),
        ({"profile": V0_9}, 1438),
        ({"profile": V0_9, "mtu": 1488}, 1488),
        ({"profile": V0_9, "encapsulation": Secret(bytes(32))}, 1406),
    ],
)
def test_messages_arrive(settings: dict[str, Any], largest: int) -> None:
    async def main() -> None:
        async with pair(**settings) as (left, right):
            assert left.max_message == largest
            await carries(left, right)
            assert set(left.drops + right.drops) <= {Drop.OFFER_ALREADY_DONE}

    run_jumping(main())


def test_a_tunnel_runs_over_a_link() -> None:
    async def main() -> None:
        async with linked() as (left, right):
            assert isinstance(left, Link)
            await carries(left, right)
            assert left.peer == Peer("memory://right", authenticated=True)

    run_jumping(main())


def test_tunnels_run_in_tunnels() -> None:
    async def main() -> None:
        left, right = (
            Tunnel(Tunnel(end, SECRET, wall=wall()), bytes(32), wall=wall())
            for end in memory_pair()
        )
        async with left, right:
            await both_ready(left, right)
            assert left.max_message == 1372
            await carries(left, right)
            assert not left.drops

    run_jumping(main())


def test_a_tunnel_in_a_tunnel_keeps_to_what_the_outer_one_found_out() -> None:
    async def main() -> None:
        network = MemoryNetwork()
        narrow(network, 1300)
        outer = left_of(network, mtu_discovery=True), right_of(network, mtu_discovery=True)
        left, right = (Tunnel(end, bytes(32), wall=wall()) for end in outer)
        async with left, right:
            await both_ready(left, right)
            await asyncio.sleep(60)
            assert left.max_message == outer[0].max_message - 50 < 1250
            await carries(left, right)

    run_jumping(main())


def test_what_is_on_the_network_is_not_what_was_sent() -> None:
    async def main() -> None:
        network, seen = MemoryNetwork(), list[bytes]()
        carry = network.carry

        def carry_seen(datagram: bytes, source: Address, destination: Address) -> None:
            seen.append(datagram)
            carry(datagram, source, destination)

        network.carry = carry_seen  # type: ignore[method-assign]
        async with pair(network) as (left, right):
            await left.send(b"in the clear" * 10)
            assert await right.receive() == b"in the clear" * 10
        assert len(seen) > 8
        assert not any(b"in the clear" in datagram for datagram in seen)

    run_jumping(main())


FLOCKS = Flocks(FlockId(0x100), FlockId(0x200))


def test_mirrored_flocks_meet() -> None:
    async def main() -> None:
        network, mirrored = MemoryNetwork(), Flocks(FLOCKS.peer, FLOCKS.own)
        left, right = left_of(network, flocks=FLOCKS), right_of(network, flocks=mirrored)
        async with left, right:
            await both_ready(left, right)
            await carries(left, right)

    run_jumping(main())


def test_flocks_that_are_not_mirrored_are_told() -> None:
    """Both agree on keys then, and each refuses the other's packets."""

    async def main() -> None:
        async with pair(flocks=FLOCKS) as ends:
            diaries = [Diary(end) for end in ends]
            await asyncio.sleep(1)
            for end, diary in zip(ends, diaries, strict=True):
                assert "mirrored" in str(end.status().problem)
                (refused,) = diary.happened(Refused)
                assert refused.reason is Drop.FLOCK_MISMATCH

    run_jumping(main())


def test_events_tell_the_story() -> None:
    async def main() -> None:
        async with pair() as (left, right):
            diary, other = Diary(left), Diary(right)
            await asyncio.sleep(1)
            assert diary.happened(Up) == [Up(RIGHT)]
            assert other.happened(Up) == [Up(LEFT)]
            assert left.status().up
            assert left.status().problem is None
            left.close()
        await diary.complete()
        assert diary.events[-1] == Down("closed at this end")

    run_jumping(main())


def test_before_it_is_ready_nothing_is_sent() -> None:
    async def main() -> None:
        tunnel = left_of(MemoryNetwork())
        with pytest.raises(LocalProtocolError, match=r"await tunnel\.ready"):
            await tunnel.send(b"x")
        for call in (tunnel.ready, tunnel.receive, tunnel.receive_batch):
            with pytest.raises(LocalProtocolError, match="async with"):
                await call()
        assert "async with" in str(tunnel.status().problem)
        assert tunnel.peer == Peer(str(RIGHT), authenticated=False)
        async with tunnel:
            with pytest.raises(LocalProtocolError, match=r"await tunnel\.ready"):
                await tunnel.send(b"x")
            assert "doesn't answer" in await why_not(tunnel, 3)
            assert not tunnel.is_up

    run_jumping(main())


def test_a_message_that_is_too_large_is_refused_with_the_limit() -> None:
    async def main() -> None:
        async with pair() as (left, right):
            with pytest.raises(LocalProtocolError, match="at most 1422"):
                await left.send(bytes(1423))
            with pytest.raises(LocalProtocolError, match="at most 1422"):
                await left.send_batch([b"x", bytes(1423)])
            assert await all_that_comes(right) == []

    run_jumping(main())


def test_with_tfc_all_datagrams_have_one_size_and_messages_are_ip_packets() -> None:
    async def main() -> None:
        network = MemoryNetwork()
        async with pair(network, tfc=True) as (left, right):
            await left.send(IP_PACKET)
            assert await right.receive() == IP_PACKET
            for message in (b"no packet at all, but long enough", IP_PACKET + b"x", b""):
                with pytest.raises(LocalProtocolError, match="IP packets"):
                    await left.send(message)

    run_jumping(main())


def test_a_wrong_secret_is_told() -> None:
    async def main() -> None:
        network = MemoryNetwork()
        async with left_of(network) as left, right_of(network, secret=bytes(32)) as right:
            diary = Diary(right)
            assert "same secret" in await why_not(right, 10)
            (refused,) = diary.happened(Refused)
            assert refused.reason is Drop.OFFER_BAD_TAG
            assert "doesn't answer" in await why_not(left, 1)

    run_jumping(main())


@pytest.mark.parametrize(("skew_s", "side"), [(20.0, "behind"), (-20.0, "ahead of")])
def test_clocks_that_differ_are_told(skew_s: float, side: str) -> None:
    async def main() -> None:
        network = MemoryNetwork()
        async with left_of(network), right_of(network, wall=wall(-skew_s)) as right:
            diary = Diary(right)
            assert f"our clock is 20 s {side} the peer's" in await why_not(right, 5)
            assert diary.happened(ClockSkew) == [ClockSkew(skew_s, refused=True)]

    run_jumping(main())


@pytest.mark.parametrize("masked", ["left", "right"])
def test_a_mask_at_one_end_only_is_told(masked: str) -> None:
    async def main() -> None:
        network = MemoryNetwork()
        left = left_of(network, shroud=masked == "left")
        async with left, right_of(network, shroud=masked == "right") as right:
            diary = Diary(right)
            assert "shroud" in await why_not(right, 20)
            assert diary.happened(Refused)

    run_jumping(main())


def test_our_own_offers_are_recognized() -> None:
    async def main() -> None:
        network = MemoryNetwork()
        async with left_of(network, peer=LEFT) as left:
            assert "our own" in await why_not(left, 5)

    run_jumping(main())


def test_the_secret_may_be_in_a_file_that_comes_later(tmp_path: Path) -> None:
    async def main() -> None:
        network, path = MemoryNetwork(), tmp_path / "key"
        async with left_of(network, secret=path) as left, right_of(network) as right:
            diary = Diary(left)
            assert "SecretUnavailable" in await why_not(left, 5)
            (unavailable,) = diary.happened(SecretUnavailable)
            assert "doesn't exist" in unavailable.problem
            path.touch(mode=0o600)
            path.write_bytes(SECRET)
            await both_ready(left, right)

    run_jumping(main())


def test_secrets_come_in_many_forms_and_are_copied() -> None:
    async def main() -> None:
        network, loaded, buffer = MemoryNetwork(), Secret(SECRET), bytearray(SECRET)
        async with right_of(network) as right:
            for form in (loaded, memoryview(SECRET), lambda: loaded, buffer):
                tunnel = left_of(network, secret=form)
                if form is buffer:
                    buffer[:] = bytes(32)
                async with tunnel as left:
                    await both_ready(left, right)
                    await left.send(b"x")
                    assert await right.receive() == b"x"

    run_jumping(main())


def test_no_secret_shows_anywhere() -> None:
    async def main() -> None:
        async with pair() as (left, right):
            shown = f"{left!r} {left.status()!r} {vars(left)!r} {right.drops!r}"
            for form in (SECRET.hex(), repr(SECRET)[2:-1], str(list(SECRET))[1:-1]):
                assert form not in shown

    run_jumping(main())


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"secret": b"short"}, "32 bytes, not 5"),
        ({"secret": "a word"}, "str is no shared secret"),
        ({"mtu": 1423}, "1 to 1422"),
        ({"mtu": 0}, "1 to 1422"),
        ({"mtu": 1374, "shroud": True}, "1 to 1373"),
        ({"mtu": 1403, "peer": Address("2001:db8::1", 1)}, "1 to 1402"),
        ({"mtu": 600, "mtu_discovery": True}, "from 623"),
        ({"tfc": True, "mtu_discovery": True}, "fixed"),
        ({"profile": V0_9, "mtu_discovery": True}, "leave mtu_discovery out"),
        ({"shroud": True, "encapsulation": Secret(bytes(32))}, "choose one"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_once(settings: dict[str, Any], remedy: str) -> None:
    with pytest.raises(LocalProtocolError, match=remedy):
        left_of(MemoryNetwork(), **settings)


def test_a_link_has_to_carry_offers_and_has_no_addresses() -> None:
    small, _ = memory_pair(max_message=622)
    with pytest.raises(LocalProtocolError, match="needs 623"):
        Tunnel(small, SECRET)
    with pytest.raises(LocalProtocolError, match="leave it out"):
        Tunnel(memory_pair()[0], SECRET, RIGHT)
    assert Tunnel(memory_pair(max_message=650)[0], SECRET).max_message == 600


def test_over_a_link_that_is_closed_it_does_not_begin() -> None:
    async def main() -> None:
        link, _ = memory_pair()
        link.close()
        tunnel = Tunnel(link, SECRET)
        with pytest.raises(LocalProtocolError, match="was closed"):
            async with tunnel:
                pytest.fail("a tunnel over a closed link began")
        with pytest.raises(LocalProtocolError, match="was closed"):
            await tunnel.ready()
        await tunnel.wait_closed()

    run_jumping(main())


def test_beginning_twice_is_beginning_once() -> None:
    async def main() -> None:
        async with pair() as (left, right):
            assert await left.__aenter__() is left
            await carries(left, right)

    run_jumping(main())


def test_ready_can_be_awaited_again_and_says_how_long_it_waited() -> None:
    async def main() -> None:
        network = MemoryNetwork()
        async with left_of(network) as left:
            with pytest.raises(LinkClosed, match=r"no tunnel within 2\.5 s"):
                await left.ready(2.5)
            async with right_of(network):
                await left.ready()

    run_jumping(main())
