"""A cathedral with many devices, and what relaying costs it; beside the reference's, as root.

Two hosts of the lab joined by the kernel's own wire: the cathedral in one, all devices in the other
(``congregation``). Work is processor time of all the cathedral's processes.
"""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pyroute2 import IPRoute

from benchmarks import processes, stage
from benchmarks.congregation import FLOCK, IDENTITY, NAT_PORT, PORT, address_of
from benchmarks.pace import Pace
from benchmarks.result import Figure, LeftOut, Result, Step, Target
from benchmarks.turns import Rounds, alternate
from benchmarks.workloads import Measure
from chancel.demo.programs import CHANCEL, Program
from chancel.lab.lab import Host, Lab

ADDRESS = "192.168.201.1"
DEVICES, DEVICES_WITH_NAT = 142, 90
"""With a tunnel each way between any two: 20,022 of them, and 8,010."""

WARM_UP, MEASURED = 2, 3
"""Rounds of five seconds: in the first all register, from the second on all are answered."""

RELAY_ROUNDS = 5
RELAY_BYTES_PER_S = 40e6
RELAY_S = 4.0
START_LIMIT_S, SETTLED_S = 20.0, 1.0
ANSWERED = 0.98
"""Of the offers; what is missing was lost in a socket's buffer."""

MEASURES = {"relaying": Measure("relaying 40 MB/s: work of the cathedral", "s CPU/GB", less=True)}

PROCESSES = ("control", "cathedral", "purgatory-rx", "purgatory-tx")
DUTIES = "".join(f"run {name} as root\n" for name in PROCESSES)


class Cathedral(NamedTuple):
    """One that runs, with the host of its devices."""

    folder: Path
    host: Host
    devices: Host
    pids: list[int]

    def work(self) -> float:
        """Processor seconds of all of its processes so far."""
        return processes.work_with_children_s(self.pids)

    def memory_kb(self) -> int:
        """Resident memory of all its processes: for differences, as they share a part of it."""
        return sum(_resident_kb(pid) for pid in self.pids)


def run(pace: Pace) -> Iterator[Result | Step]:
    """Load of registered tunnels, their memory, and work per relayed byte."""
    tunnels = DEVICES * (DEVICES - 1)
    yield Step(f"cathedral: {tunnels:,} tunnels", 0.0)
    with cathedral(CHANCEL, DEVICES) as running:
        before = running.memory_kb()
        share, answered = _registered(running, DEVICES, nat=False)
        grown = running.memory_kb() - before
    yield Figure(f"cathedral, {tunnels:,} tunnels: load of a core", "", share, Target("≤", 1.0))
    yield Figure("cathedral: offers answered in time", "", answered, Target("≥", ANSWERED))
    yield Figure("cathedral: memory per tunnel", "KB", [grown / tunnels], Target("≤", 2.0))
    yield from _with_nat(pace)
    yield from _relaying(pace)


def _with_nat(pace: Pace) -> Iterator[Result | Step]:
    tunnels = DEVICES_WITH_NAT * (DEVICES_WITH_NAT - 1)
    name = f"cathedral, {tunnels:,} tunnels with NAT probes"
    if not pace.whole:
        yield LeftOut(name, "only in make bench-full")
        return
    yield Step(name, 0.4)
    with cathedral(CHANCEL, DEVICES_WITH_NAT) as running:
        share, answered = _registered(running, DEVICES_WITH_NAT, nat=True)
    yield Figure(f"{name}: load of a core", "", share, Target("≤", 1.0))
    yield Figure(f"{name}: answered in time", "", answered, Target("≥", ANSWERED))


def _relaying(pace: Pace) -> Iterator[Result | Step]:
    if not pace.whole:
        why = "only in make bench-full; the section relaying tells the work for bulk"
        yield LeftOut(MEASURES["relaying"].name, why)
        return
    programs = stage.programs()
    jobs = {each.name: functools.partial(_relay_anew, each) for each in programs}
    rounds = Rounds(MEASURES)
    for item in alternate("a cathedral relays", jobs, RELAY_ROUNDS):
        if isinstance(item, Step):
            yield item
        else:
            rounds.add(item.name, item.number, {"relaying": item.result})
    yield from rounds.figures()
    for theirs in programs[1:]:
        yield rounds.ratio("relaying", CHANCEL.name, theirs.name, Target("≤", 0.5))
    yield from stage.left_out("relaying")


def _relay_anew(program: Program) -> float:
    with cathedral(program, 2) as running:
        return relay(running)


def _registered(running: Cathedral, devices: int, *, nat: bool) -> tuple[list[float], list[float]]:
    """Of each measured round: the share of a core, and of the offers that were answered."""
    rounds = WARM_UP + MEASURED
    task = running.devices.start(
        "benchmarks.congregation:register", str(running.folder), ADDRESS, devices, rounds, nat
    )
    next(task.progress)
    shares, answered = [], []
    work, at = 0.0, 0.0
    for number, told in enumerate(task.progress):
        before, since = work, at
        work, at = running.work(), time.monotonic()
        if number >= WARM_UP:
            shares.append((work - before) / (at - since))
            # With NAT probes both ends are told once, unasked, that they can reach each other.
            answered.append(min(1.0, told["answers"] / (told["sent"] / (1 + nat))))
    return shares, answered


