"""The machines of a scenario in the lab: hosts in their places, their files, and who runs."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from chancel.daemon import places as whose
from chancel.demo.neighbourhood import Neighbourhood
from chancel.demo.parish import LARGEST_MTU, LARGEST_MTU_SHROUD, NAT_PORT, PORT, PROCESSES, Seat
from chancel.demo.programs import Program
from chancel.demo.sacristy import HOME, KEY_BYTES, Member, Sacristy
from chancel.lab.lab import Host, Lab
from chancel.lab.namespace import LabError
from chancel.sim.places import place
from chancel.sim.scenario_file import CathedralSpec, DeviceSpec, ScenarioFile
from chancel.wire.cathedral_fields import CathedralId

IDENTITIES: Final = 0xBADC0000
"""A device's number is added to make its identity."""

MAX_ADDRESSES: Final = 200
"""Of devices or their routers, from .50 of the public network."""


class Powered(Seat):
    """A machine that runs the same program for one or several configuration files."""

    def __init__(self, host: Host, address: str, home: Path, program: Program) -> None:
        super().__init__(host, address, home)
        self.program = program
        self.files: list[Path] = []
        self.daemons: list[subprocess.Popen[bytes]] = []

    def power_on(self) -> None:
        """Start what runs here; of ours one group for all files."""
        sets = [[file] for file in self.files] if self.program.orphans else [self.files]
        environment = {**os.environ, "CHANCEL_RUNTIME_DIR": str(self.runtime)}
        for files in sets:
            words = itertools.chain.from_iterable(("-c", str(file)) for file in files)
            with self.log.open("ab") as log:
                daemon = self.host.popen(
                    [*self.program.command, *words],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                )
            self.daemons.append(daemon)

    def power_off(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End all that runs here. Raises PlayError where something is left."""
        daemons, self.daemons = self.daemons, []
        for daemon in daemons:
            self.program.end(daemon, how, f"see {self.log}")

    def suspend(self) -> Iterator[None]:
        """Stop all processes at the first step, and let them go on at the second."""
        pids = [daemon.pid for daemon in self.daemons]
        for daemon in self.daemons:
            children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text()
            pids += map(int, children.split())
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):  # it was switched off meanwhile
                    os.kill(pid, number)
            yield


class Hall(Powered):
    """A cathedral."""

    def listens(self) -> bool:
        """Whether it has bound its sockets."""
        lines = Path(f"/proc/{self.daemons[0].pid}/net/udp").read_text().splitlines()[1:]
        return {PORT, NAT_PORT} <= {int(line.split()[1].rpartition(":")[2], 16) for line in lines}


class Resident(Powered):
    """A device. ``public`` is where others see it; ``tunnels`` has the instance and the inner
    address of each of its tunnels, by the peer's name."""

    def __init__(
        self, host: Host, address: str, home: Path, program: Program, member: Member
    ) -> None:
        super().__init__(host, address, home, program)
        self.member = member
        self.public = ""
        self.interface = ""
        self.tunnels: dict[str, tuple[str, str]] = {}


class Seats:
    """All machines of a scenario, with their files; nothing runs yet.

    ``programs`` are what cathedrals and devices run, by the words of the file. Raises LabError for
    what can't be set up.
    """

    def __init__(
        self, lab: Lab, folder: Path, scenario: ScenarioFile, programs: Mapping[str, Program]
    ) -> None:
        self.scenario = scenario
        self._lab = lab
        self._folder = folder
        self._programs = programs
        self._user = "root" if whose.is_machine_root() else None
        self._neighbourhood = Neighbourhood(lab)
        self._addresses = iter(range(MAX_ADDRESSES))
        self._settings = folder / "settings"
        self.sacristy = Sacristy(folder / "sacristy", user=self._user)
        self.halls = {
            name: self._hall(number, spec)
            for number, (name, spec) in enumerate(scenario.cathedrals.items())
        }
        self.residents = {name: self._resident(spec) for name, spec in scenario.devices.items()}
        self._write_settings()
        for number, ends in enumerate(scenario.tunnels):
            self._write_tunnel(number, *ends)

    @property
    def everybody(self) -> dict[str, Powered]:
        """Cathedrals and devices by name."""
        return {**self.halls, **self.residents}

    def split(self, groups: tuple[frozenset[str], ...]) -> None:
        """Carry nothing between groups of names; without any, everything."""
        public = {name: hall.address for name, hall in self.halls.items()}
        public |= {name: resident.public for name, resident in self.residents.items()}
        self._neighbourhood.public.split(*({public[name] for name in group} for group in groups))

    def move(self, name: str, where: str) -> None:
        """Unplug a device, and plug it in at another place."""
        resident = self.residents[name]
        resident.host.call("chancel.demo.wiring:leave", resident.interface)
        self._settle(resident, where)
        resident.host.call("chancel.demo.wiring:go_out_by", resident.interface)

    def roll(self) -> int:
        """Put a new bundle in force at all cathedrals; its generation."""
        generation = self.sacristy.roll()
        at = max(int(self._settings.stat().st_mtime) + 1, int(time.time()))
        os.utime(self._settings, (at, at))
        return generation

    def _hall(self, number: int, spec: CathedralSpec) -> Hall:
        address = f"203.0.113.{10 + number}"
        hall = Hall(self._lab.host(spec.name), address, self._home(spec.name), self._run_by(spec))
        self._neighbourhood.public.join(hall.host, address)
        lines = [
            "mode cathedral",
            f"instance cathedral{number}",
            f"local {address}:{PORT}",
            f"secret {self.sacristy.sync}",
            f"secretdir {self.sacristy.secretdir}",
            f"settings {self._settings}",
            f"cathedral_mtu {LARGEST_MTU_SHROUD if self.scenario.shroud else LARGEST_MTU}",
            f"cathedral_nat_port {NAT_PORT}",
            "cathedral_p2p_sync yes",
        ]
        self._write(hall, f"cathedral{number}", lines)
        return hall

    def _resident(self, spec: DeviceSpec) -> Resident:
        member = Member(spec.name, HOME, spec.number, CathedralId(IDENTITIES + spec.number))
        self.sacristy.enlist(member)
        home = self._home(spec.name)
        made = Resident(self._lab.host(spec.name), "", home, self._run_by(spec), member)
        if made.program.orphans and len(spec.cathedrals) > 1:
            raise LabError(f"{spec.name}: the reference has one cathedral in its configuration")
        self._settle(made, spec.place)
        return made

    def _settle(self, resident: Resident, where: str) -> None:
        here = place(where)
        public = f"203.0.113.{50 + next(self._addresses)}"
        link = self.scenario.devices[resident.name].link
        spot = self._neighbourhood.settle(resident.host, here, public, link)
        resident.address, resident.public, resident.interface = spot

    def _run_by(self, spec: CathedralSpec | DeviceSpec) -> Program:
        program = self._programs.get(spec.program)
        if program is None:
            raise LabError(
                f"{spec.name} runs the reference: as root, with SANCTUM=/path/to/sanctum"
            )
        return program

    def _home(self, name: str) -> Path:
        home = self._folder / name
        home.mkdir(mode=0o711)
        (home / "run").mkdir(mode=0o700)
        self.sacristy.own(home)
        return home

    def _write_settings(self) -> None:
        lines = [f"federate {hall.address} {PORT}" for hall in self.halls.values()]
        lines += [f"flock {HOME:x} {{"]
        for resident in self.residents.values():
            member = resident.member
            lines += [f"    allow {member.identity:x} spi {member.device:x} 0"]
        if self.scenario.ambry:
            lines += [f"    ambry {self.sacristy.bundle()}"]
        self._settings.write_text("\n".join([*lines, "}"]) + "\n")

    def _write_tunnel(self, number: int, one: str, other: str) -> None:
        secret = secrets.token_bytes(KEY_BYTES)
        for side, (name, peer) in enumerate(((one, other), (other, one))):
            resident, met = self.residents[name], self.residents[peer]
            member = resident.member
            prefix = f"{member.device:02x}{met.member.device:02x}"
            inner = f"10.{200 + number // 64}.{4 * (number % 64)}.{side + 1}"
            resident.tunnels[peer] = f"t{prefix}", inner
            lines = [f"instance t{prefix}", f"spi {prefix}", f"tunnel {inner}/30 1373"]
            lines += self._keys(resident, prefix, secret)
            lines += [
                f"cathedral {self.halls[each].address}:{PORT}"
                for each in self.scenario.devices[name].cathedrals
            ]
            lines += [
                f"cathedral_id {member.identity:x}",
                f"cathedral_flock {member.flock_with_domain:x}",
                f"cathedral_nat_port {NAT_PORT}",
            ]
            if len(self.scenario.devices[name].cathedrals) == 1:
                lines += [f"cathedral_remembrance {resident.home / f'{prefix}.remembrance'}"]
            self._write(resident, f"t{prefix}", lines)

    def _keys(self, resident: Resident, prefix: str, secret: bytes) -> Iterator[str]:
        keys, home, member = self.sacristy, resident.home, resident.member
        shared = home / f"{prefix}.secret"
        copies = {"cathedral_secret": keys.secret(member), "cathedral_cosk": keys.cosk(member)}
        if self.scenario.ambry:
            copies["kek"] = keys.kek(member)
        else:
            keys.write(shared, secret)
        for directive, path in copies.items():
            keys.write(home / directive, path.read_bytes())
            yield f"{directive} {home / directive}"
        yield f"secret {shared}"  # behind the kek, with which it need not exist yet

    def _write(self, seat: Powered, name: str, lines: list[str]) -> None:
        text = [*lines, f"shroud {'yes' if self.scenario.shroud else 'no'}"]
        if self._user is not None:
            text += [f"control {seat.home / f'{name}.control'} root"]
            text += [f"run {process} as {self._user}" for process in PROCESSES]
        path = seat.home / f"{name}.conf"
        path.write_text("\n".join(text) + "\n")
        seat.files.append(path)
