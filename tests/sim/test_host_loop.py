"""The event loop of a simulated host, and its port."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable

import pytest

from chancel.errors import LocalProtocolError
from chancel.links.conformance import check_port
from chancel.links.interface import Port
from chancel.sim.clock import HostClock, VirtualClock
from chancel.sim.host_loop import HostLoop, host_loop
from chancel.sim.models import LinkModel
from chancel.sim.network import Host, Network
from chancel.sim.port import SimulatedPort
from chancel.wire.types import Address


class Computer:
    """A clock, a host's view of it, and the host's loop."""

    def __init__(self) -> None:
        self.virtual = VirtualClock()
        self.clock = HostClock(self.virtual)
        self.loop = host_loop(self.virtual, self.clock)
        self.seen: list[tuple[float, str]] = []

    def note(self, what: str) -> None:
        self.seen.append((self.virtual.now, what))

    async def sleep(self, what: str, *seconds: float) -> None:
        for each in seconds:
            await asyncio.sleep(each)
            self.note(what)


def test_tasks_sleep_on_the_virtual_clock() -> None:
    computer = Computer()
    computer.loop.start(computer.sleep("a", 0.0, 1.0, 3600.0))
    assert computer.seen == [(0.0, "a")]
    computer.loop.start(computer.sleep("b", 1.0))
    computer.virtual.run_until(10_000.0)
    assert computer.seen == [(0.0, "a"), (1.0, "a"), (1.0, "b"), (3601.0, "a")]


def test_everything_that_is_ready_runs_at_its_moment_and_before_the_next_timer() -> None:
    computer = Computer()

    async def relay(steps: int) -> None:
        await asyncio.sleep(1.0)
        for _ in range(steps):
            await asyncio.sleep(0)
        computer.note(f"{steps} steps")

    for steps in (5, 0, 2):
        computer.loop.start(relay(steps))
    computer.virtual.run_until(1.0)
    assert computer.seen == [(1.0, "5 steps"), (1.0, "0 steps"), (1.0, "2 steps")]


def test_no_timer_runs_in_suspend_and_all_are_later_by_it() -> None:
    computer = Computer()
    computer.loop.start(computer.sleep("tick", 10.0, 10.0))
    computer.virtual.run_until(4.0)
    computer.loop.suspend()
    computer.virtual.run_until(104.0)
    assert computer.seen == []
    computer.clock.slept(100.0)
    computer.loop.resume()
    computer.virtual.run_until(200.0)
    assert computer.seen == [(110.0, "tick"), (120.0, "tick")]
    assert computer.loop.run(computer.loop.time) == 100.0


def test_a_cancelled_timer_and_a_timeout() -> None:
    computer = Computer()
    computer.loop.call_at(5.0, computer.note, "cancelled").cancel()

    async def impatient() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.0):
                await asyncio.get_running_loop().create_future()
        computer.note("patience ended")

    computer.loop.start(impatient())
    computer.virtual.run_until(10.0)
    assert computer.seen == [(2.0, "patience ended")]


def test_the_loop_runs_only_inside_and_two_hosts_have_two() -> None:
    one, other = Computer(), Computer()
    assert one.loop.run(asyncio.get_running_loop) is one.loop
    assert other.loop.run(asyncio.get_running_loop) is other.loop
    assert not one.loop.is_running()
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


async def fails_later() -> None:
    await asyncio.sleep(1.0)
    raise LocalProtocolError("made up")


def test_a_program_that_fails_later_fails_the_simulation_then() -> None:
    computer = Computer()
    computer.loop.start(fails_later())
    computer.virtual.run_until(0.9)
    with pytest.raises(LocalProtocolError, match="made up"):
        computer.virtual.run_until(2.0)
    assert computer.virtual.now == 1.0


def test_a_task_that_fails_with_nobody_waiting_for_it_fails_the_simulation() -> None:
    computer = Computer()

    async def careless() -> None:
        asyncio.get_running_loop().create_task(fails_later())

    computer.loop.start(careless())
    with pytest.raises(LocalProtocolError, match="made up"):
        computer.virtual.run_until(5.0)


def spin(loop: HostLoop) -> None:
    loop.call_soon(spin, loop)


def rewind(loop: HostLoop) -> None:
    loop.call_at(0.0, rewind, loop)


@pytest.mark.parametrize(
    ("restless", "word"), [(spin, "never sleep"), (rewind, "wants just that again")]
)
def test_a_loop_that_never_sleeps_is_an_error(
    restless: Callable[[HostLoop], None], word: str
) -> None:
    computer = Computer()
    computer.loop.run(lambda: computer.loop.call_at(1.0, restless, computer.loop))
    with pytest.raises(LocalProtocolError, match=word):
        computer.virtual.run_until(1.0)


def attach(network: Network, address: Address) -> SimulatedPort:
    """A host with a port in the running loop, for which the virtual clock stands still."""

    def transmit(datagram: bytes, destination: Address) -> None:
        network.send(host, datagram, destination)
        asyncio.get_running_loop().call_soon(network.clock.run_until, network.clock.now)

    def receive(datagram: bytes, source: Address, pristine: bool) -> None:
        port.inbox.put((datagram, source))

    host: Host = network.host(address, LinkModel(), receive)
    port = SimulatedPort(host.address, transmit)
    return port


def test_the_port_keeps_the_rules() -> None:
    @contextlib.asynccontextmanager
    async def pair() -> AsyncIterator[tuple[Port, Port]]:
        network = Network(VirtualClock(), random.Random(1))
        left = attach(network, Address("192.0.2.1", 4500))
        right = attach(network, Address("198.51.100.2", 4500))
        async with left, right:
            yield left, right

    asyncio.run(check_port(pair))
