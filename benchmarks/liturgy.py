"""A liturgy in one group: how long it takes until all are met, and what each further one costs.

One member is the daemon, in a host of its own. All others are the library's, at addresses of their
own in another host, where the cathedral is, too. Three such liturgies stand side by side, with 2,
32 and 253 others (no more have a number); each meets its members before the next one begins, and
all are idle at the same time. Whatever grows with their number has to grow less than it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks import processes
from benchmarks.congregation import address_of
from benchmarks.result import Figure, Ratio, Result, Step, Target
from chancel.daemon import ctl
from chancel.daemon.config_types import LITURGY_PROCESSES
from chancel.demo.programs import CHANCEL
from chancel.demo.sacristy import HOME, LEFT, Sacristy
from chancel.lab.lab import Host, Lab, Task
from chancel.sim.roll_over import DEVICES, LIMIT_S, roll_over

OTHERS = (2, 32, 253)
OWN: Final = 1
"""Our number; the others have those from 2 on."""

LOSSES = (0.0, 0.05)

SETTLED_S, IDLE_S = 30.0, 60.0
"""They are idle when all have found their direct paths, and their MTU."""

HERE, THERE = "192.168.201.1", "192.168.201.2"
DEVICES_NETWORK = "10.80.0.0/16"
PORT, NAT_PORT = 2333, 2334
START_LIMIT_S, JOIN_LIMIT_S, END_LIMIT_S = 60.0, 300.0, 20.0
LOOK_INTERVAL_S = 0.1
LOG_TAIL_CHARACTERS = 2000

CATHEDRAL_DUTIES = ("control", "cathedral", "purgatory-rx", "purgatory-tx")


class Cost(NamedTuple):
    """What a measure is called, and its unit."""

    name: str
    unit: str


COSTS = {
    "join": Cost("from the others' first word until all tunnels are up", "s"),
    "memory": Cost("memory of the group (PSS), without lanes", "MB"),
    "lanes": Cost("lanes and boards of the group", "MB"),
    "files": Cost("open files of the group", ""),
    "work": Cost("idle: work of the group", "s CPU/min"),
    "wakeups": Cost("idle: wake-ups of the group", "per min"),
}


def run() -> Iterator[Result | Step]:
    """Each figure for each number of others, and how it grows."""
    samples: dict[int, dict[str, float]] = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chancel-bench-")))
        sacristy = Sacristy(folder / "sacristy")
        sacristy.bundle()
        gathered = {}
        for place, others in enumerate(OTHERS):
            yield Step(f"liturgy: meeting {others} others", 0.15 * place)
            home = folder / str(others)
            home.mkdir()
            gathering = stack.enter_context(Gathering(home, sacristy, others))
            gathered[others] = gathering
            samples[others] = {"join": gathering.meet()}
        yield Step("liturgy: waiting until all is quiet", 0.5)
        time.sleep(SETTLED_S)
        yield Step(f"liturgy: idle for {IDLE_S:g} s", 0.6)
        for others, idle in _idle(gathered).items():
            samples[others] |= idle
        for gathering in gathered.values():
            gathering.leave_alone()
        for others, gathering in gathered.items():
            samples[others] |= gathering.weight()
    yield from figures(samples)
    yield from _roll_overs()


def _roll_overs() -> Iterator[Result | Step]:
    """The times of all ends: the figure is that of the last one."""
    for place, loss in enumerate(LOSSES):
        yield Step(f"liturgy: a new bundle for {DEVICES} devices", 0.9 + 0.05 * place)
        times = roll_over(loss, seed=1)
        if len(times) != 2 * (DEVICES - 1):
            raise RuntimeError(f"{len(times)} ends have the new secret")
        name = f"roll-over to {DEVICES} devices, {loss:.0%} of all datagrams lost (virtual)"
        yield Figure(name, "s", [max(times)], Target("≤", LIMIT_S), less=True)


def figures(samples: Mapping[int, Mapping[str, float]]) -> Iterator[Result]:
    """All figures, by the number of others; and the growth of each from one number to the next."""
    for key, (name, unit) in COSTS.items():
        for others, sample in samples.items():
            yield Figure(name, unit, [sample[key]], program=f"{others} others", less=True)
    counts = list(samples)
    for key, (name, _) in COSTS.items():
        for fewer, more in itertools.pairwise(counts):
            yield Ratio(
                name,
                [samples[more][key]],
                [samples[fewer][key]],
                Target("≤", more / fewer),
                program=f"{more} others, against {fewer}",
                less=True,
            )


class Gathering:
    """A daemon, a cathedral and so many others; from ``with`` on there are the first two."""

    def __init__(self, folder: Path, sacristy: Sacristy, others: int) -> None:
        self._folder, self._sacristy, self._others = folder, sacristy, others
        self._runtime = folder / "run"
        self._daemons: list[subprocess.Popen[Any]] = []
        self._stack = contextlib.ExitStack()
        self._company: Task | None = None

    def __enter__(self) -> Gathering:
        with self._stack:
            lab = self._stack.enter_context(Lab())
            self._host, self._there = lab.host("member"), lab.host("others")
            lab.veth(self._host, f"{HERE}/24", self._there, f"{THERE}/24")
            self._host.call("benchmarks.cathedral:add_route", DEVICES_NETWORK, THERE)
            places = [address_of(device) for device in self._devices]
            self._there.call("benchmarks.cathedral:add_addresses", places)
            self._start("cathedral", self._there, self._cathedral())
            self._start("member", self._host, self._member())
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        with self._stack:
            for daemon in self._daemons:
                _stop(daemon)

    @property
    def _devices(self) -> range:
        return range(OWN + 1, OWN + 1 + self._others)

    @property
    def pids(self) -> list[int]:
        """All processes of the daemon."""
        return processes.tree(self._daemons[-1].pid)

    def meet(self) -> float:
        """Have the others come; seconds until all tunnels are up. Raises LabError."""
        devices = [(each, address_of(each), self._kek(each)) for each in self._devices]
        common = {
            "addresses": [f"{THERE}:{PORT}"],
            "identity": LEFT.identity,
            "flock": LEFT.flock_with_domain,
            "nat_port": NAT_PORT,
        }
        keys = [str(self._sacristy.secret(LEFT)), str(self._sacristy.cosk(LEFT))]
        self._company = self._there.start(
            "benchmarks.loads.members:attend", devices, keys, common, JOIN_LIMIT_S
        )
        begun, *moments = itertools.islice(self._company.progress, 1 + self._others)
        self._check()
        return float(max(moments) - begun)

    def leave_alone(self) -> None:
        """End all others, and the cathedral."""
        assert self._company is not None
        self._company.program.kill()
        self._company.program.wait()
        _stop(self._daemons.pop(0))

    def weight(self) -> dict[str, float]:
        """Memory, and open files."""
        own, lanes = self._host.call("benchmarks.processes:memory_mb", self.pids)
        files = self._host.call("benchmarks.liturgy:open_files", self.pids)
        return {"memory": own, "lanes": lanes, "files": files}

    def _kek(self, device: int) -> str:
        return str(self._sacristy.kek(dataclasses.replace(LEFT, device=device)))

    def _check(self) -> None:
        """Raise RuntimeError unless there is a tunnel with both keys to each of the others."""
        (group,) = ctl.survey(self._runtime).groups
        tunnels = group.answer["tunnels"]
        up = sum(each["tx"]["spi"] != 0 and each["rx"]["spi"] != 0 for each in tunnels)
        if up != self._others:
            raise RuntimeError(f"{up} of {self._others} tunnels are up")

    def _start(self, name: str, host: Host, lines: list[str]) -> None:
        """Start a daemon, and wait until it answers. Raises RuntimeError with its log."""
        config, log = self._folder / f"{name}.conf", self._folder / f"{name}.log"
        config.write_text("".join(f"{line}\n" for line in lines))
        runtime = self._runtime if name == "member" else self._folder / f"{name}.run"
        with log.open("w") as file:
            daemon = host.popen(
                [*CHANCEL.command, "-c", str(config)],
                stdout=file,
                stderr=file,
                env={**os.environ, "CHANCEL_RUNTIME_DIR": str(runtime)},
            )
        self._daemons.append(daemon)
        deadline = time.monotonic() + START_LIMIT_S
        while not (runtime.is_dir() and ctl.survey(runtime).groups):
            if daemon.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text()[-LOG_TAIL_CHARACTERS:]
                raise RuntimeError(f"the {name} did not start: {tail}")
            time.sleep(LOOK_INTERVAL_S)

    def _cathedral(self) -> list[str]:
        keys, settings = self._sacristy, self._folder / "settings"
        allowed = [f"allow {LEFT.identity:x} spi {device:x} 0" for device in (OWN, *self._devices)]
        block = [f"flock {HOME:x} {{", *allowed, f"ambry {keys.bundle()}", "}"]
        settings.write_text("\n".join(block) + "\n")
        return [
            "mode cathedral",
            "instance cathedral",
            f"local {THERE}:{PORT}",
            f"secret {keys.sync}",
            f"secretdir {keys.secretdir}",
            f"settings {settings}",
            f"cathedral_nat_port {NAT_PORT}",
            *(f"run {name} as root" for name in CATHEDRAL_DUTIES),
        ]

    def _member(self) -> list[str]:
        secrets = self._folder / "secrets"
        secrets.mkdir()
        return [
            "mode liturgy",
            "instance member",
            f"spi {OWN:02x}",
            "liturgy_prefix 10.15.0.0",
            f"secretdir {secrets}",
            f"kek {self._kek(OWN)}",
            f"cathedral {THERE}:{PORT}",
            f"cathedral_id {LEFT.identity:x}",
            f"cathedral_flock {LEFT.flock_with_domain:x}",
            f"cathedral_secret {self._sacristy.secret(LEFT)}",
            f"cathedral_cosk {self._sacristy.cosk(LEFT)}",
            f"cathedral_nat_port {NAT_PORT}",
            *(f"run {name} as root" for name in LITURGY_PROCESSES),
        ]


def _stop(daemon: subprocess.Popen[Any]) -> None:
    daemon.terminate()
    daemon.wait(END_LIMIT_S)


def open_files(pids: list[int]) -> int:
    """In a host: how many these processes have."""
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)


def _idle(gathered: Mapping[int, Gathering]) -> dict[int, dict[str, float]]:
    """What each costs while nobody works, side by side."""
    pids = {others: gathering.pids for others, gathering in gathered.items()}
    before = {others: _used(each) for others, each in pids.items()}
    time.sleep(IDLE_S)
    after = {others: _used(each) for others, each in pids.items()}
    return {
        others: {key: (after[others][key] - value) * 60 / IDLE_S for key, value in each.items()}
        for others, each in before.items()
    }


def _used(pids: list[int]) -> dict[str, float]:
    return {"work": processes.work_s(pids), "wakeups": processes.wakeups(pids)}
