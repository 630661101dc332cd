"""Traffic through a tunnel: bulk TCP, UDP under overload, ping; against whatever peers there are.

Two hosts of the lab joined by the kernel's own wire, one tunnel, everything on this machine: both
ends and the load generator share its cores. Programs take turns, round by round, because the
machine's speed drifts; figures of one run may be compared, figures of two runs not.

The reference daemon takes part as root with SANCTUM=/path/to/sanctum.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.result import Figure, LeftOut, Result, Target
from chancel.lab.lab import Host, Lab

ROUNDS = 5
SECONDS = 3.0
PINGS = 100
UDP_BYTES = 1300
UDP_PACKETS_PER_S = 60_000
UDP_SECONDS = 1.5
UP_LIMIT_S = 15.0
DUTIES = [
    "heaven-rx",
    "heaven-tx",
    "purgatory-rx",
    "purgatory-tx",
    "bless",
    "confess",
    "chapel",
    "control",
]


class Program(NamedTuple):
    """A daemon to measure: its name in the table, its command, and directives of its own."""

    name: str
    command: tuple[str, ...]
    directives: str = ""


CHANCEL = Program("chancel", (sys.executable, "-m", "chancel.cli.main", "run"))
PER_PACKET = Program("chancel, offload off", CHANCEL.command, "offload off\n")


class Round(NamedTuple):
    """What one round of one program gave."""

    tcp_gbit_s: float
    udp_mbit_s: float
    ping_ms: float


def run() -> Iterator[Result]:
    """Medians for each program, and Chancel's TCP rate as a multiple of the reference's."""
    reference = os.environ.get("SANCTUM")
    programs = [CHANCEL, PER_PACKET]
    if reference and os.geteuid() == 0:
        programs.append(Program("reference", (reference,)))
    rounds: dict[str, list[Round]] = {program.name: [] for program in programs}
    for _ in range(ROUNDS):
        for program in programs:
            rounds[program.name].append(measure(program))
    for name, results in rounds.items():
        yield Figure(f"TCP bulk, one stream: {name}", "Gbit/s", [r.tcp_gbit_s for r in results])
    for name, results in rounds.items():
        yield Figure(
            f"UDP 1,300 B under overload: {name}", "Mbit/s", [r.udp_mbit_s for r in results]
        )
    for name, results in rounds.items():
        yield Figure(f"ping, idle, median: {name}", "ms", [r.ping_ms for r in results])
    if "reference" in rounds:
        pairs = zip(rounds["chancel"], rounds["reference"], strict=True)
        ratios = [ours.tcp_gbit_s / theirs.tcp_gbit_s for ours, theirs in pairs]
        yield Figure("TCP bulk: chancel / reference", "times", ratios, Target("≥", 2.0))
    else:
        yield LeftOut("reference", "as root: make bench SANCTUM=/path/to/sanctum")


def measure(program: Program) -> Round:
    """One round: a new lab, both daemons, and all three loads."""
    with tempfile.TemporaryDirectory() as folder, Lab() as lab:
        left, right = lab.host("left"), lab.host("right")
        lab.veth(left, "192.168.201.1/24", right, "192.168.201.2/24")
        with daemons(program, Path(folder), left, right):
            wait_up(left)
            return Round(tcp(left, right), udp(left, right), ping(left))


@contextlib.contextmanager
def daemons(program: Program, folder: Path, left: Host, right: Host) -> Iterator[None]:
    """Both ends of one tunnel; its inner addresses are 10.77.0.1 and 10.77.0.2."""
    secret = folder / "secret"
    secret.touch(0o600)
    secret.write_bytes(os.urandom(32))
    running = []
    for host, own, peer in ((left, 1, 2), (right, 2, 1)):
        config = folder / f"{host.name}.conf"
        config.write_text(
            f"instance {host.name}\nsecret {secret}\ntunnel 10.77.0.{own}/30 1422\n"
            f"local 192.168.201.{own}:2333\npeer 192.168.201.{peer}:2333\n"
            f"control {folder}/{host.name}.control root\n"
            + "".join(f"run {duty} as root\n" for duty in DUTIES)
            + program.directives
        )
        environment = {**os.environ, "CHANCEL_RUNTIME_DIR": str(folder / f"{host.name}.run")}
        with (folder / f"{host.name}.log").open("w") as log:
            command = [*program.command, "-c", str(config)]
            running.append(host.popen(command, stdout=log, stderr=log, env=environment))
    try:
        yield
    finally:
        for daemon in running:
            daemon.terminate()
        for daemon in running:
            daemon.wait(10)


def wait_up(host: Host) -> None:
    """Wait for the first echo through the tunnel."""
    deadline = time.monotonic() + UP_LIMIT_S
    while time.monotonic() < deadline:
        if host.call("chancel.lab.ping:ping", "10.77.0.2", 1, 0.1)["received"]:
            time.sleep(1.0)
            return
    raise RuntimeError("the tunnel did not come up")


def tcp(left: Host, right: Host) -> float:
    """Bulk TCP, one stream, as its receiver saw it."""
    receiver = right.start("chancel.lab.bulk:receive", "10.77.0.2")
    next(receiver.progress)
    left.call("chancel.lab.bulk:send", "10.77.0.2", 5201, SECONDS)
    result = receiver.result()
    return float(result["bytes"] * 8 / result["seconds"] / 1e9)


def udp(left: Host, right: Host) -> float:
    """UDP offered faster than anybody carries it: what arrived."""
    receiver = right.start("chancel.lab.blast:receive", "10.77.0.2")
    next(receiver.progress)
    count = int(UDP_PACKETS_PER_S * UDP_SECONDS)
    left.call("chancel.lab.blast:send", "10.77.0.2", 5202, count, UDP_BYTES, UDP_PACKETS_PER_S)
    result = receiver.result()
    return float(result["packets"] * UDP_BYTES * 8 / max(result["seconds"], 1e-9) / 1e6)


def ping(left: Host) -> float:
    """The median round trip of an idle tunnel, ms."""
    result = left.call("chancel.lab.ping:ping", "10.77.0.2", PINGS, 0.02)
    return statistics.median(float(rtt) * 1e3 for rtt in result["rtts_s"] if rtt is not None)
