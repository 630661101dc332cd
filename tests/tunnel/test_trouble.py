"""Loss, disorder, restarts, moves, silence, and long times: a tunnel gets through, or says why."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence

import pytest

from chancel.links.memory import MemoryNetwork, Trouble
from chancel.links.port_link import PortLink
from chancel.protocol.events import (
    ExchangeStarted,
    MtuChanged,
    PathChanged,
    PeerRestarted,
    PeerUnresponsive,
    Reason,
    SendKeyInstalled,
)
from chancel.protocol.profile import CURRENT
from chancel.tunnel import Down, Refused, Tunnel, Up
from chancel.wire.drop import Drop
from chancel.wire.types import Address, Buffer
from tests.tunnel.pair import (
    LEFT,
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

HOUR_S = 3600.0
LOST = Trouble(loss=1.0)
GOOD = Trouble()


def numbered(count: int) -> list[bytes]:
    return [number.to_bytes(4, "big") * 20 for number in range(count)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shroud", [False, True])
def test_what_a_bad_network_lets_through_is_unaltered_and_comes_once(
    seed: int, shroud: bool
) -> None:
    async def main() -> None:
        network = MemoryNetwork(
            seed,
            loss=0.1,
            duplicate=0.1,
            reorder=0.1,
            corrupt=0.05,
            delay_s=0.02,
            jitter_s=0.01,
        )
        async with pair(network, shroud=shroud) as (left, right):
            sent = numbered(400)
            for at in range(0, len(sent), 20):
                await left.send_batch(sent[at : at + 20])
                await asyncio.sleep(0.005)
            arrived = await all_that_comes(right)
            assert set(arrived) <= set(sent)
            assert len(arrived) == len(set(arrived)) > 250
            assert right.drops[Drop.DUPLICATE] > 10
            assert left.is_up
            assert right.is_up

    run_jumping(main())


def test_an_idle_hour_is_nothing() -> None:
    """Heartbeats keep both content; keys are renewed; nothing is dropped, nobody is ever down."""

    async def main() -> None:
        network = MemoryNetwork(delay_s=0.01)
        async with pair(network) as ends:
            diaries = [Diary(end) for end in ends]
            await asyncio.sleep(60)
            quiet_from = network.sent
            await asyncio.sleep(HOUR_S)
            assert network.sent - quiet_from < 2 * HOUR_S / 15 + 100
            left, right = ends
            await left.send(b"still there?")
            assert await right.receive() == b"still there?"
            for end, diary in zip(ends, diaries, strict=True):
                assert not end.drops
                assert not diary.happened(Down)
                assert len(diary.happened(SendKeyInstalled)) == 2

    run_jumping(main())


@pytest.mark.parametrize("reliable", [True, False])
def test_keys_change_under_traffic_without_a_gap(reliable: bool) -> None:
    profile = dataclasses.replace(CURRENT, rekey_packets=300)

    async def main() -> None:
        ends = linked(profile=profile) if reliable else pair(profile=profile)
        async with ends as (left, right):
            diary = Diary(left)
            sent = numbered(3000)
            reading = [asyncio.create_task(all_that_comes(end)) for end in (left, right)]
            for at in range(0, len(sent), 50):
                await left.send_batch(sent[at : at + 50])
                await right.send(b"back")
                await asyncio.sleep(0.2)
            assert await asyncio.gather(*reading) == [[b"back"] * 60, sent]
            assert len(diary.happened(SendKeyInstalled)) > 5
            assert {each.reason for each in diary.happened(ExchangeStarted)} >= {
                Reason.PEER_RENEGOTIATES
            }

    run_jumping(main())


def test_a_peer_that_restarts_is_back_at_once() -> None:
    async def main() -> None:
        network = MemoryNetwork(delay_s=0.01)
        async with right_of(network) as right:
            diary = Diary(right)
            for _ in range(3):
                async with left_of(network) as left:
                    await both_ready(left, right)
                    await left.send(b"hello again")
                    async with asyncio.timeout(5):
                        assert await right.receive() == b"hello again"
                    await asyncio.sleep(20)
            assert len(diary.happened(PeerRestarted)) == 2
            assert not diary.happened(Down)

    run_jumping(main())


def test_a_peer_that_is_silent_is_given_up_and_taken_back() -> None:
    async def main() -> None:
        network = MemoryNetwork()
        async with pair(network) as (left, right):
            diary = Diary(left)
            network.trouble = LOST
            await asyncio.sleep(150)
            (down,) = diary.happened(Down)
            assert "120 s" in down.why
            assert diary.happened(PeerUnresponsive)
            assert not left.is_up
            assert "doesn't answer" in str(left.status().problem)
            assert left.peer.authenticated
            network.trouble = GOOD
            await both_ready(left, right)
            assert len(diary.happened(Up)) == 2

    run_jumping(main())


def test_while_keys_are_lost_send_waits_and_loses_nothing() -> None:
    async def main() -> None:
        network = MemoryNetwork()
        async with pair(network) as (left, right):
            network.trouble = LOST
            await asyncio.sleep(150)
            sending = [asyncio.create_task(left.send_batch([b"1", b"2"])) for _ in range(2)]
            await asyncio.sleep(10)
            assert not any(task.done() for task in sending)
            network.trouble = GOOD
            await asyncio.gather(*sending)
            assert await all_that_comes(right) == [b"1", b"2", b"1", b"2"]

    run_jumping(main())


def test_a_key_that_got_too_old_takes_the_tunnel_down() -> None:
    """The peer is heard, so it is not given up; but the exchange fails."""
    profile = dataclasses.replace(CURRENT, rekey_age_s=1e9, send_limit_age_s=100.0)

    async def main() -> None:
        async with pair(profile=profile) as (left, _):
            diary = Diary(left)
            await asyncio.sleep(101)
            sending = asyncio.create_task(left.send(b"x"))
            await asyncio.sleep(1)
            assert not sending.done()
            (down,) = diary.happened(Down)
            assert "too old" in down.why
            sending.cancel()

    run_jumping(main())


def test_a_peer_that_moves_is_followed() -> None:
    async def main() -> None:
        network = MemoryNetwork()
        async with pair(network) as (left, right):
            diary = Diary(right)
            elsewhere = Address("198.51.100.7", 7)
            move(network, LEFT, elsewhere)
            await left.send(b"from elsewhere")
            assert await right.receive() == b"from elsewhere"
            await right.send(b"answer")
            assert await left.receive() == b"answer"
            assert right.peer.name == str(elsewhere)
            assert diary.happened(PathChanged)[-1] == PathChanged(elsewhere)

    run_jumping(main())


def move(network: MemoryNetwork, old: Address, new: Address) -> None:
    """From now on a port is seen at another address, as behind a NAT that was restarted."""
    carry = network.carry

    def moved(datagram: bytes, source: Address, destination: Address) -> None:
        destination = old if destination == new else destination
        carry(datagram, new if source == old else source, destination)

    network.carry = moved  # type: ignore[method-assign]


def test_the_mtu_of_a_narrow_path_is_found_out() -> None:
    async def main() -> None:
        network = MemoryNetwork()
        narrow(network, 1300)
        async with pair(network, mtu_discovery=True) as (left, right):
            diary = Diary(left)
            assert left.max_message == 1422
            await asyncio.sleep(60)
            assert diary.happened(MtuChanged)
            assert 1200 < left.max_message <= 1250
            await left.send(bytes(left.max_message))
            assert await right.receive() == bytes(left.max_message)

    run_jumping(main())


def test_over_a_reliable_link_a_slow_reader_loses_nothing() -> None:
    async def main() -> None:
        async with linked(limit=16) as (left, right):
            sent = numbered(4000)
            sending = asyncio.create_task(left.send_batch(sent))
            await asyncio.sleep(1)
            assert not sending.done()
            assert right.status().waiting == 1024
            assert await all_that_comes(right) == sent
            await sending
            assert right.status().lost == 0

    run_jumping(main())


def test_over_a_port_what_a_slow_reader_loses_is_counted() -> None:
    async def main() -> None:
        async with pair() as (left, right):
            for _ in range(30):
                await left.send_batch(numbered(100))
                await asyncio.sleep(0.001)
            status = right.status()
            assert (status.waiting, status.lost) == (1024, 3000 - 1024)
            assert len(await all_that_comes(right)) == 1024

    run_jumping(main())


def test_two_ends_that_both_send_and_do_not_read_still_stay_alive() -> None:
    """Neither waits for the other to take its heartbeats before it reads on."""

    async def main() -> None:
        async with linked(limit=4) as (left, right):
            sent = numbered(3000)
            sending = [asyncio.create_task(end.send_batch(sent)) for end in (left, right)]
            await asyncio.sleep(20)
            assert not any(task.done() for task in sending)
            reading = [asyncio.create_task(all_that_comes(end)) for end in (left, right)]
            assert await asyncio.gather(*reading) == [sent, sent]
            await asyncio.gather(*sending)
            assert left.is_up
            assert right.is_up

    run_jumping(main())


def test_a_slow_line_carries_an_exchange() -> None:
    """9,600 baud: one round of offers takes longer than the interval between rounds."""

    async def main() -> None:
        network = MemoryNetwork()
        slow = [SlowLink(link) for link in network.links()]
        left, right = (Tunnel(link, SECRET, wall=wall()) for link in slow)
        async with left, right:
            await both_ready(left, right)
            await left.send(b"slowly")
            assert await right.receive() == b"slowly"

    run_jumping(main())


class SlowLink(PortLink):
    """A link that takes 960 bytes per second."""

    def __init__(self, fast: PortLink) -> None:
        super().__init__(fast._port, fast._address)

    async def send_batch(self, messages: Sequence[Buffer]) -> None:
        for message in messages:
            await asyncio.sleep(len(message) / 960)
            await self.send(message)


def test_a_large_batch_on_a_slow_line_leaves_turns_for_heartbeats() -> None:
    async def main() -> None:
        network = MemoryNetwork()
        left, right = (Tunnel(SlowLink(link), SECRET, wall=wall()) for link in network.links())
        async with left, right:
            await both_ready(left, right)
            sending = asyncio.create_task(left.send_batch([bytes(1000)] * 100))
            heartbeats = []
            for _ in range(10):
                await asyncio.sleep(10)
                session = right.status().session
                assert session is not None
                heartbeats.append(session.heartbeat_age_s)
            assert max(age for age in heartbeats if age is not None) < 35
            assert not sending.done()
            sending.cancel()

    run_jumping(main())


def test_what_was_refused_long_ago_explains_nothing() -> None:
    async def main() -> None:
        network = MemoryNetwork()
        async with right_of(network) as right:
            diary = Diary(right)
            async with left_of(network, secret=bytes(32)):
                assert "same secret" in await why_not(right, 3)
            async with left_of(network) as left:
                await both_ready(left, right)
            await asyncio.sleep(200)
            assert diary.happened(Down)
            assert "no peer has called" in str(right.status().problem)
            assert len(diary.happened(Refused)) == 1
            async with left_of(network, secret=bytes(32)):
                assert "same secret" in await why_not(right, 3)
            assert len(diary.happened(Refused)) == 2

    run_jumping(main())
