"""Devices of one flock, each behind a NAT, and the cathedral that tells them of each other."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from chancel.daemon import ctl
from chancel.demo.sacristy import HOME, Member, Sacristy
from chancel.lab.lab import Lab
from chancel.sim.nat import NatModel
from chancel.wire.cathedral_fields import CathedralId
from tests.e2e.ends import PING

PUBLIC = "203.0.113.0/24"
CATHEDRAL = "203.0.113.21"
PORT, NAT_PORT = 2333, 2334
PREFIX = "10.15"
GROUP = 0xCAFE
END_LIMIT_S = 20.0

HASTY = (sys.executable, "-m", "tests.e2e.hasty")
HURRIED = (sys.executable, "-m", "tests.e2e.hurried")


def member(name: str, device: int) -> Member:
    """A device of the flock at home."""
    return Member(name, HOME, device, CathedralId(0xC0DE0000 + device))


class Keys(Sacristy):
    """A sacristy with these members, too."""

    def __init__(self, folder: Path, members: Iterable[Member], user: str | None) -> None:
        super().__init__(folder, user=user)
        for each in members:
            self.enlist(each)


class Seat:
    """A host of the lab where one daemon runs: a cathedral, or a device."""

    def __init__(self, lab: Lab, folder: Path, name: str) -> None:
        self.name = name
        self.host = lab.host(name)
        self.home = folder / name
        self.home.mkdir(mode=0o711)
        self.runtime = self.home / "run"
        self.runtime.mkdir(mode=0o700)
        self.config = self.home / f"{name}.conf"
        self.log = self.home / "log"
        self.program: subprocess.Popen[bytes] | None = None

    def start(self, command: Sequence[str] = HURRIED) -> None:
        """Start the daemon: ``command`` with ``-c FILE`` behind it."""
        environment = {**os.environ, "CHANCEL_RUNTIME_DIR": str(self.runtime)}
        with self.log.open("ab") as log:
            self.program = self.host.popen(
                [*command, "-c", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it; the exit status."""
        assert self.program is not None
        program, self.program = self.program, None
        program.send_signal(number)
        return program.wait(END_LIMIT_S)

    def answer(self) -> dict[str, Any]:
        """Its status; empty while nobody answers."""
        groups = ctl.survey(self.runtime).groups
        return dict(groups[0].answer) if groups else {}


class Device(Seat):
    """A member. ``public`` is where others see it."""

    def __init__(self, lab: Lab, folder: Path, who: Member, public: str) -> None:
        super().__init__(lab, folder, who.name)
        self.member = who
        self.public = public

    def inner(self, other: Device) -> str:
        """Our address in the tunnel with another one."""
        return f"{PREFIX}.{self.member.device}.{other.member.device}"

    def liturgy(self) -> dict[str, Any]:
        """The status of the liturgy; empty while nobody answers."""
        return dict(next(iter(self.answer().get("liturgies", ())), {}))

    def members(self) -> list[int]:
        """Who is there, as it was told."""
        return list(self.liturgy().get("members", ()))

    def tunnels(self) -> dict[int, dict[str, Any]]:
        """The status of its tunnels, by the device at the other end."""
        return {each["peer_device"]: each for each in self.answer().get("tunnels", ())}

    def processes(self) -> set[int]:
        """The pids of its group, as the machine counts them."""
        assert self.program is not None
        found, pending = set(), [self.program.pid]
        while pending:
            pid = pending.pop()
            found.add(pid)
            with contextlib.suppress(FileNotFoundError):
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                pending += map(int, children)
        return found

    def reaches(self, other: Device) -> bool:
        """Whether a ping comes back."""
        result = self.host.call(PING, other.inner(self), 1, 0.0, 56, True, 1.0)
        return bool(result["received"])


