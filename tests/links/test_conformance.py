"""Every transport of this floor's core keeps the rules, and whoever breaks one is caught."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from chancel.links.conformance import (
    LINK_RULES,
    LISTENER_RULES,
    PORT_RULES,
    Dial,
    Terms,
    check_link,
    check_listener,
    check_port,
)
from chancel.links.conformance.checking import Rule, expect_nothing_left, run_rule
from chancel.links.interface import Link, Listener, Port
from chancel.links.memory import MemoryLink, MemoryNetwork, MemoryPort
from chancel.links.port_link import PortListener
from tests.links import broken, ends

IMPATIENT = Terms(patience_s=2.0, quiet_s=0.05)
"""For what never keeps a rule, however long one waits."""

BAD = Terms(loses=True, duplicates=True, reorders=True, quiet_s=0.02)


@pytest.mark.parametrize(
    ("max_message", "limit", "delay_s"), [(100_000, 64, 0.0), (50, 1, 0.0), (3000, 20, 0.001)]
)
def test_a_reliable_memory_link(max_message: int, limit: int, delay_s: float) -> None:
    asyncio.run(check_link(lambda: ends.memory_links(max_message, limit, delay_s)))


def test_memory_ports() -> None:
    asyncio.run(check_port(ends.memory_ports))


def test_memory_ports_on_a_slow_network() -> None:
    def slow() -> MemoryNetwork:
        return MemoryNetwork(1, delay_s=0.002, jitter_s=0.001)

    asyncio.run(check_port(lambda: ends.memory_ports(slow)))


def test_memory_ports_on_a_bad_network() -> None:
    def bad() -> MemoryNetwork:
        return MemoryNetwork(2, loss=0.1, duplicate=0.1, reorder=0.1, delay_s=0.001)

    asyncio.run(check_port(lambda: ends.memory_ports(bad), BAD))


@pytest.mark.parametrize("host", [ends.LOOPBACK, "::1"])
@pytest.mark.parametrize("offload", [True, False])
def test_udp_ports(host: str, offload: bool) -> None:
    asyncio.run(check_port(lambda: ends.udp_ports(host, offload=offload)))


def test_listeners_over_ports() -> None:
    asyncio.run(check_listener(ends.udp_listener))
    asyncio.run(check_listener(ends.memory_listener))


def test_links_of_a_listener() -> None:
    asyncio.run(check_link(ends.listened_links))


BROKEN_LINKS: dict[type[MemoryLink], str] = {
    broken.SaysNotWhoThePeerIs: "describes_itself",
    broken.Loses: "any_size_arrives",
    broken.Splits: "any_size_arrives",
    broken.Alters: "any_size_arrives",
    broken.Doubles: "bursts_arrive",
    broken.TurnsBatches: "batches_arrive",
    broken.IgnoresTheLimit: "batches_have_a_limit",
    broken.KeepsBuffers: "buffers_are_not_kept",
    broken.KeepsViews: "buffers_are_not_kept",
    broken.CutsOversized: "oversized_are_refused",
    broken.SendsUpToTheOversized: "oversized_are_refused",
    broken.HalfDuplex: "both_ways_at_once",
    broken.Unbounded: "memory_is_bounded",
    broken.LosesWhenFull: "a_slow_reader_loses_nothing",
    broken.SendsFromOneBuffer: "several_tasks_send",
    broken.TakesTooEarly: "receive_after_the_message",
    broken.HandsOverToWhoWaits: "receive_before_the_message",
    broken.TakesBatchesOneByOne: "receive_batch_is_cancelled",
    broken.TearsSends: "send_is_cancelled",
    broken.SkipsInBatches: "send_batch_is_cancelled",
    broken.StaysBusy: "waiting_sends_are_cancelled",
    broken.GivesUpWhenCancelled: "wait_closed_is_cancelled",
    broken.ClosesOnce: "close_can_be_repeated",
    broken.ClosesOnlyWhenUsed: "close_before_use",
    broken.WorksWhenClosed: "a_closed_link_is_not_used",
    broken.StaysOpen: "async_with_closes",
    broken.LetsReceiversWait: "close_wakes_receive",
    broken.LetsSendersWait: "close_wakes_send",
    broken.RaisesInLoops: "iteration_ends_at_close",
    broken.EndsLoopsOnlyWhenWaiting: "closing_in_the_loop_ends_it",
    broken.DropsTheRest: "the_rest_is_received",
    broken.SendsIntoNothing: "send_notices_the_end",
    broken.NeverSaysGoodbye: "the_peer_wakes_receive",
    broken.SendsWhenThePeerIsGone: "the_peer_wakes_send",
    broken.TwoReaders: "one_task_receives",
    broken.AnyLoop: "one_event_loop",
}

BROKEN_PORTS: dict[type[MemoryPort], str] = {
    broken.LocalIsNoAddress: "describes_itself",
    broken.NamesWrongSources: "sources_are_true",
    broken.SortsBySize: "runs_keep_their_order",
    broken.RaisesWhatIcmpSays: "nobody_there_is_no_error",
    broken.SendsOversized: "oversized_are_refused",
}

BROKEN_LISTENERS: dict[type[PortListener], str] = {
    broken.HasNoAddress: "describes_itself",
    broken.OneLinkForAll: "each_caller_gets_a_link",
    broken.AcceptsTooEarly: "accept_is_cancelled",
    broken.LetsAcceptWait: "close_wakes_accept",
    broken.AcceptsWhenClosed: "a_closed_listener_is_not_used",
    broken.ClosesItsLinks: "accepted_links_stay",
    broken.AcceptsForEver: "iteration_gives_links",
    broken.ListensInAnyLoop: "one_event_loop",
}


@pytest.mark.parametrize("kind", BROKEN_LINKS)
def test_a_broken_link_is_caught(kind: type[MemoryLink]) -> None:
    @contextlib.asynccontextmanager
    async def make() -> AsyncIterator[tuple[Link, Link]]:
        left, right = kind("left", 3000, 20, 0.0), kind("right", 3000, 20, 0.0)
        left.other, right.other = right, left
        yield left, right

    caught(LINK_RULES, BROKEN_LINKS[kind], make)


@pytest.mark.parametrize("kind", BROKEN_PORTS)
def test_a_broken_port_is_caught(kind: type[MemoryPort]) -> None:
    @contextlib.asynccontextmanager
    async def make() -> AsyncIterator[tuple[Port, Port]]:
        network = MemoryNetwork()
        ports = [kind(network, address) for address in (ends.LEFT, ends.RIGHT)]
        network._ports.update({port._address: port for port in ports})
        yield ports[0], ports[1]

    caught(PORT_RULES, BROKEN_PORTS[kind], make)


@pytest.mark.parametrize("kind", BROKEN_LISTENERS)
def test_a_broken_listener_is_caught(kind: type[PortListener]) -> None:
    @contextlib.asynccontextmanager
    async def make() -> AsyncIterator[tuple[Listener, Dial]]:
        async with ends.memory_listener(kind) as made:
            yield made

    caught(LISTENER_RULES, BROKEN_LISTENERS[kind], make)


def caught(rules: Sequence[Rule[Any, Any]], name: str, make: Any) -> None:
    """The rule of that name raises, and the error begins with what it says."""
    [rule] = [rule for rule in rules if rule.__name__ == name]
    with pytest.raises(AssertionError) as error:
        asyncio.run(run_rule(rule, make, IMPATIENT))
    assert str(error.value).startswith((rule.__doc__ or "").rstrip("."))


def test_there_is_somebody_who_breaks_each_rule() -> None:
    for rules, breakers in (
        (LINK_RULES, BROKEN_LINKS),
        (PORT_RULES, BROKEN_PORTS),
        (LISTENER_RULES, BROKEN_LISTENERS),
    ):
        assert {rule.__name__ for rule in rules} == set(breakers.values())


def test_tasks_that_stay_are_caught() -> None:
    @contextlib.asynccontextmanager
    async def make() -> AsyncIterator[tuple[Link, Link]]:
        left = broken.LeavesATask("left", 3000, 20, 0.0)
        right = broken.LeavesATask("right", 3000, 20, 0.0)
        left.other, right.other = right, left
        async with left, right:
            yield left, right

    with pytest.raises(AssertionError, match="Closing ends all tasks: <coroutine object sleep"):
        asyncio.run(expect_nothing_left(make, IMPATIENT))


def test_both_ends_are_checked() -> None:
    @contextlib.asynccontextmanager
    async def make() -> AsyncIterator[tuple[Link, Link]]:
        left = MemoryLink("left", 3000, 20, 0.0)
        right = broken.SaysNotWhoThePeerIs("right", 3000, 20, 0.0)
        left.other, right.other = right, left
        async with left, right:
            yield left, right

    with pytest.raises(AssertionError, match="A link says what it is: peer is 'somebody'"):
        asyncio.run(check_link(make))


def test_what_the_terms_excuse_is_not_excused_without_them() -> None:
    def bad() -> MemoryNetwork:
        return MemoryNetwork(2, duplicate=0.2)

    asyncio.run(check_port(lambda: ends.memory_ports(bad), Terms(duplicates=True, quiet_s=0.02)))
    with pytest.raises(AssertionError, match="arrived more than once"):
        asyncio.run(check_port(lambda: ends.memory_ports(bad)))


def test_altered_messages_are_never_excused() -> None:
    def bad() -> MemoryNetwork:
        return MemoryNetwork(2, corrupt=0.1)

    with pytest.raises(AssertionError, match="arrived that nobody had sent"):
        asyncio.run(check_port(lambda: ends.memory_ports(bad), BAD))
