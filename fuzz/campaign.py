"""A campaign: bad input of every kind thrown at a real group that has a real tunnel to keep up.

    make fuzz ARGS="campaign"                              a million datagrams, 100,000 of the rest
    make fuzz ARGS="campaign --datagrams 50000 --messages 0 --frames 0"

Two hosts of the lab, a daemon in each, and on the way between them somebody who hears everything
and sends what he likes; a local user who commands the control sockets and writes to the device. The
tunnel must stay up, every process live, and the logs stay short. Exit status 1 if not.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from chancel.lab.lab import Lab
from fuzz import findings
from tests.e2e.ends import End, Pair, is_alive

ROOT = Path(__file__).parents[1]

MOST_LOG_LINES = 100
"""Of one group, from its start to the end of the campaign."""

MOST_GROWTH_KB = 24 * 1024
"""Of one process. bless touches all of its lanes and fills its caches of views: 16 MiB, and no more
after three times the frames."""

PORT = 2300
LEFT, RIGHT = "10.77.0.1", "10.77.0.2"
HEARD = 160
RATE_PPS = 20_000.0
"""More than a person's flood and less than what the kernel would throw away unread."""

FRAME_RATE_PPS = 4_000.0

PINGS = 20
_PING_ROUNDS = 4


class Counts(NamedTuple):
    """How much of what."""

    datagrams: int = 1_000_000
    messages: int = 100_000
    frames: int = 100_000


class Phase(NamedTuple):
    """What one kind of bad input did."""

    name: str
    thrown: int
    seconds: float
    facts: dict[str, Any]
    growth_kb: dict[str, int]
    """How much more memory is resident, by process of the group it was thrown at."""
    pings: int
    """Echoes of :data:`PINGS` that came back through the tunnel afterwards."""
    alive: bool
    log_lines: tuple[int, int]

    @property
    def passed(self) -> bool:
        """Whether the group is as it was."""
        return (
            self.alive
            and self.pings == PINGS
            and max(self.log_lines) < MOST_LOG_LINES
            and max(self.growth_kb.values()) < MOST_GROWTH_KB
        )

    def __str__(self) -> str:
        growth = max(self.growth_kb.items(), key=lambda item: item[1])
        facts = ", ".join(f"{name} {value:,}" for name, value in self.facts.items())
        return (
            f"{self.name}: {self.thrown:,} in {self.seconds:.0f} s; {facts}; then {self.pings} of"
            f" {PINGS} echoes, log lines {self.log_lines[0]} and {self.log_lines[1]}, most memory:"
            f" {growth[0]} {growth[1]:+,} KiB; {'passed' if self.passed else 'FAILED'}"
        )


