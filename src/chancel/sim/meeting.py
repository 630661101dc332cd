"""Two devices that find each other through cathedrals, with routers, power cuts and new ambries.

Both devices are of one flock and know one cathedral each: the left one the first, the right one the
last. The cathedrals are federated, so the devices learn of the others by remembrance.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chancel.crypto.kdf_ambry import Wrapping, derived_kek
from chancel.errors import VaultError
from chancel.protocol.behaviour import CHANCEL, Behaviour
from chancel.protocol.cathedral.bundle import Bundle
from chancel.protocol.cathedral.settings import Allow, FlockSettings, Options, Settings
from chancel.protocol.registration_types import Registrant
from chancel.protocol.session_types import CathedralSettings, CathedralStatus, SessionSettings
from chancel.sim.cathedral_node import CathedralNode, KeyRing
from chancel.sim.clock import EPOCH_S, VirtualClock
from chancel.sim.ledger import Ledger
from chancel.sim.machine import Machine
from chancel.sim.models import LinkModel
from chancel.sim.network import Network, Realm, Router
from chancel.sim.node import Node
from chancel.sim.places import place
from chancel.sim.suite import FastSuite
from chancel.sim.trace import Trace
from chancel.sim.tunnel_node import TunnelNode
from chancel.vault.ambries import NO_AMBRIES, AmbryHistory
from chancel.vault.secret import Secret
from chancel.wire.ambry import (
    ENTRY_BYTES,
    HEADER_BYTES,
    SEED_BYTES,
    Header,
    encode_entry_into,
    expiry,
    tunnel,
)
from chancel.wire.cathedral_fields import CathedralId, TunnelId
from chancel.wire.remembrance import RemembranceBody
from chancel.wire.types import Address, FlockId, Flocks

M = TypeVar("M", bound=Machine)

FLOCK = FlockId(0xCAFEBA00)
DEVICES = (0x0A, 0x0B)
OUTSIDE = ("192.0.2.1", "198.51.100.2")
"""Where each device is, or its router if it is behind one."""
INSIDE = ("10.0.0.2", "10.0.1.2")
PORT = 4500
NAT_PORT = 4501
MTU = 1373
KEY_BYTES = 32
BUNDLE_DAYS = 30


@dataclasses.dataclass(frozen=True, slots=True)
class MeetingScenario:
    """Equal scenarios give equal runs. ``nats`` are names of places, or ``None``: public.

    Each device knows one cathedral by its configuration, or ``all_configured``, and then it starts
    with its own. With ``shared`` the devices have a common secret from the start; with ``ambry``
    the cathedrals serve a bundle.
    """

    seed: int = 1
    nats: tuple[str | None, str | None] = (None, None)
    cathedrals: int = 2
    shroud: bool = False
    shared: bool = True
    ambry: bool = False
    remember: bool = True
    all_configured: bool = False
    nat_detection: bool = True
    loss: float = 0.0
    latency_s: float = 0.02
    jitter_s: float = 0.01
    behaviours: tuple[Behaviour, Behaviour] = (CHANCEL, CHANCEL)

    def link(self) -> LinkModel:
        """A fresh link for one direction."""
        return LinkModel(latency_s=self.latency_s, jitter_s=self.jitter_s, loss=self.loss)


class Disk:
    """What a device has after a power cut: its secret, and the cathedrals and ambries it knew."""

    def __init__(self, secret: Secret | None) -> None:
        self._secret = secret
        self.remembered: tuple[Address, ...] = ()
        self.ambries = NO_AMBRIES

    def load_secret(self) -> Secret:
        """The shared secret; raises ``VaultError`` while there is none."""
        if self._secret is None:
            raise VaultError("no ambry has come yet")
        return self._secret

    def keep_secret(self, secret: Secret) -> None:
        """Replace the shared secret."""
        self._secret = secret

    def keep_ambries(self, data: bytes) -> None:
        """Replace what is known of ambries."""
        self.ambries = AmbryHistory.decode(data)

    def keep_remembrance(self, data: bytes) -> None:
        """Replace the file of remembrance."""
        self.remembered = RemembranceBody.decode_table_untrusted(data).cathedrals


class Gathering(Generic[M]):
    """The devices ``left`` and ``right`` and the ``cathedrals``, ready to run.

    Of which kind the devices are is for derived classes to say, in ``node``.
    """

    node: type[M]
    bundle_days = BUNDLE_DAYS

    def __init__(self, scenario: MeetingScenario, keep_trace: bool = False) -> None:
        self.scenario = scenario
        self.clock = VirtualClock()
        self.ledger = Ledger(self.clock)
        self.trace = Trace(keep_trace)
        self.rng = random.Random(scenario.seed)  # noqa: S311 - repeatable on purpose
        self.network = Network(self.clock, self.rng)
        self.delivered: list[bytes] = []
        self.generation = 0
        self.routers: list[list[Router]] = [[], []]
        """Of each device, from the public network inwards."""
        self._keys = KeyRing()
        self._shared = Secret(self.rng.randbytes(KEY_BYTES))
        self._keks = [self.rng.randbytes(KEY_BYTES) for _ in DEVICES]
        self.cathedrals = self._cathedrals()
        if scenario.ambry:
            self.roll()
        shared = self._shared if scenario.shared else None
        self.disks = (Disk(shared), Disk(shared))
        self.left, self.right = self._device(0), self._device(1)

    @property
    def devices(self) -> tuple[M, M]:
        """Left, then right."""
        return self.left, self.right

    def start(self) -> None:
        """Power everything on."""
        for cathedral in self.cathedrals:
            cathedral.start()
        for device in self.devices:
            device.start()

    def until(self, done: Callable[[], bool], within_s: float) -> float:
        """Run until ``done()`` or for ``within_s``; returns how long that took."""
        start = self.clock.now
        self.clock.run_while(lambda: not done(), start + within_s)
        return self.clock.now - start

    def run(self, seconds: float) -> None:
        """Let this much time pass."""
        self.clock.run_until(self.clock.now + seconds)

    def up(self) -> bool:
        """Whether each device has keys, and has heard the other under its newest one."""
        statuses = [device.status() for device in self.devices]
        return all(each and each.send_spi and each.receive_packets for each in statuses)

    def direct(self) -> bool:
        """Whether both devices send to each other directly."""
        return all(self.view(device).direct for device in self.devices)

    def view(self, device: M) -> CathedralStatus:
        """What a running device knows of cathedrals and paths."""
        status = device.status()
        assert status is not None, f"{device.name} has no power"
        assert status.cathedral is not None, f"{device.name} has no cathedral"
        return status.cathedral

    def restart(self, device: M, down_s: float = 1.0, known: tuple[Address, ...] = ()) -> None:
        """Take a device's power; it comes back with what its disk has, and ``known`` peers."""
        device.stop()
        self.run(down_s)
        cathedral = device.settings.cathedral
        assert cathedral is not None, "see _device"
        disk = self.disks[self.devices.index(device)]
        cathedral = dataclasses.replace(
            cathedral, remembered=disk.remembered, ambries=disk.ambries, known_peers=known
        )
        device.settings = dataclasses.replace(device.settings, cathedral=cathedral)
        device.start()

    def exchange(self, count: int = 10, every_s: float = 0.1) -> int:
        """Have both send so many payloads; how many of all arrived within two seconds."""
        before = len(self.delivered)
        for number in range(count):
            for device in self.devices:
                device.send(b"%s %d %d" % (device.name.encode(), number, before))
            self.run(every_s)
        self.run(2.0)
        return len(self.delivered) - before

    def roll(self) -> None:
        """Serve a new bundle at all cathedrals."""
        self.generation = 1 + self.rng.getrandbits(31)
        bundle = self._bundle(Secret(self.rng.randbytes(KEY_BYTES)))
        for cathedral in self.cathedrals:
            cathedral.serve(bundle)

    def renew_kek(self, side: int) -> None:
        """Make the next bundles for another KEK than the one this device has: it counts as lost."""
        self._keks[side] = self.rng.randbytes(KEY_BYTES)

    def close(self) -> None:
        """Power everything off, and close the books."""
        for device in self.devices:
            device.stop()
        for cathedral in self.cathedrals:
            cathedral.stop()

    def _cathedrals(self) -> list[CathedralNode]:
        scenario = self.scenario
        addresses = tuple(
            Address(f"203.0.113.{number + 1}", PORT) for number in range(scenario.cathedrals)
        )
        allows = tuple(Allow(CathedralId(device), device, 0) for device in DEVICES)
        settings = Settings({FLOCK: FlockSettings(FLOCK, allows)}, {}, addresses)
        sync = Secret(self.rng.randbytes(KEY_BYTES))
        return [
            CathedralNode(
                self.network,
                self.rng,
                Options(address, MTU, p2p_sync=True, shroud=scenario.shroud),
                NAT_PORT,
                settings,
                keys=self._keys,
                sync=sync,
                uplink=scenario.link(),
            )
            for address in addresses
        ]

    def _device(self, side: int) -> M:
        scenario, disk = self.scenario, self.disks[side]
        host, realm = self._behind(side)
        addresses = tuple(cathedral.address for cathedral in self.cathedrals)
        own = addresses[-side]
        others = tuple(address for address in addresses if address != own)
        known = (own, *others) if scenario.all_configured else (own,)
        settings = SessionSettings(
            None,
            MTU,
            behaviour=scenario.behaviours[side],
            shroud=scenario.shroud,
            cathedral=CathedralSettings(
                self._registrant(side),
                known,
                keep_secret=disk.keep_secret,
                keep_ambries=disk.keep_ambries,
                keep_remembrance=disk.keep_remembrance,
            ),
        )
        return self.node(
            ("left", "right")[side],
            self.network,
            self.ledger,
            self.trace,
            self.rng,
            address=Address(host, PORT),
            realm=realm,
            settings=settings,
            secret=disk.load_secret,
            uplink=scenario.link(),
            deliver=self.delivered.append,
        )

    def _behind(self, side: int) -> tuple[str, Realm]:
        """Set up the routers of one side; the address of a device behind them, and its realm."""
        host, realm, routers = OUTSIDE[side], self.network.public, self.routers[side]
        here = place(self.scenario.nats[side] or "public")
        for depth, model in enumerate(here.routers):
            if side and depth < here.common:
                routers.append(self.routers[0][depth])
            else:
                routers.append(self.network.router(host, model, realm))
            realm, host = routers[-1].inside, f"10.{depth}.{side}.2"
        return host, realm

    def _registrant(self, side: int) -> Registrant:
        scenario, own, peer = self.scenario, DEVICES[side], DEVICES[1 - side]
        seed = self.rng.randbytes(KEY_BYTES)
        public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
        cathedral_secret, cosk = Secret(self.rng.randbytes(KEY_BYTES)), Secret(seed + public)
        kek = Secret(self._keks[side])
        self._keys.add(CathedralId(own), cathedral_secret, public)
        return Registrant(
            CathedralId(own),
            Flocks(FLOCK, FLOCK),
            TunnelId(tunnel(own, peer)),
            lambda: cathedral_secret,
            lambda: cosk,
            (lambda: kek) if scenario.ambry else None,
            NAT_PORT if scenario.nat_detection else 0,
            scenario.remember,
        )

    def _bundle(self, secret: Secret) -> Bundle:
        """The two entries that matter here, of the 64,770 of a file."""
        suite, flocks = FastSuite(self.rng), Flocks(FLOCK, FLOCK)
        expires = expiry(EPOCH_S + self.clock.now, self.bundle_days)
        header = Header(expires, self.generation, self.rng.randbytes(SEED_BYTES))
        wrapping = Wrapping(suite, header, flocks)
        data = bytearray(HEADER_BYTES + len(DEVICES) * ENTRY_BYTES)
        data[:HEADER_BYTES] = header.encode()
        places = np.full(1 << 16, -1, np.int32)
        with secret.reveal() as revealed:
            for index, (own, peer) in enumerate((DEVICES, DEVICES[::-1])):
                name = tunnel(own, peer)
                derived = derived_kek(suite, self._keks[index], flocks)
                wrapped = wrapping.wrap(derived, name, revealed)
                encode_entry_into(data, index, FLOCK, name, wrapped)
                places[name] = index
        return Bundle(header, bytes(data), {FLOCK: places})


class Meeting(Gathering[Node]):
    """Two sessions."""

    node = Node


class TunnelMeeting(Gathering[TunnelNode]):
    """Two programs with a tunnel of the library each. They keep no files: give them a scenario
    without ``remember``."""

    node = TunnelNode
