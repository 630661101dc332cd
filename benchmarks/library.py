"""What one tunnel of the library carries between two processes, and what an idle one costs.

Two processes, one tunnel, loopback UDP, the batch calls; the rate is what arrives, since a sender
that is faster than its receiver only loses more. Memory is that of many tunnels which are up, with
session and keys, over ports in memory whose own share is small: what Python's allocator gave, and
beside it what the process grew by, the inside of OpenSSL's objects included.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.result import Figure, Result, Target
from chancel.crypto.system import SystemSuite
from chancel.links.memory import MemoryNetwork
from chancel.links.udp import UdpPort
from chancel.tunnel import Tunnel
from chancel.wire.types import Address

ROUNDS = 5
SECONDS = 3.0
MESSAGE_BYTES = 1300
BATCH = 128
PAIRS = 100
SETTLED_S = 2.0
"""After this time, exchanges are over and their key pairs are gone."""
READY_S = 20.0
PATIENCE_S = 5.0
"""The receiver stops when nothing comes for so long."""

LOOPBACK = Address("127.0.0.1", 0)
SECRET = bytes(range(32))
KIB = 1024


def run() -> Iterator[Result]:
    """Packets per second, the share that is lost and the work; memory per tunnel."""
    rounds = [_carried() for _ in range(ROUNDS)]
    name = f"library, {MESSAGE_BYTES:,} B"
    rates = [each.packets_per_s for each in rounds]
    yield Figure(f"{name}: carried", "packets/s", rates, Target("≥", 150_000))
    yield Figure(f"{name}: lost of what was sent", "%", [each.lost_percent for each in rounds])
    yield Figure(f"{name}: work of the sender", "µs CPU/packet", [each.send_us for each in rounds])
    yield Figure(
        f"{name}: work of the receiver", "µs CPU/packet", [each.receive_us for each in rounds]
    )
    memory = _call("memory")
    yield Figure(
        "an idle tunnel object: Python's memory", "KB", [memory["traced"]], Target("≤", 40)
    )
    yield Figure("an idle tunnel object: all memory", "KB", [memory["resident"]])


class Round(NamedTuple):
    """What one round gave: the rate is of what arrived."""

    packets_per_s: float
    lost_percent: float
    send_us: float
    receive_us: float


def _carried() -> Round:
    with _started("receive") as receiver:
        assert receiver.stdout is not None
        port = json.loads(receiver.stdout.readline())
        sent = _call("send", str(port))
        received = json.loads(receiver.stdout.readline())
    return Round(
        received["packets"] / received["seconds"],
        100 * (1 - received["packets"] / sent["packets"]),
        sent["cpu_s"] / sent["packets"] * 1e6,
        received["cpu_s"] / received["packets"] * 1e6,
    )


def _call(*arguments: str) -> dict[str, Any]:
    """What one of the programs below prints, run to its end."""
    with _started(*arguments) as program:
        out, _ = program.communicate(timeout=120)
    answer: dict[str, Any] = json.loads(out)
    return answer


@contextlib.contextmanager
def _started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "benchmarks.library", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:  # noqa: S603 - our own words
        try:
            yield program
        except BaseException:
            program.kill()
            raise


async def send(port: int) -> None:
    """Send as fast as may be for a while; print how many packets."""
    peer = Address(LOOPBACK.host, port)
    async with Tunnel(UdpPort.bind(LOOPBACK), SECRET, peer) as tunnel:
        await tunnel.ready(READY_S)
        batch = [bytes(MESSAGE_BYTES)] * BATCH
        sent, cpu_s = 0, time.process_time()
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            await tunnel.send_batch(batch)
            sent += BATCH
        cpu_s = time.process_time() - cpu_s
    print(json.dumps({"packets": sent, "cpu_s": cpu_s}))


async def receive() -> None:
    """Print the port; receive until it gets quiet, and print how many came in which time."""
    udp = UdpPort.bind(LOOPBACK)
    print(udp.local.port, flush=True)
    async with Tunnel(udp, SECRET) as tunnel:
        packets = len(await tunnel.receive_batch())
        first = last = time.monotonic()
        cpu_s = time.process_time()
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(SECONDS + PATIENCE_S - (last - first)):
                    packets += len(await tunnel.receive_batch())
                last = time.monotonic()
        cpu_s = time.process_time() - cpu_s
    print(json.dumps({"packets": packets, "seconds": last - first, "cpu_s": cpu_s}))


async def memory() -> None:
    """Print what each of many idle tunnels takes, in KB."""
    network, suite = MemoryNetwork(), SystemSuite()

    async def add(number: int) -> tuple[Tunnel, Tunnel]:
        left, right = Address("left", number), Address("right", number)
        calling = Tunnel(network.port(left), SECRET, right, suite=suite)
        called = Tunnel(network.port(right), SECRET, suite=suite)
        for tunnel in (calling, called):
            await tunnel.__aenter__()
        for tunnel in (calling, called):
            await tunnel.ready(READY_S)
        return calling, called

    async def grown() -> tuple[int, int]:
        await asyncio.sleep(SETTLED_S)
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return tracemalloc.get_traced_memory()[0], pages * 4 * KIB

    kept = [await add(0)]
    resident_before = (await grown())[1]
    kept += [await add(number) for number in range(1, PAIRS + 1)]
    resident = (await grown())[1] - resident_before
    tracemalloc.start()
    traced_before = (await grown())[0]
    kept += [await add(number) for number in range(PAIRS + 1, 2 * PAIRS + 1)]
    traced = (await grown())[0] - traced_before
    for pair in kept:
        for tunnel in pair:
            tunnel.close()
    each = {"traced": traced, "resident": resident}
    print(json.dumps({name: size / (2 * PAIRS) / KIB for name, size in each.items()}))


def main() -> None:
    """One of the programs that are measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.library")
    parser.add_argument("role", choices=("send", "receive", "memory"))
    parser.add_argument("port", nargs="?", type=int, default=0)
    options = parser.parse_args()
    programs = {"send": lambda: send(options.port), "receive": receive, "memory": memory}
    asyncio.run(programs[options.role]())


if __name__ == "__main__":
    main()
