"""Programs that find each other in a liturgy: who comes, who goes, and what passes between them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from chancel.errors import LocalProtocolError
from chancel.links.memory import MemoryNetwork
from chancel.tunnel import Cathedrals, Tunnel
from chancel.tunnel.liturgy import Joined, Left, Liturgy
from chancel.wire.remembrance import TABLE_BYTES
from chancel.wire.types import Address
from tests.tunnel.pair import run_jumping, wall
from tests.tunnel.parish import HERE, Parish

TRIO = (0x0A, 0x0B, 0x0C)
UP_S = 60.0


class Member:
    """A device with its liturgy, and its hosts' ports."""

    def __init__(
        self, parish: Parish, device: int, *, first_port: int = 1000, **options: Any
    ) -> None:
        self.network = parish.network
        self.device = device
        self._ports = itertools.count(first_port)
        shroud = options.get("shroud", False)
        given = {"kek": parish.keks[device], **options.pop("given", {})}

        def meet(found: Cathedrals) -> Tunnel:
            return Tunnel(self.port(), cathedral=found, shroud=shroud, wall=wall())

        self.liturgy = Liturgy(
            self.port(), parish.given(device, 0, **given), meet, wall=wall(), **options
        )

    def port(self) -> Any:
        return self.network.port(Address(f"198.51.100.{self.device}", next(self._ports)))

    @property
    def sees(self) -> set[int]:
        return set(self.liturgy.tunnels)


async def until(condition: Callable[[], bool], limit_s: float = UP_S) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.1)


async def greet(one: Member, other: Member) -> None:
    left, right = one.liturgy.tunnels[other.device], other.liturgy.tunnels[one.device]
    await left.ready(UP_S)
    await right.ready(UP_S)
    words = f"{one.device} to {other.device}".encode()
    await left.send(words)
    assert await right.receive() == words


@pytest.mark.parametrize("shroud", [False, True])
def test_three_meet_and_one_leaves_and_returns(shroud: bool) -> None:
    async def main() -> None:
        parish = Parish(MemoryNetwork(), shroud=shroud, devices=TRIO)
        parish.roll()
        async with parish.served(), AsyncExitStack() as stack:
            members = [Member(parish, device, shroud=shroud) for device in TRIO]
            one, two, three = members
            for member in (one, two):
                await stack.enter_async_context(member.liturgy)
            async with three.liturgy:
                await until(lambda: all(len(each.sees) == 2 for each in members))
                for pair in itertools.permutations(members, 2):
                    await greet(*pair)
            assert three.sees == set()
            await until(lambda: one.sees == {two.device}, 200)
            events = [event async for event in taken(one.liturgy)]
            happened = [each for each in events if isinstance(each, Joined | Left)]
            assert [type(each) for each in happened] == [Joined, Joined, Left]
            assert happened[-1] == Left(three.device)
            again = Member(parish, three.device, first_port=5000, shroud=shroud)
            await stack.enter_async_context(again.liturgy)
            await until(lambda: three.device in one.sees)
            await greet(one, again)
            assert one.liturgy.drops.total() == 0

    run_jumping(main())


async def taken(liturgy: Liturgy) -> Any:
    """What has happened by now."""
    events = liturgy.events()
    while True:
        try:
            async with asyncio.timeout(0.1):
                yield await anext(events)
        except TimeoutError:
            return


def test_a_cathedral_that_dies_costs_no_tunnel() -> None:
    async def main() -> None:
        parish = Parish(MemoryNetwork(), devices=TRIO[:2])
        parish.roll()
        one, two = (Member(parish, device) for device in TRIO[:2])
        async with one.liturgy, two.liturgy:
            async with parish.served():
                await until(lambda: bool(one.sees and two.sees))
                tunnel = one.liturgy.tunnels[two.device]
                await tunnel.ready(UP_S)
                await until(lambda: tunnel.peer.name != str(HERE))
            await asyncio.sleep(300)
            assert one.liturgy.tunnels == {two.device: tunnel}
            await greet(one, two)

    run_jumping(main())


def test_wishes_change_who_is_met() -> None:
    async def main() -> None:
        parish = Parish(MemoryNetwork(), devices=TRIO)
        parish.roll()
        one, two, three = (Member(parish, device, wanted=()) for device in TRIO)
        async with parish.served(), one.liturgy, two.liturgy, three.liturgy:
            await asyncio.sleep(20)
            assert not one.sees | two.sees | three.sees
            one.liturgy.want([two.device])
            await until(lambda: (one.sees, two.sees) == ({two.device}, {one.device}))
            assert not three.sees
            with pytest.raises(LocalProtocolError, match="1 to 254"):
                one.liturgy.want([255])

    run_jumping(main())


def test_what_a_cathedral_remembers_is_kept(tmp_path: Path) -> None:
    async def main() -> None:
        parish = Parish(MemoryNetwork(), devices=TRIO)
        file = tmp_path / "remembrance"
        one = Member(parish, TRIO[0], given={"remembrance": file})
        async with parish.served(), one.liturgy:
            await until(file.exists)
        assert file.stat().st_size == TABLE_BYTES

    run_jumping(main())


def test_what_cannot_be_is_refused() -> None:
    async def main() -> None:
        parish = Parish(MemoryNetwork(), devices=TRIO)
        with pytest.raises(LocalProtocolError, match="KEK"):
            Member(parish, TRIO[1], given={"kek": None})
        one = Member(parish, TRIO[0])
        with pytest.raises(LocalProtocolError, match="async with"):
            one.liturgy.want([1])
        async with one.liturgy:
            with pytest.raises(LocalProtocolError, match="already"):
                await one.liturgy.__aenter__()

    run_jumping(main())


def test_what_a_callback_raises_comes_out() -> None:
    def fail(found: Cathedrals) -> Tunnel:
        raise ZeroDivisionError(found.tunnel)

    async def main() -> None:
        parish = Parish(MemoryNetwork(), devices=TRIO)
        parish.roll()
        one = Member(parish, TRIO[0])
        failing = Liturgy(one.port(), parish.given(TRIO[1], 0, kek=bytes(32)), fail, wall=wall())
        async with parish.served(), one.liturgy:
            with pytest.raises(ZeroDivisionError):
                async with failing:
                    assert not [event async for event in failing.events()]  # and it ends

    run_jumping(main())
