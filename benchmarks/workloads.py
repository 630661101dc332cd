"""What is measured of a tunnel, and under which load.

A workload takes the ends and returns figures by the keys of ``MEASURES``.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import processes
from benchmarks.ends import Ends, Side
from benchmarks.result import Figure
from chancel.lab.lab import Task

Sample = dict[str, float]
"""Key of a measure → figure, of one program in one round."""

Workload = Callable[[Ends, float], Sample]
"""The second argument: for how many seconds there is load."""


class Measure(NamedTuple):
    """Its name in tables, its unit, and whether less is better."""

    name: str
    unit: str
    less: bool = False

    def figure(self, samples: list[float], program: str) -> Figure:
        """What was measured of a program."""
        return Figure(self.name, self.unit, samples, program=program, less=self.less)


UDP_LARGE, UDP_SMALL = 1300, 64
"""Payload bytes of the packets."""
FIXED_BITS_PER_S = {UDP_LARGE: 800e6, UDP_SMALL: 50e6}
"""Offered to see what is lost. Overload is no rate: it is as much as one process can send, since a
rate that overloads all programs on one machine is carried by some of them on another."""

FULL_PACKET_BYTES = 1370
"""Of data in a TCP segment at the usual MTU of the tunnel, for figures per packet."""

IDLE_INTERVAL_S, LOADED_INTERVAL_S = 0.02, 0.005
CALLS, USERS, BULK_FLOWS = 2, 4, 2
"""The flows of mixed traffic; of the bulk ones one goes each way."""

RUN_UP_S = 0.02
"""From the gate's opening to the beginning."""
TAIL_S = 0.3
"""Load begins so long before what is measured beside it, and ends so long after."""

MEASURES = {
    "tcp1": Measure("TCP, one stream", "Gbit/s"),
    "tcp1_back": Measure("TCP, one stream, the other way", "Gbit/s"),
    "tcp8": Measure("TCP, eight streams", "Gbit/s"),
    "tcp8_back": Measure("TCP, eight streams, the other way", "Gbit/s"),
    "work": Measure("work of both ends", "s CPU/GB", less=True),
    "wakeups": Measure("wake-ups of both ends", "per 1,000 packets", less=True),
    "calls": Measure("system calls of both ends", "per 1,000 packets", less=True),
    "udp1300_lost": Measure("UDP 1,300 B: lost of 800 Mbit/s", "%", less=True),
    "udp1300_offered": Measure("UDP 1,300 B: offered as overload", "Mbit/s"),
    "udp1300": Measure("UDP 1,300 B: delivered under overload", "Mbit/s"),
    "udp64_lost": Measure("UDP 64 B: lost of 50 Mbit/s", "%", less=True),
    "udp64_offered": Measure("UDP 64 B: offered as overload", "Mbit/s"),
    "udp64": Measure("UDP 64 B: delivered under overload", "Mbit/s"),
    "rtt_idle": Measure("RTT, idle: p50", "ms", less=True),
    "rtt_idle_p99": Measure("RTT, idle: p99", "ms", less=True),
    "rtt_loaded": Measure("RTT under one TCP stream: p50", "ms", less=True),
    "rtt_loaded_p99": Measure("RTT under one TCP stream: p99", "ms", less=True),
    "mixed": Measure("mixed traffic: carried", "Mbit/s"),
    "mixed_web": Measure("mixed traffic: short transfers", "per s"),
    "mixed_voice_lost": Measure("mixed traffic: voice lost", "%", less=True),
    "mixed_voice_age": Measure("mixed traffic: voice, age p99", "ms", less=True),
    "first_packet": Measure("from start to first answer", "s", less=True),
    "memory": Measure("memory of one end after traffic (PSS), without lanes", "MB", less=True),
    "lanes": Measure("lanes or rings of one end", "MB", less=True),
}
BOTH_WAYS = ("tcp1", "tcp1_back")
"""The keys of one TCP stream: some programs are much faster one way than the other."""

MASKED = "shroud_"
"""Before the keys of what was measured with masked datagrams."""

MASKED_MEASURES = {
    f"{MASKED}{key}": MEASURES[key]._replace(name=f"shroud on: {MEASURES[key].name}")
    for key in ("tcp1", "work", "udp1300", "rtt_idle")
}

CAUSES = ("udp1300_offered", "udp64_offered")
"""Measures of the load, by which nobody is better."""


def tcp(ends: Ends, streams: int, seconds: float) -> float:
    """Gbit/s of bulk TCP, as the receiver saw it."""
    return _stream(ends, streams, seconds) * 8 / seconds / 1e9


def bulk(ends: Ends, seconds: float) -> Sample:
    """One stream, and what it costs."""
    work, wakeups = processes.work_s(ends.pids), processes.wakeups(ends.pids)
    octets = _stream(ends, 1, seconds)
    work = processes.work_s(ends.pids) - work
    wakeups = processes.wakeups(ends.pids) - wakeups
    return {
        "tcp1": octets * 8 / seconds / 1e9,
        "work": work / (octets / 1e9),
        "wakeups": wakeups / (octets / FULL_PACKET_BYTES) * 1e3,
    }


def bulk_back(ends: Ends, seconds: float) -> Sample:
    """One stream the other way."""
    return {"tcp1_back": tcp(ends.turned(), 1, seconds)}


def many_streams(ends: Ends, seconds: float) -> Sample:
    """Eight streams, either way."""
    return {
        "tcp8": tcp(ends, 8, seconds / 2),
        "tcp8_back": tcp(ends.turned(), 8, seconds / 2),
    }


