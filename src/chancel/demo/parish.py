"""A parish: cathedrals, and two devices that find each other through them, in the lab.

Either all stand in one network, or a device is at home behind a router with a NAT, and only the
cathedrals and the routers are in the public network. Or each device has a wire of the kernel's own
to the only cathedral, for those who measure how fast it relays. Every file is written, in the
grammar that the reference and we have in common; which program reads it is the caller's choice
(:meth:`Seat.start`).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chancel.demo.neighbourhood import Neighbourhood, Spot
from chancel.demo.sacristy import (
    ABROAD,
    HOME,
    KEY_BYTES,
    LEFT,
    RIGHT,
    RIGHT_ABROAD,
    Member,
    Sacristy,
)
from chancel.lab.lab import Host, Lab
from chancel.sim.models import LinkModel
from chancel.sim.nat import NatModel
from chancel.sim.places import Place

PORT = 2333
NAT_PORT = 2334

CATHEDRALS = ("east", "west")
"""Their names; at .21 and .22 of the public network."""

PROCESSES = (
    "control",
    "purgatory-rx",
    "purgatory-tx",
    "heaven-rx",
    "bless",
    "heaven-tx",
    "confess",
    "chapel",
    "cathedral",
)
"""Those of devices and of cathedrals: a ``run`` line for a process that a mode lacks is ignored."""

LARGEST_MTU, LARGEST_MTU_SHROUD = 1422, 1373


@dataclass(frozen=True, slots=True)
class Plan:
    """What a parish is like. Pairs are the left device and the right one.

    ``nats``: what each device is behind; without, it stands in the public network itself. Or
    ``places``, for more than one router.
    ``near``: the number of the cathedral that each is configured with. ``mtu``: of the tunnel, a
    number or ``auto``. ``kek``: the shared secret comes from an ambry, and no other exists.
    ``mbit``: the limit of what cathedrals relay to each device, 0 for none. ``abroad``: the right
    device belongs to another flock. ``model``: of all wires. ``kernel``: the wires to the only
    cathedral are the kernel's own; there is no other network, no NAT and no model.
    ``extra``: further lines of the cathedrals' files, for those whose program knows them.
    """

    cathedrals: int = 1
    nats: tuple[NatModel | None, NatModel | None] = (None, None)
    places: tuple[Place, Place] | None = None
    near: tuple[int, int] = (0, 0)
    mtu: str = "1373"
    shroud: bool = False
    tfc: bool = False
    remembrance: bool = False
    nat_detection: bool = True
    p2p_sync: bool = True
    kek: bool = True
    abroad: bool = False
    mbit: int = 0
    model: LinkModel | None = None
    kernel: bool = False
    extra: tuple[str, ...] = ()

    def place(self, number: int) -> Place:
        """Where a device is."""
        if self.places is not None:
            return self.places[number]
        nat = self.nats[number]
        return Place("", () if nat is None else (nat,))


class Seat:
    """A place where a daemon runs: its host, its address there, and a folder with its files."""

    def __init__(self, host: Host, address: str, home: Path) -> None:
        self.name = home.name
        self.host = host
        self.address = address
        self.home = home
        self.config = home / f"{self.name}.conf"
        self.log = home / "log"
        self.runtime = home / "run"

    def start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a daemon: ``command`` with ``-c FILE`` behind it."""
        environment = {**os.environ, "CHANCEL_RUNTIME_DIR": str(self.runtime)}
        with self.log.open("ab") as log:
            return self.host.popen(
                [*command, "-c", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )


class Cathedral(Seat):
    """A cathedral; ``address`` is public."""

    def listens(self, daemon: subprocess.Popen[bytes]) -> bool:
        """Whether what runs here has bound its sockets; ``daemon`` is what was started."""
        with contextlib.suppress(FileNotFoundError):  # it has ended
            lines = Path(f"/proc/{daemon.pid}/net/udp").read_text().splitlines()[1:]
            ports = {int(line.split()[1].rpartition(":")[2], 16) for line in lines}
            return {PORT, NAT_PORT} <= ports
        return False


class Device(Seat):
    """A device. ``public`` is where others see it, ``inner`` its address in the tunnel."""

    def __init__(
        self, member: Member, host: Host, address: str, public: str, inner: str, home: Path
    ) -> None:
        super().__init__(host, address, home)
        self.member = member
        self.public = public
        self.inner = inner
        self.secret = home / "secret"
        """The shared secret's file; with a KEK it appears when an ambry was accepted."""
        self.remembrance = home / "remembrance"


class Parish:
    """Hosts, networks and files; nothing runs yet.

    ``user`` is whom the daemons' processes become: without one there are no ``run`` lines, which
    is right for root of a mere user namespace.
    """

    def __init__(
        self,
        lab: Lab,
        folder: Path,
        plan: Plan,
        sacristy: Sacristy | None = None,
        user: str | None = None,
    ) -> None:
        self.lab = lab
        self.plan = plan
        self.folder = folder
        self.settings = folder / "settings"
        self._user = user
        self.sacristy = sacristy or Sacristy(folder / "sacristy", user=user)
        self.members = (LEFT, RIGHT_ABROAD if plan.abroad else RIGHT)
        self._neighbourhood = Neighbourhood(lab, plan.model)
        self.public = self._neighbourhood.public
        self.cathedrals = [self._cathedral(number) for number in range(plan.cathedrals)]
        self.left, self.right = self.devices = self._device(0), self._device(1)
        self.write_settings()
        for cathedral in self.cathedrals:
            self._configure_cathedral(cathedral)
        for device, other in ((self.left, self.right), (self.right, self.left)):
            self._configure_device(device, other)

    @property
    def seats(self) -> list[Seat]:
        """All, cathedrals first."""
        return [*self.cathedrals, *self.devices]

    def cathedral_of(self, device: Device) -> Cathedral:
        """The one that a device is configured with."""
        return self.cathedrals[self.plan.near[self.devices.index(device)]]

    def write_settings(self, mbit: int | None = None) -> None:
        """Write the settings of the cathedrals, which look at the file's age in whole seconds."""
        limit = self.plan.mbit if mbit is None else mbit
        lines = [f"federate {each.address} {PORT}" for each in self.cathedrals]
        for flock in dict.fromkeys(member.flock for member in self.members):
            allowed = [member for member in self.members if member.flock == flock]
            lines += [f"flock {flock:x} {{"]
            lines += [
                f"    allow {each.identity:x} spi {each.device:x} {limit}" for each in allowed
            ]
            if self.plan.kek and not self.plan.abroad:
                lines += [f"    ambry {self.sacristy.bundle()}"]
            lines += ["}"]
        if self.plan.abroad:
            lines += [f"xflock {HOME:x} {ABROAD:x} {self.sacristy.bundle(HOME, ABROAD)}"]
        new = self.settings.with_suffix(".new")
        new.write_text("\n".join(lines) + "\n")
        if self.settings.exists():
            self._age(new)
        new.replace(self.settings)

    def roll(self, ambry: Sequence[str] | None = None) -> int:
        """Make a new bundle and have the cathedrals look at it; returns its generation."""
        flocks = (HOME, ABROAD) if self.plan.abroad else (HOME, HOME)
        generation = self.sacristy.roll(*flocks, ambry=ambry)
        self._age(self.settings)
        return generation

    def _age(self, path: Path) -> None:
        """Date a file a whole second after the settings in force, or now if that is later."""
        at = max(int(self.settings.stat().st_mtime) + 1, int(time.time()))
        os.utime(path, (at, at))

    def _home(self, name: str) -> Path:
        home = self.folder / name
        home.mkdir(mode=0o711)
        (home / "run").mkdir(mode=0o700)
        return home

    def _cathedral(self, number: int) -> Cathedral:
        name = CATHEDRALS[number]
        address = f"203.0.113.{21 + number}"
        host = self.lab.host(name)
        if self.plan.kernel:
            host.call("chancel.demo.wiring:take_address", address)
        else:
            self.public.join(host, address)
        return Cathedral(host, address, self._home(name))

    def _device(self, number: int) -> Device:
        member = self.members[number]
        public, inner = f"203.0.113.{11 + number}", f"10.77.0.{1 + number}"
        host = self.lab.host(member.name)
        home = self._home(member.name)
        self.sacristy.own(home)
        if self.plan.kernel:
            spot = self._wire(host, number)
        else:
            spot = self._neighbourhood.settle(host, self.plan.place(number), public)
        return Device(member, host, spot.address, spot.public, inner, home)

    def _wire(self, host: Host, number: int) -> Spot:
        """Join a device to the only cathedral by a wire of the kernel."""
        (cathedral,) = self.cathedrals
        prefix = f"10.{1 + number}.0"
        self.lab.veth(host, f"{prefix}.2/24", cathedral.host, f"{prefix}.1/24")
        host.call("chancel.demo.wiring:reach", cathedral.address, f"{prefix}.1")
        return Spot(f"{prefix}.2", f"{prefix}.2", "eth0")

    def _configure_cathedral(self, seat: Cathedral) -> None:
        plan = self.plan
        mtu = LARGEST_MTU_SHROUD if plan.shroud else LARGEST_MTU
        self._write(
            seat,
            "mode cathedral",
            f"instance {seat.name}",
            f"local {seat.address}:{PORT}",
            f"secret {self.sacristy.sync}",
            f"secretdir {self.sacristy.secretdir}",
            f"settings {self.settings}",
            f"cathedral_mtu {mtu}",
            f"cathedral_nat_port {NAT_PORT}",
            f"cathedral_p2p_sync {_yes(plan.p2p_sync)}",
            *plan.extra,
        )

    def _configure_device(self, seat: Device, other: Device) -> None:
        plan, member, keys = self.plan, seat.member, self.sacristy
        lines = [f"instance {seat.name}", f"spi {member.device:02x}{other.member.device:02x}"]
        if plan.kek:
            keys.write(seat.home / "kek", keys.kek(member).read_bytes())
            lines += [f"kek {seat.home / 'kek'}"]
        elif not seat.secret.exists():
            secret = secrets.token_bytes(KEY_BYTES)
            for each in self.devices:
                keys.write(each.secret, secret)
        for name, path in (("key", keys.secret(member)), ("cosk", keys.cosk(member))):
            keys.write(seat.home / name, path.read_bytes())
        lines += [
            f"secret {seat.secret}",
            f"tunnel {seat.inner}/30 {plan.mtu}",
            f"cathedral {self.cathedral_of(seat).address}:{PORT}",
            f"cathedral_id {member.identity:x}",
            f"cathedral_secret {seat.home / 'key'}",
            f"cathedral_cosk {seat.home / 'cosk'}",
            f"cathedral_flock {member.flock_with_domain:x}",
        ]
        if plan.abroad:
            lines += [f"cathedral_flock_dst {other.member.flock_with_domain:x}"]
        if plan.nat_detection:
            lines += [f"cathedral_nat_port {NAT_PORT}"]
        if plan.remembrance:
            lines += [f"cathedral_remembrance {seat.remembrance}"]
        self._write(seat, *lines)

    def _write(self, seat: Seat, *lines: str) -> None:
        masks = [f"shroud {_yes(self.plan.shroud)}", f"tfc {'on' if self.plan.tfc else 'off'}"]
        seat.config.write_text("\n".join((*lines, *masks, *self._run_lines(seat))) + "\n")

    def _run_lines(self, seat: Seat) -> Iterable[str]:
        if self._user is not None:
            yield f"control {seat.home / 'control'} root"
            yield from (f"run {process} as {self._user}" for process in PROCESSES)


def _yes(word: bool) -> str:
    return "yes" if word else "no"
