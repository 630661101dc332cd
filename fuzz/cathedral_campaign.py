"""A campaign against a loaded cathedral: at each of its entries a million hostile datagrams.

    make fuzz ARGS="cathedral"                          a million at each entry, five minutes
    make fuzz ARGS="cathedral --datagrams 50000"

A cathedral serves some hundred tunnels; somebody throws what he likes at it from any address, those
of its federation and of its clients among them (``heresies``). Its clients must go on being
answered, memory and log stay bounded. Exit status 1 if not.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.cathedral import ADDRESS, Cathedral, cathedral
from chancel.demo.programs import CHANCEL
from fuzz.heresies import ENTRIES

ROOT = Path(__file__).parents[1]

DEVICES = 12
"""With 132 tunnels."""

RATE_PPS = 20_000.0
FEDERATED = "192.168.201.9"
NETWORKS = ["192.168.201", "10.80.0", "10.81.7", "203.0.113"]
"""Sources: the cathedral's own network, that of its devices, and strangers."""

ANSWERED = 0.9
"""Of the clients' infos while it lasts: the socket's buffer is shared with the flood. To refuse one
datagram takes some 7 microseconds, and the signatures that are checked in vain another 7%, so this
flood needs a fifth of a core. A cathedral that gets less finds its buffer full, some 30,000
datagrams, and loses of its clients' as many as of the others'."""

MOST_LOG_LINES = 200
MOST_GROWTH_KB = 96 * 1024
"""What the tables may hold once a client that may has filled them."""

INTERVAL_S = 5.0


class Phase(NamedTuple):
    """What the flood at one entry did."""

    entry: str
    thrown: int
    seconds: float
    answered: float
    growth_kb: int
    log_lines: int
    alive: bool

    @property
    def passed(self) -> bool:
        """Whether the cathedral's clients hardly noticed."""
        return (
            self.alive
            and self.answered >= ANSWERED
            and self.log_lines < MOST_LOG_LINES
            and self.growth_kb < MOST_GROWTH_KB
        )

    def __str__(self) -> str:
        return (
            f"{self.entry}: {self.thrown:,} in {self.seconds:.0f} s; {self.answered:.1%} of the"
            f" clients' infos answered, memory {self.growth_kb:+,} KiB, {self.log_lines} log lines;"
            f" {'passed' if self.passed else 'FAILED'}"
        )


def attack(running: Cathedral, entry: str, count: int, rate: float, seed: int) -> Phase:
    """One entry's flood, with the clients at work from before its begin to its end."""
    memory = running.memory_kb()
    rounds = 2 + int(count / rate / INTERVAL_S) + 1
    clients = running.devices.start(
        "benchmarks.congregation:register", str(running.folder), ADDRESS, DEVICES, rounds, False
    )
    next(clients.progress)
    next(clients.progress)  # all are registered
    facts = running.devices.call(
        "fuzz.heresies:throw",
        str(running.folder),
        entry,
        ADDRESS,
        NETWORKS,
        FEDERATED,
        rate,
        count,
        seed,
    )
    told = list(clients.progress)
    return Phase(
        entry,
        facts["thrown"],
        facts["seconds"],
        sum(each["answers"] for each in told) / sum(each["sent"] for each in told),
        running.memory_kb() - memory,
        len((running.folder / "log").read_text().splitlines()),
        all(Path(f"/proc/{pid}").exists() for pid in running.pids),
    )


def run(
    count: int,
    rate: float,
    seed: int,
    tell: Callable[[str], None],
    entries: Sequence[str] = tuple(ENTRIES),
) -> list[Phase]:
    """The whole campaign. Raises :class:`chancel.lab.namespace.LabError` without a lab."""
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.getenv("PYTHONPATH"))))
    phases = []
    with cathedral(CHANCEL, DEVICES, f"federate {FEDERATED} 2333\n") as running:
        for entry in entries:
            phases.append(attack(running, entry, count, rate, seed))
            tell(str(phases[-1]))
    return phases


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m fuzz cathedral",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--datagrams", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, default=RATE_PPS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    phases = run(
        options.datagrams, options.rate, options.seed, lambda line: print(line, flush=True)
    )
    return 0 if all(phase.passed for phase in phases) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
