"""A parish: any number of devices behind any routers, at cathedrals that are federated.

A :class:`~chancel.sim.meeting.Meeting` is two devices taken apart by a test; this is as many as one
likes, seen from above. Each tunnel has a ledger of its own, which judges it as those of a pair.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterable
from typing import Final

from chancel.crypto.suite import Suite
from chancel.protocol.cathedral.settings import Allow, FlockSettings, Options, Settings
from chancel.protocol.session_types import CathedralSettings, SessionEvent, SessionSettings
from chancel.sim.cathedral_node import CathedralNode
from chancel.sim.clock import VirtualClock
from chancel.sim.ledger import Ledger, Violation
from chancel.sim.meeting import Disk
from chancel.sim.models import LinkModel
from chancel.sim.network import Network, Realm
from chancel.sim.parish_device import Device, TunnelEnd
from chancel.sim.parish_keys import KEY_BYTES, ParishKeys, identity
from chancel.sim.parish_plan import Plan, Resident
from chancel.sim.places import PLACES, can_be_direct, can_connect
from chancel.sim.scenario_events import Line, Word
from chancel.sim.suite import FastSuite
from chancel.sim.trace import Trace
from chancel.vault.secret import Secret
from chancel.wire.types import Address, FlockId

PORT: Final = 4500
NAT_PORT: Final = 4501
MTU: Final = 1373

Listener = Callable[[TunnelEnd, SessionEvent, Word | None], None]


@dataclasses.dataclass(slots=True, eq=False)
class Tunnel:
    """Two ends and the ledger between them."""

    ends: tuple[TunnelEnd, TunnelEnd]
    ledger: Ledger

    @property
    def up(self) -> bool:
        """Whether each end has keys and has lately heard the other."""
        return all(end.teller.up for end in self.ends)

    @property
    def direct(self) -> bool:
        """Whether it is up, and both ends send straight to each other."""
        return self.up and all(end.teller.direct for end in self.ends)


class Parish:
    """Everything a plan names, without power until :meth:`start`.

    ``lines`` is what happened to tunnels, in words, if it is kept; ``listeners`` hear of each event
    of each end. All randomness comes from the plan's seed, through ``suite`` as well.
    """

    def __init__(
        self,
        plan: Plan,
        suite: Callable[[random.Random], Suite] = FastSuite,
        *,
        keep_lines: bool = False,
        keep_trace: bool = False,
    ) -> None:
        self.plan = plan
        self.clock = VirtualClock()
        self.rng = random.Random(plan.seed)  # noqa: S311 - repeatable on purpose
        self.network = Network(self.clock, self.rng)
        self.trace = Trace(keep_trace)
        self.lines: list[Line] = []
        self.listeners: list[Listener] = []
        self.generation = 0
        self._suite = suite
        self._keep_lines = keep_lines
        self._keys = ParishKeys(plan, self.rng, suite)
        self._networks = 0
        self._groups: dict[str, int] = {}
        self._hosts: dict[str, tuple[str, ...]] = {}
        self.cathedrals = self._cathedrals()
        self.devices = [Device(resident) for resident in plan.residents]
        self.tunnels = self._tunnels()
        self._tunnel_of = {end: tunnel for tunnel in self.tunnels for end in tunnel.ends}
        if plan.ambry:
            self.roll()

    def start(self) -> None:
        """Power on cathedrals, then the devices that begin with power."""
        for cathedral in self.cathedrals:
            cathedral.start()
        for number, device in enumerate(self.devices):
            if device.resident.on:
                self.power_on(number)

    def run(self, seconds: float) -> None:
        """Let this much time pass."""
        self.clock.run_until(self.clock.now + seconds)

    def power_on(self, number: int) -> None:
        """Give a device power."""
        self.devices[number].start(self.clock.now)

    def power_off(self, number: int) -> None:
        """Take it away, with all that is not written down."""
        self.disturb([number])
        for end in self.devices[number].stop():
            self._tell(end, Word.DOWN)

    def suspend(self, number: int, seconds: float) -> None:
        """Have a device sleep."""
        self.disturb([number])
        self.devices[number].suspend(seconds)

    def move(self, number: int, place: str) -> None:
        """Have a device be in a new network of another kind."""
        self.disturb([number])
        device = self.devices[number]
        device.place = place
        device.on_at = self.clock.now
        host, realm = self._network_at(device.resident.name, place)
        for end in device.ends:
            end.move(Address(host, end.address.port), realm, _uplink(device.resident, place))

    def roll(self) -> None:
        """Serve new bundles at all cathedrals."""
        self.generation = 1 + self.rng.getrandbits(31)
        bundles = self._keys.bundles(self.generation, self.clock.now)
        for cathedral in self.cathedrals:
            cathedral.serve_each(bundles)

    def split(self, groups: Iterable[Iterable[str]]) -> None:
        """Let nothing pass between these groups of devices and cathedrals, by name."""
        self.disturb(range(len(self.devices)))
        self._groups = {
            host: number
            for number, names in enumerate(groups)
            for name in names
            for host in self._hosts[name]
        }
        self.network.refuse = self._refuse

    def heal(self) -> None:
        """Let everything pass."""
        self._groups = {}
        self.network.refuse = None

    def disturb(self, numbers: Iterable[int]) -> None:
        """Something happens to these devices: their silence is no violation until they are
        :meth:`expected <expect_up>` again."""
        for number in numbers:
            for end in self.devices[number].ends:
                end.ledger.disturbed()

    def expect_up(self, number: int, within_s: float) -> None:
        """From now on the tunnels of this device that can be have to come up in time."""
        for end in self.devices[number].ends:
            tunnel = self._tunnel_of[end]
            if self.possible(tunnel):
                end.ledger.expect_up(within_s)

    def possible(self, tunnel: Tunnel) -> bool:
        """Whether both ends have power, are awake, and can reach cathedrals where they are."""
        one, other = (self.devices[end.own] for end in tunnel.ends)
        awake = one.on and other.on and not (one.asleep or other.asleep)
        return awake and can_connect(PLACES[one.place], PLACES[other.place])

    def can_be_direct(self, tunnel: Tunnel) -> bool:
        """Whether theory has a direct way between its ends, where they are now."""
        one, other = (PLACES[self.devices[end.own].place] for end in tunnel.ends)
        return can_be_direct(one, other)

    def violations(self) -> list[Violation]:
        """What was broken in any tunnel."""
        return sorted(each for tunnel in self.tunnels for each in tunnel.ledger.violations)

    def close(self) -> None:
        """Power everything off, and close the books."""
        for number, device in enumerate(self.devices):
            if device.on:
                self.power_off(number)
        for cathedral in self.cathedrals:
            cathedral.stop()

    def _refuse(self, _datagram: bytes, source: Address, to: Address, _now: float) -> bool:
        here, there = self._groups.get(source.host), self._groups.get(to.host)
        return here is not None and there is not None and here != there

    def _heard(self, end: TunnelEnd, event: SessionEvent, word: Word | None) -> None:
        for listener in self.listeners:
            listener(end, event, word)
        if word is not None:
            self._tell(end, word)

    def _tell(self, end: TunnelEnd, word: Word) -> None:
        if self._keep_lines:
            own, peer = (self.plan.residents[each].name for each in (end.own, end.peer))
            self.lines.append(Line(self.clock.now, own, peer, word))

    def _cathedrals(self) -> list[CathedralNode]:
        plan = self.plan
        addresses = tuple(
            Address(f"203.0.113.{number + 1}", PORT) for number in range(len(plan.halls))
        )
        allows: dict[FlockId, list[Allow]] = {}
        for each in plan.residents:
            allow = Allow(identity(each), each.number, 0)
            allows.setdefault(each.flock_id, []).append(allow)
        flocks = {flock: FlockSettings(flock, tuple(found)) for flock, found in allows.items()}
        settings = Settings(flocks, {}, addresses)
        sync = Secret(self.rng.randbytes(KEY_BYTES))
        for hall, address in zip(plan.halls, addresses, strict=True):
            self._hosts[hall.name] = (address.host,)
        return [
            CathedralNode(
                self.network,
                self.rng,
                Options(address, MTU, p2p_sync=True, shroud=plan.shroud),
                NAT_PORT,
                settings,
                keys=self._keys.ring,
                sync=sync,
                uplink=dataclasses.replace(hall.link),
                suite=self._suite,
            )
            for hall, address in zip(plan.halls, addresses, strict=True)
        ]

    def _tunnels(self) -> list[Tunnel]:
        places = [self._network_at(each.name, each.place) for each in self.plan.residents]
        tunnels = []
        for one, other in self.plan.tunnels:
            ledger = Ledger(self.clock)
            secret = None if self.plan.ambry else Secret(self.rng.randbytes(KEY_BYTES))
            ends = tuple(
                self._end(own, peer, places[own], ledger, secret)
                for own, peer in ((one, other), (other, one))
            )
            for end in ends:
                self.devices[end.own].ends.append(end)
            tunnels.append(Tunnel((ends[0], ends[1]), ledger))
        return tunnels

    def _end(
        self, own: int, peer: int, at: tuple[str, Realm], ledger: Ledger, secret: Secret | None
    ) -> TunnelEnd:
        resident, disk = self.plan.residents[own], Disk(secret)
        known = tuple(self.cathedrals[hall].address for hall in resident.halls)
        settings = SessionSettings(
            None,
            MTU,
            behaviour=resident.behaviour,
            shroud=self.plan.shroud,
            cathedral=CathedralSettings(
                self._keys.registrant(own, peer, NAT_PORT),
                known,
                keep_secret=disk.keep_secret,
                keep_remembrance=disk.keep_remembrance,
            ),
        )
        return TunnelEnd(
            f"{resident.name}-{self.plan.residents[peer].name}",
            self.network,
            ledger,
            self.trace,
            self.rng,
            address=Address(at[0], PORT + len(self.devices[own].ends)),
            realm=at[1],
            settings=settings,
            secret=disk.load_secret,
            uplink=_uplink(resident, resident.place),
            deliver=_nobody,
            suite=self._suite,
            own=own,
            peer=peer,
            disk=disk,
            told=self._heard,
        )

    def _network_at(self, name: str, place: str) -> tuple[str, Realm]:
        """A network of its own for a device: routers, and the address inside of them."""
        number = self._networks = self._networks + 1
        host = f"198.{18 + (number >> 16)}.{number >> 8 & 0xFF}.{number & 0xFF}"
        realm, hosts = self.network.public, [host]
        for depth, model in enumerate(PLACES[place].routers):
            realm = self.network.router(host, model, realm).inside
            host = f"10.{number >> 8 & 0xFF}.{number & 0xFF}.{depth + 2}"
            hosts.append(host)
        self._hosts[name] = (*self._hosts.get(name, ()), *hosts)
        return host, realm


def _uplink(resident: Resident, place: str) -> LinkModel:
    return dataclasses.replace(resident.link) if PLACES[place].udp else LinkModel(loss=1.0)


def _nobody(_payload: bytes) -> None:
    """Payloads of a parish are counted by what is sent, and checked by the ledger."""
