"""The other devices of a group, found through a cathedral, and a tunnel to each.

A liturgy talks to the cathedral on a port of its own; each tunnel has another, as a NAT may treat
them differently. Who is named gets a tunnel; who is not named any more keeps it for as long as
anything comes through it, so that the loss of a cathedral costs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable
from types import TracebackType
from typing import Final, Self

from chancel.crypto.suite import Suite
from chancel.crypto.system import SystemSuite
from chancel.errors import LinkClosed, LocalProtocolError, RemoteProtocolError, VaultError
from chancel.links.interface import Port
from chancel.protocol import liturgy
from chancel.protocol.cathedral_shroud import CathedralShroud
from chancel.protocol.liturgy import MemberCame
from chancel.protocol.profile import CURRENT
from chancel.protocol.registration_events import CathedralSilent, RegistrationEvent
from chancel.protocol.registration_types import StoreRemembrance
from chancel.protocol.session_types import RemembranceNotKept
from chancel.protocol.uncopied import Uncopied
from chancel.tunnel.carrier import PortCarrier
from chancel.tunnel.cathedrals import Cathedrals, settings_of, targets_of
from chancel.tunnel.names import Names
from chancel.tunnel.tunnel import Tunnel
from chancel.tunnel.voice import Voice
from chancel.wire.drop import Drop
from chancel.wire.types import Address

SILENT_S: Final = 30.0
"""A tunnel through which nothing came for so long is closed if its peer is not named, as in the
reference. One that has just begun has as long."""

LOOK_S: Final = 5.0
"""How often that is looked at."""

MAX_EVENTS: Final = 256
"""What happened and was taken by nobody; of more the oldest go first."""


@dataclasses.dataclass(frozen=True, slots=True)
class Joined:
    """A device of the group is there, and this tunnel to it has begun. It may be up in a moment."""

    device: int
    tunnel: Tunnel


@dataclasses.dataclass(frozen=True, slots=True)
class Left:
    """A device is gone, and so is its tunnel."""

    device: int


LiturgyEvent = Joined | Left | RemembranceNotKept | RegistrationEvent


class Liturgy(Uncopied):
    """A device among others of its group, which find each other through a cathedral.

    ``port`` is for the cathedral alone, and closed at the end. ``cathedrals`` are those of a tunnel
    with a KEK whose ``tunnel`` has our device in its upper byte and 0 in the lower;
    ``make_tunnel`` is given the same with the peer's device in it, and makes a tunnel on a port of
    its own: ``lambda found: Tunnel(UdpPort(), cathedral=found)``.

    ``group`` tells several groups of one flock apart. A *hidden* device is found by those that
    aren't. With ``wanted`` (devices from 1 to 254) only these are met, and those that want us;
    :meth:`want` changes them. ``shroud`` is that towards the cathedral.

    Use it with ``async with``; then :meth:`events` says who comes and goes. What a callback raises
    comes out where the block ends.
    """

    def __init__(
        self,
        port: Port,
        cathedrals: Cathedrals,
        make_tunnel: Callable[[Cathedrals], Tunnel],
        *,
        group: int = 0,
        hidden: bool = False,
        wanted: Iterable[int] | None = None,
        shroud: bool = False,
        suite: Suite | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        if cathedrals.kek is None:
            raise LocalProtocolError("a liturgy needs a KEK: the secrets of tunnels are wrapped")
        self._carrier = PortCarrier(port)
        self._cathedrals = cathedrals
        self._make_tunnel = make_tunnel
        self._group, self._hidden, self._wanted = group, hidden, wanted
        self._shrouded = shroud
        self._suite = SystemSuite() if suite is None else suite
        self._wall = wall
        self._tunnels: dict[int, Tunnel] = {}
        self._begun_at: dict[int, float] = {}
        self._named: frozenset[int] = frozenset()
        self._events: deque[LiturgyEvent] = deque(maxlen=MAX_EVENTS)
        self._changed = asyncio.Event()
        self._ended = False
        self._refused: Counter[Drop] = Counter()
        self._tasks: list[asyncio.Task[None]] = []
        self._machine: liturgy.Liturgy | None = None

    def __repr__(self) -> str:
        return f"<Liturgy of {len(self._tunnels)} tunnels>"

    @property
    def tunnels(self) -> dict[int, Tunnel]:
        """The tunnels by the device at their other end, at this moment."""
        return dict(self._tunnels)

    @property
    def drops(self) -> Counter[Drop]:
        """What was refused of what came for us as from a cathedral, by reason."""
        return self._refused + (Counter() if self._machine is None else self._machine.drops)

    def want(self, devices: Iterable[int]) -> None:
        """Meet these from now on. Raises ``LocalProtocolError`` for one that can't be."""
        self.check_process()
        machine = self._running()
        machine.want(devices, asyncio.get_running_loop().time())
        self._poke()

    async def events(self) -> AsyncIterator[LiturgyEvent]:
        """What happens, as it happens, until the end. Each event goes to one reader."""
        while True:
            while self._events:
                yield self._events.popleft()
            if self._ended:
                return
            self._changed.clear()
            await self._changed.wait()

    async def __aenter__(self) -> Self:
        self.check_process()
        if self._tasks:
            raise LocalProtocolError(f"{self!r} has begun already")
        loop = asyncio.get_running_loop()
        now = loop.time()
        settings = settings_of(self._cathedrals, None)
        self._keep_remembrance = settings.keep_remembrance
        self._machine = liturgy.Liturgy(
            self._suite,
            settings.registrant,
            settings.cathedrals,
            *(now, self._wall()),
            group=self._group,
            hidden=self._hidden,
            wanted=self._wanted,
        )
        if settings.remembered:
            self._machine.remembered(settings.remembered, now)
        self._shroud = (
            CathedralShroud(settings.registrant, self._suite, now) if self._shrouded else None
        )
        self._carrier.take()
        self._voice = Voice(self._carrier, asyncio.Lock())
        self._names = Names(targets_of(self._cathedrals), self._resolved)
        self._poked = asyncio.Event()
        await self._carrier.open()
        for work in (self._read(), self._names.run(), self._look_after()):
            task = asyncio.create_task(work, name=repr(self))
            task.add_done_callback(self._done)
            self._tasks.append(task)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for device in list(self._tunnels):
            await self._part(device)
        self._voice.cancel()
        self._carrier.close()
        await self._carrier.wait_closed()
        self._end()
        for task in self._tasks:
            if not task.cancelled() and (failed := task.exception()) is not None and error is None:
                raise failed

    def _done(self, task: asyncio.Task[None]) -> None:
        """What failed is raised where the block ends; nothing more will happen until then."""
        if not task.cancelled() and task.exception() is not None:
            self._end()

    def _end(self) -> None:
        self._ended = True
        self._changed.set()

    def _running(self) -> liturgy.Liturgy:
        if self._machine is None or self._ended:
            raise LocalProtocolError(f"{self!r} doesn't run: use it with 'async with'")
        return self._machine

    def _poke(self) -> None:
        """There is something to do at once."""
        self._poked.set()

    def _resolved(self, cathedrals: tuple[Address, ...]) -> None:
        self._running().resolved(cathedrals, asyncio.get_running_loop().time())
        self._poke()

    async def _read(self) -> None:
        """Take what comes. A closed port is the end of it."""
        machine, loop = self._running(), asyncio.get_running_loop()
        with contextlib.suppress(LinkClosed):
            while True:
                for datagram, source in await self._carrier.receive(MAX_EVENTS):
                    try:
                        bare = self._unwrapped_untrusted(datagram)
                    except RemoteProtocolError as refusal:
                        self._refused[refusal.reason] += 1
                        continue
                    machine.receive(bare, source, loop.time(), self._wall())
                self._poke()

    async def _look_after(self) -> None:
        """Do what is due, and all that becomes of it."""
        machine, loop = self._running(), asyncio.get_running_loop()
        look_at = loop.time() + LOOK_S
        while True:
            now = loop.time()
            self._poked.clear()
            self._wake_shroud(now)
            machine.wake(now, self._wall())
            self._say(machine.datagrams(), now)
            await self._obey(machine)
            if now >= look_at:
                look_at = now + LOOK_S
                await self._part_from_the_silent(now)
            due = machine.wake_at()
            until = look_at if due is None else min(due, look_at)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(max(until, loop.time())):
                    await self._poked.wait()

    async def _obey(self, machine: liturgy.Liturgy) -> None:
        for command in machine.commands():
            match command:
                case MemberCame(device=device) if device not in self._tunnels:
                    await self._meet(device)
                case StoreRemembrance(data=data) if self._keep_remembrance is not None:
                    try:
                        self._keep_remembrance(data)
                    except VaultError as error:
                        self._tell(RemembranceNotKept(str(error)))
        self._named = machine.members
        while (event := machine.next_event()) is not None:
            self._tell(event)
            if isinstance(event, CathedralSilent):
                self._names.look()

    async def _meet(self, device: int) -> None:
        given = self._cathedrals
        one = dataclasses.replace(given, tunnel=given.tunnel | device, remembrance=None)
        tunnel = self._make_tunnel(one)
        await tunnel.__aenter__()
        self._tunnels[device] = tunnel
        self._begun_at[device] = asyncio.get_running_loop().time()
        self._tell(Joined(device, tunnel))

    async def _part(self, device: int) -> None:
        tunnel = self._tunnels.pop(device)
        del self._begun_at[device]
        tunnel.close()
        await tunnel.wait_closed()
        self._tell(Left(device))

    async def _part_from_the_silent(self, now: float) -> None:
        for device, tunnel in list(self._tunnels.items()):
            if device in self._named or now < self._begun_at[device] + SILENT_S:
                continue
            session = tunnel.status().session
            age = None if session is None else session.alive_age_s
            if age is None or age >= SILENT_S or not tunnel.is_up:
                await self._part(device)

    def _tell(self, event: LiturgyEvent) -> None:
        self._events.append(event)
        self._changed.set()

    def _wake_shroud(self, now: float) -> None:
        if self._shroud is not None and now >= self._shroud.keys.wake_at():
            self._shroud.keys.wake(now)
            self._shroud.take()
            while self._shroud.keys.next_event() is not None:
                pass  # the machine reads the same secret, and says what is wrong with it

    def _say(self, datagrams: list[tuple[bytes, Address]], now: float) -> None:
        if self._shroud is None:
            self._voice.say(datagrams)
            return
        limit = min(CURRENT.mtu_maximum, self._carrier.max_datagram)
        for datagram, to in datagrams:
            wrapped = self._shroud.wrap(datagram, limit, now)
            if wrapped is None:
                self._refused[Drop.NO_MASK] += 1
            else:
                self._voice.say([(wrapped, to)])

    def _unwrapped_untrusted(self, datagram: bytes) -> bytes:
        return datagram if self._shroud is None else self._shroud.unwrap_untrusted(datagram)
