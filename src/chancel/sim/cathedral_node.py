"""A machine that runs a cathedral: two ports on one address, and the few lines that drive it."""

from __future__ import annotations

import dataclasses
import math
import random
from collections import Counter
from collections.abc import Callable, Mapping

from chancel.crypto.suite import Suite
from chancel.errors import VaultError
from chancel.protocol.cathedral.bundle import Bundle
from chancel.protocol.cathedral.cathedral import Cathedral
from chancel.protocol.cathedral.settings import Options, Settings
from chancel.sim.clock import HostClock
from chancel.sim.models import LinkModel
from chancel.sim.network import Network
from chancel.sim.suite import FastSuite
from chancel.vault.secret import Secret
from chancel.wire.cathedral import CATHEDRAL, FEDERATION, NAT
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.drop import Drop
from chancel.wire.types import Address, FlockId


class KeyRing:
    """The keys of all clients, as every cathedral of a federation has them."""

    def __init__(self) -> None:
        self._keys: dict[CathedralId, tuple[Secret, bytes]] = {}

    def add(self, identity: CathedralId, secret: Secret, public: bytes) -> None:
        """Know a client."""
        self._keys[identity] = secret, public

    def secret(self, flock: FlockId, identity: CathedralId) -> Secret:
        """The cathedral secret; raises ``VaultError``."""
        return self._find(flock, identity)[0]

    def public(self, flock: FlockId, identity: CathedralId) -> bytes:
        """The public half of the COSK; raises ``VaultError``."""
        return self._find(flock, identity)[1]

    def _find(self, flock: FlockId, identity: CathedralId) -> tuple[Secret, bytes]:
        if identity not in self._keys:
            raise VaultError(f"nobody in flock {flock:x} has the identity {identity:08x}")
        return self._keys[identity]


@dataclasses.dataclass(slots=True)
class Load:
    """What a cathedral had to do: datagrams that came, by kind, and bytes of UDP payload."""

    infos: int = 0
    probes: int = 0
    """Of NAT detection."""
    federated: int = 0
    others: int = 0
    """What clients send each other, which it passes on."""
    octets_in: int = 0
    octets_out: int = 0
    federated_out: int = 0

    def received(self, datagram: bytes) -> None:
        """Count one that came."""
        self.octets_in += len(datagram)
        match datagram[:8]:
            case CATHEDRAL.magic:
                self.infos += 1
            case NAT.magic:
                self.probes += 1
            case FEDERATION.magic:
                self.federated += 1
            case _:
                self.others += 1

    def sent(self, datagram: bytes) -> None:
        """Count one that leaves."""
        self.octets_out += len(datagram)
        self.federated_out += datagram[:8] == FEDERATION.magic


class CathedralNode:
    """A cathedral, ``None`` without power. Its address is in its options, its clock is right."""

    def __init__(
        self,
        network: Network,
        rng: random.Random,
        options: Options,
        nat_port: int,
        settings: Settings,
        *,
        keys: KeyRing,
        sync: Secret,
        uplink: LinkModel,
        suite: Callable[[random.Random], Suite] = FastSuite,
    ) -> None:
        self.cathedral: Cathedral | None = None
        self.make: Callable[..., Cathedral] = Cathedral
        """What begins to run here with the next power on: a heretic, maybe."""
        self.options = options
        self.drops: Counter[Drop] = Counter()
        self.load = Load()
        self._suite = suite
        self._network = network
        self._rng = rng
        self._settings = settings
        self._keys = keys
        self._sync = sync
        self._clock = HostClock(network.clock)
        self._armed_at = math.inf
        self._host = network.host(options.address, uplink, self._arrive, also=(nat_port,))

    @property
    def address(self) -> Address:
        """Where clients and other cathedrals find it."""
        return self.options.address

    def start(self) -> None:
        """Power on: nobody is registered."""
        self.cathedral = self.make(
            self._suite(self._rng),
            self.options,
            self._keys,
            lambda: self._sync,
            self._settings,
            self._clock.monotonic(),
        )
        self._pump(self.cathedral)

    def stop(self) -> None:
        """Power off, without a word to anybody."""
        if self.cathedral is not None:
            self.drops += self.cathedral.drops
        self.cathedral = None
        self._armed_at = math.inf

    def serve(self, bundle: Bundle) -> None:
        """Install a bundle for every flock, now, or for the next power on."""
        self.serve_each(dict.fromkeys(self._settings.flocks, bundle))

    def serve_each(self, bundles: Mapping[FlockId, Bundle]) -> None:
        """Install these flocks' bundles, now, or for the next power on."""
        flocks = {
            flock: dataclasses.replace(settings, bundle=bundles.get(flock, settings.bundle))
            for flock, settings in self._settings.flocks.items()
        }
        self._settings = dataclasses.replace(self._settings, flocks=flocks)
        if self.cathedral is not None:
            self.cathedral.reconfigure(self._settings, self._clock.monotonic())
            self._pump(self.cathedral)

    def _arrive(self, datagram: bytes, source: Address, pristine: bool) -> None:
        if self.cathedral is not None:
            self.load.received(datagram)
            now, wall = self._clock.monotonic(), self._clock.wall()
            self.cathedral.receive(datagram, source, now, wall)
            self._pump(self.cathedral, pristine)

    def _pump(self, cathedral: Cathedral, pristine: bool = True) -> None:
        for datagram, destination in cathedral.datagrams():
            self.load.sent(datagram)
            self._network.send(self._host, datagram, destination, pristine)
        wake_at = cathedral.wake_at()
        if wake_at < self._armed_at:
            self._armed_at = wake_at
            self._network.clock.call_at(wake_at, self._fire, cathedral, wake_at)

    def _fire(self, cathedral: Cathedral, armed_at: float) -> None:
        if cathedral is not self.cathedral or armed_at != self._armed_at:
            return  # stale: switched off meanwhile
        self._armed_at = math.inf
        cathedral.wake(self._clock.monotonic(), self._clock.wall())
        self._pump(cathedral)