class Campaign:
    """The tunnel, and who abuses it."""

    def __init__(self, lab: Lab, folder: Path, seed: int) -> None:
        self.seed = seed
        hosts = lab.host("left"), lab.host("right")
        self.pair = Pair(*hosts, folder)
        left, right = self.pair.ends
        lab.veth(hosts[0], f"{left.outer}/24", hosts[1], f"{right.outer}/24")
        self.status_socket = left.home / "status"
        self.pair.configure(0, "1400")
        path = left.home / "t0.conf"
        path.write_text(path.read_text() + f"control {self.status_socket} root\n")
        self.recorded = self._record()
        self.processes = [end.processes() for end in self.pair.ends]

    def _record(self) -> list[str]:
        """Start, and hear what comes by at the left end: offers, heartbeats and traffic."""
        left = self.pair.left
        interface = next(iter(left.devices() - {"lo"}))
        hearing = left.host.start("tests.e2e.inside:overhear", interface, PORT, HEARD)
        next(hearing.progress)
        self.pair.start()
        assert left.ping(RIGHT, HEARD, 0.005) > 0
        heard: dict[str, list[str]] = hearing.result()
        return heard["in"] + heard["out"]

    def datagrams(self, count: int, rate: float = RATE_PPS) -> Phase:
        """Mutated and replayed datagrams at the left end's port, half of them spoofed."""
        left, right = self.pair.ends
        spoofed = (right.outer, PORT)

        def throw() -> dict[str, Any]:
            before = left.tunnel("t0")["traffic"]["rx"]["datagrams"]
            lost = left.host.call("fuzz.thrower:lost_datagrams", PORT)
            target = (left.outer, PORT)
            facts: dict[str, Any] = right.host.call(
                "fuzz.thrower:datagrams", self.recorded, target, spoofed, rate, count, self.seed
            )
            time.sleep(1.0)
            lost = left.host.call("fuzz.thrower:lost_datagrams", PORT) - lost
            taken = left.tunnel("t0")["traffic"]["rx"]["datagrams"] - before
            return facts | {"taken": taken, "lost in the kernel": lost}

        return self._phase("datagrams", count, left, throw)

    def messages(self, count: int) -> Phase:
        """Hostile requests on the left end's control sockets."""
        left = self.pair.left
        streams = [str(path) for path in left.runtime.iterdir() if path.is_socket()]
        return self._phase(
            "control messages",
            count,
            left,
            lambda: left.host.call(
                "fuzz.thrower:messages", streams, str(self.status_socket), count, self.seed
            ),
        )

    def frames(self, count: int, rate: float = FRAME_RATE_PPS) -> Phase:
        """Hostile packets written to the left end's device."""
        left = self.pair.left

        def throw() -> dict[str, Any]:
            before = left.tunnel("t0")["traffic"]["tx"]["packets"]
            facts: dict[str, Any] = left.host.call(
                "fuzz.thrower:frames", "t0", (LEFT, RIGHT), rate, count, self.seed
            )
            time.sleep(1.0)
            return facts | {"cut into": left.tunnel("t0")["traffic"]["tx"]["packets"] - before}

        return self._phase("frames", count, left, throw)

    def _phase(self, name: str, count: int, end: End, throw: Callable[[], dict[str, Any]]) -> Phase:
        before = _memory_kb(end)
        started = time.monotonic()
        facts = throw()
        seconds = time.monotonic() - started
        pings = self._pings()
        after = _memory_kb(end)
        return Phase(
            name,
            count,
            seconds,
            facts,
            {duty: after.get(duty, 0) - kb for duty, kb in before.items()},
            pings,
            all(is_alive(pid) for group in self.processes for pid in group.values())
            and [each.processes() for each in self.pair.ends] == self.processes,
            (len(self.pair.left.logged("")), len(self.pair.right.logged(""))),
        )

    def _pings(self) -> int:
        """Echoes through the tunnel; what is still queued before them may cost the first ones."""
        came = 0
        for _ in range(_PING_ROUNDS):
            came = self.pair.left.ping(RIGHT, PINGS)
            if came == PINGS:
                break
        return came


def _memory_kb(end: End) -> dict[str, int]:
    """Resident memory of each process of a group."""
    found = {}
    for duty, pid in end.processes().items():
        status = Path(f"/proc/{pid}/status").read_text()
        (line,) = (each for each in status.splitlines() if each.startswith("VmRSS:"))
        found[duty] = int(line.split()[1])
    return found


def run(counts: Counts, seed: int, tell: Callable[[str], None]) -> list[Phase]:
    """The whole campaign. Raises :class:`chancel.lab.namespace.LabError` without a lab."""
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.getenv("PYTHONPATH"))))
    folder = Path(tempfile.mkdtemp(prefix="chancel-fuzz-"))
    folder.chmod(0o711)
    phases = []
    try:
        with Lab() as lab:
            campaign = Campaign(lab, folder, seed)
            for throw, count in zip(
                (campaign.datagrams, campaign.messages, campaign.frames), counts, strict=True
            ):
                if count:
                    phases.append(throw(count))
                    tell(str(phases[-1]))
            assert campaign.pair.stop() == [0, 0]
    finally:
        findings.FOLDER.mkdir(parents=True, exist_ok=True)
        for log in folder.glob("*/log"):
            shutil.copy(log, findings.FOLDER / f"campaign-{log.parent.name}.log")
        shutil.rmtree(folder, ignore_errors=True)
    return phases


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m fuzz campaign",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, count in Counts()._asdict().items():
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    counts = Counts(options.datagrams, options.messages, options.frames)
    phases = run(counts, options.seed, lambda line: print(line, flush=True))
    return 0 if all(phase.passed for phase in phases) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