def relay(running: Cathedral) -> float:
    """Processor seconds for each gigabyte that arrived."""
    folder = str(running.folder)
    seconds = RELAY_S + 3.0
    ends = [
        running.devices.start("benchmarks.congregation:stay", folder, ADDRESS, *ids, seconds)
        for ids in ((1, 2), (2, 1))
    ]
    for end in ends:
        next(end.progress)
    time.sleep(0.5)
    before = running.work()
    running.devices.call("benchmarks.congregation:blast", ADDRESS, 1, 2, RELAY_BYTES_PER_S, RELAY_S)
    time.sleep(0.2)
    work = running.work() - before
    octets = max(end.result() for end in ends)
    if octets < RELAY_BYTES_PER_S * RELAY_S / 4:
        raise RuntimeError(f"only {octets:,} bytes were relayed")
    return float(work / (octets / 1e9))


@contextlib.contextmanager
def cathedral(program: Program, devices: int, settings: str = "") -> Iterator[Cathedral]:
    """A new lab with a cathedral that knows this many devices; ``settings`` are further lines."""
    with tempfile.TemporaryDirectory() as name, Lab() as lab:
        folder = Path(name)
        host, others = lab.host("cathedral"), lab.host("devices")
        lab.veth(host, f"{ADDRESS}/24", others, "192.168.201.2/24")
        host.call("benchmarks.cathedral:add_route", "10.80.0.0/16", "192.168.201.2")
        others.call(
            "benchmarks.cathedral:add_addresses", [address_of(n + 1) for n in range(devices)]
        )
        config = write_files(folder, devices, settings)
        environment = {**os.environ, "CHANCEL_RUNTIME_DIR": str(folder / "run")}
        with (folder / "log").open("w") as log:
            command = [*program.command, "-c", str(config)]
            daemon = host.popen(command, stdout=log, stderr=log, env=environment)
        try:
            _wait_started(daemon, folder)
            pids = processes.tree(daemon.pid)
            yield Cathedral(folder, host, others, pids)
            _check_alive(daemon, folder)
        finally:
            daemon.terminate()
            daemon.wait(10)


def write_files(folder: Path, devices: int, settings: str) -> Path:
    """All that a cathedral needs; returns the path of its configuration."""
    keys = folder / "secretdir" / f"flock-{FLOCK:x}"
    keys.mkdir(parents=True)
    pair = Ed25519PrivateKey.generate()
    public = pair.public_key().public_bytes_raw()
    _write(folder / "sync", os.urandom(32))
    _write(folder / "cosk", pair.private_bytes_raw() + public)
    _write(keys / f"{IDENTITY:08x}.key", os.urandom(32))
    _write(keys / f"{IDENTITY:08x}.pub", public)
    allows = "".join(f"\tallow {IDENTITY:08x} spi {n + 1:02x} 0\n" for n in range(devices))
    (folder / "settings").write_text(f"{settings}flock {FLOCK:x} {{\n{allows}}}\n")
    config = folder / "cathedral.conf"
    config.write_text(
        f"mode cathedral\ninstance cathedral\nlocal {ADDRESS}:{PORT}\nsecret {folder}/sync\n"
        f"secretdir {folder}/secretdir\nsettings {folder}/settings\ncathedral_mtu 1422\n"
        f"cathedral_nat_port {NAT_PORT}\ncontrol {folder}/control root\n{DUTIES}"
    )
    return config


def _write(path: Path, content: bytes) -> None:
    path.touch(0o600)
    path.write_bytes(content)


def add_route(network: str, gateway: str) -> None:
    """In a host: where the devices are."""
    with IPRoute() as ip:
        ip.route("add", dst=network, gateway=gateway)


def add_addresses(addresses: list[str]) -> None:
    """In a host: the devices' addresses."""
    with IPRoute() as ip:
        (index,) = ip.link_lookup(ifname="lo")
        for address in addresses:
            ip.addr("add", index=index, address=address, prefixlen=32)


def _wait_started(daemon: subprocess.Popen[Any], folder: Path) -> None:
    """Return once there are processes, and no more come."""
    deadline = time.monotonic() + START_LIMIT_S
    found: list[int] = []
    while time.monotonic() < deadline:
        time.sleep(SETTLED_S)
        _check_alive(daemon, folder)
        before, found = found, processes.tree(daemon.pid)
        if len(found) >= 3 and found == before:
            return
    raise RuntimeError(f"the cathedral did not start: {(folder / 'log').read_text()[-2000:]}")


def _resident_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (each for each in status.splitlines() if each.startswith("VmRSS:"))
    return int(line.split()[1])


def _check_alive(daemon: subprocess.Popen[Any], folder: Path) -> None:
    if daemon.poll() is not None:
        raise RuntimeError(f"the cathedral ended: {(folder / 'log').read_text()[-2000:]}")