class Congregation:
    """Hosts, networks and files; nothing runs yet. ``devices`` have these numbers.

    ``hidden`` ones are found by others alone. ``user``: whom processes become as the machine's
    root.
    """

    def __init__(
        self,
        lab: Lab,
        folder: Path,
        devices: dict[str, int],
        *,
        hidden: Iterable[str] = (),
        shroud: bool = False,
        remembrance: bool = False,
        user: str | None = None,
    ) -> None:
        members = [member(name, number) for name, number in devices.items()]
        self._hidden, self._shroud, self._remembrance = frozenset(hidden), shroud, remembrance
        self._user = user
        self.keys = Keys(folder / "sacristy", members, user)
        self._public = lab.network(PUBLIC)
        self.cathedral = Seat(lab, folder, "cathedral")
        self._public.join(self.cathedral.host, CATHEDRAL)
        self.devices = [
            self._device(lab, folder, number, each) for number, each in enumerate(members)
        ]
        self.settings = folder / "settings"
        self._configure_cathedral(members)
        for device in self.devices:
            self._configure(device)

    @property
    def seats(self) -> list[Seat]:
        """All, the cathedral first."""
        return [self.cathedral, *self.devices]

    def stop(self) -> set[int]:
        """End whatever runs; the exit statuses."""
        return {seat.stop() for seat in self.seats if seat.program is not None}

    def logs(self) -> str:
        """The end of what each said."""
        with contextlib.suppress(FileNotFoundError):
            return "\n".join(
                f"--- {seat.name}\n{seat.log.read_text()[-6000:]}" for seat in self.seats
            )
        return ""

    def _device(self, lab: Lab, folder: Path, number: int, who: Member) -> Device:
        public = f"203.0.113.{31 + number}"
        device = Device(lab, folder, who, public)
        self.keys.own(device.home)
        network = lab.network(f"10.{101 + number}.0.0/24")
        network.join(device.host, f"10.{101 + number}.0.2")
        lab.router((network, f"10.{101 + number}.0.1"), (self._public, public), NatModel())
        return device

    def _configure_cathedral(self, members: Iterable[Member]) -> None:
        allowed = [f"    allow {each.identity:x} spi {each.device:x} 0" for each in members]
        bundle = f"    ambry {self.keys.bundle()}"
        self.settings.write_text("\n".join([f"flock {HOME:x} {{", *allowed, bundle, "}"]) + "\n")
        self._write(
            self.cathedral,
            "mode cathedral",
            "instance cathedral",
            f"local {CATHEDRAL}:{PORT}",
            f"secret {self.keys.sync}",
            f"secretdir {self.keys.secretdir}",
            f"settings {self.settings}",
            "cathedral_mtu 1373",
            f"cathedral_nat_port {NAT_PORT}",
            f"control {self.cathedral.home / 'control'} root" if self._user else "",
            processes=("control", "purgatory-rx", "purgatory-tx", "cathedral"),
        )

    def _configure(self, device: Device) -> None:
        who, keys = device.member, self.keys
        copies = {"key": keys.secret(who), "cosk": keys.cosk(who), "kek": keys.kek(who)}
        for name, path in copies.items():
            keys.write(device.home / name, path.read_bytes())
        lines = [
            "mode liturgy",
            f"instance {who.name}",
            f"spi {who.device:02x}",
            f"liturgy_group {GROUP:x}",
            f"liturgy_prefix {PREFIX}.0.0",
            f"liturgy_discoverable {'no' if who.name in self._hidden else 'yes'}",
            f"kek {device.home / 'kek'}",
            f"cathedral_id {who.identity:x}",
            f"cathedral_flock {who.flock_with_domain:x}",
            f"cathedral_secret {device.home / 'key'}",
            f"cathedral_cosk {device.home / 'cosk'}",
            f"cathedral_nat_port {NAT_PORT}",
            f"cathedral {CATHEDRAL}:{PORT}",
        ]
        if self._remembrance:
            lines.append(f"cathedral_remembrance {device.home / 'remembrance'}")
        self._write(device, *lines, processes=("liturgy", "purgatory-rx", "purgatory-tx", "bishop"))

    def _write(self, seat: Seat, *lines: str, processes: Iterable[str]) -> None:
        text = [*lines, f"shroud {'yes' if self._shroud else 'no'}"]
        if self._user is not None:
            text += [f"run {process} as {self._user}" for process in processes]
        seat.config.write_text("\n".join(text) + "\n")