def calls(ends: Ends, seconds: float) -> Sample:
    """System calls under one stream; in a run of its own, since counting costs a little."""
    if processes.Calls.missing():
        return {}
    counter = processes.Calls(ends.pids)
    octets = _stream(ends, 1, seconds / 2)
    return {"calls": counter.stop() / (octets / FULL_PACKET_BYTES) * 1e3}


def datagrams(size: int, what: str) -> Workload:
    """UDP packets of a size: loss at a fixed rate, and delivery under overload."""

    def run(ends: Ends, seconds: float) -> Sample:
        sent, received = _flood(ends, size, seconds / 2, FIXED_BITS_PER_S[size])
        lost = 1 - received["packets"] / sent["packets"]
        sent, received = _flood(ends, size, seconds * 0.75)
        duration = max(sent["seconds"], received["seconds"])
        return {
            f"{what}_lost": 100 * max(0.0, lost),
            f"{what}_offered": sent["packets"] * size * 8 / sent["seconds"] / 1e6,
            what: received["packets"] * size * 8 / duration / 1e6,
        }

    return run


def idle_round_trips(ends: Ends, seconds: float) -> Sample:
    """Round trips without any load."""
    shape = int(seconds / IDLE_INTERVAL_S), IDLE_INTERVAL_S
    times = ends.left.host.call("benchmarks.loads.echo:round_trips", ends.right.address, *shape)
    return {"rtt_idle": statistics.median(times), "rtt_idle_p99": percentile(times, 99)}


def loaded_round_trips(ends: Ends, seconds: float) -> Sample:
    """Round trips beside one TCP stream that goes the same way."""
    with _Gate() as gate:
        load = _Stream(ends, 1, seconds + 2 * TAIL_S, gate.path)
        shape = int(seconds / LOADED_INTERVAL_S), LOADED_INTERVAL_S, gate.path, TAIL_S
        trips = _ready(ends.left, "benchmarks.loads.echo:round_trips", ends.right.address, *shape)
        gate.open()
        times = trips.result()
        load.octets()
    return {"rtt_loaded": statistics.median(times), "rtt_loaded_p99": percentile(times, 99)}


def mixed(ends: Ends, seconds: float) -> Sample:
    """Eight flows at once: two calls, four who browse, one bulk stream each way."""
    left, right = ends.left, ends.right
    web, talk = "benchmarks.loads.web", "benchmarks.loads.voice:talk"
    with _Gate() as gate:
        span = seconds, gate.path
        server = _ready(right, f"{web}:serve", right.address, USERS, *span)
        browsers = _ready(left, f"{web}:browse", right.address, USERS, *span)
        voices = [
            _ready(own, talk, own.address, peer.address, CALLS, *span)
            for own, peer in ((left, right), (right, left))
        ]
        streams = [_Stream(each, 1, *span) for each in (ends, ends.turned())]
        gate.open()
        browsed = browsers.result()
        heard = [voice.result() for voice in voices]
        octets = browsed["bytes"] + sum(stream.octets() for stream in streams)
        server.result()
    ages = [age for each in heard for age in each["ages_ms"]]
    said = sum(each["sent"] for each in heard)
    return {
        "mixed": octets * 8 / seconds / 1e6,
        "mixed_web": browsed["transfers"] / seconds,
        "mixed_voice_lost": 100 * (1 - len(ages) / said),
        "mixed_voice_age": percentile(ages, 99) if ages else math.inf,
    }


def percentile(values: list[float], percent: float) -> float:
    """The smallest value that at least ``percent`` of all reach or stay below."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


class _Gate:
    """Behind which loads wait that begin together (``loads``)."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="chancel-gate-")
        self.path = f"{self._folder.name}/open"

    def __enter__(self) -> _Gate:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def open(self) -> None:
        """All are ready."""
        new = Path(f"{self.path}.new")
        new.write_text(repr(time.monotonic() + RUN_UP_S))
        new.rename(self.path)


class _Stream:
    """Bulk TCP from the left to the right."""

    def __init__(self, ends: Ends, streams: int, seconds: float, gate: str = "") -> None:
        shape = ends.right.address, streams, seconds, gate
        self._receiver = _ready(ends.right, "benchmarks.loads.streams:receive", *shape)
        self._sender = _ready(ends.left, "benchmarks.loads.streams:send", *shape)

    def octets(self) -> int:
        """What came in that time. Raises RuntimeError if it was nothing."""
        octets = int(self._receiver.result())
        self._sender.result()
        if not octets:
            raise RuntimeError("no TCP stream came through the tunnel")
        return octets


def _stream(ends: Ends, streams: int, seconds: float) -> int:
    return _Stream(ends, streams, seconds).octets()


def _flood(
    ends: Ends, size: int, seconds: float, bits_per_s: float | None = None
) -> tuple[dict[str, float], dict[str, float]]:
    """What was sent, and what was received."""
    receiver = _ready(ends.right, "benchmarks.loads.flood:receive", ends.right.address)
    sent = ends.left.host.call(
        "benchmarks.loads.flood:send", ends.right.address, size, seconds, bits_per_s
    )
    return sent, receiver.result()


def _ready(side: Side, load: str, *arguments: Any) -> Task:
    """Start a load and wait until it has said that it is ready."""
    task = side.host.start(load, *arguments)
    next(task.progress)
    return task


WORKLOADS: tuple[Workload, ...] = (
    idle_round_trips,
    bulk,
    bulk_back,
    many_streams,
    loaded_round_trips,
    datagrams(UDP_LARGE, "udp1300"),
    datagrams(UDP_SMALL, "udp64"),
    mixed,
)
"""In the order in which they are run; all but ``calls``, which nothing is promised of."""
