"""A status answer as Prometheus metrics: a pure function of it.

Labels are bounded: tunnels, processes, directions, kinds of path and reasons of ``Drop``; never an
address, which strangers choose. The text format is written here rather than by a library: it is
this page, and the usual library costs each group 14 MB and 50 ms at start for what it brings along.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from chancel import __version__
from chancel.daemon.health import state

PATHS = ("configured", "learned", "direct", "relay", "unknown")

_SYSTEM_CALLS = (
    ("purgatory-tx", "tx", "datagrams", "datagram_calls"),
    ("purgatory-rx", "rx", "datagrams", "datagram_calls"),
    ("heaven-tx", "rx", "packets", "packet_calls"),
)
"""Where a batch is a system call that moves several packets: process, direction, what, calls."""

Labels = dict[str, str]
Tunnel = dict[str, Any]


class Family(NamedTuple):
    """A metric, as its HELP and TYPE lines tell it."""

    name: str
    kind: str
    help: str


class Sample(NamedTuple):
    """One value; ``None`` where nothing is known yet, and then nothing is told."""

    family: Family
    labels: Labels
    value: float | None


def gauge(name: str, help_: str) -> Family:
    """A metric that goes up and down."""
    return Family(f"chancel_{name}", "gauge", help_)


def counter(name: str, help_: str) -> Family:
    """A metric that only grows."""
    return Family(f"chancel_{name}_total", "counter", help_)


BUILD = gauge("build_info", "The release that runs; always 1.")
STARTED = gauge("start_time_seconds", "When the group started, in Unix time.")
ACCELERATED = gauge("accelerated", "1 where the accelerator's functions run.")
OFFLOAD = gauge("offload", "1 for an offload of the kernel's that is in use.")
WAKEUPS = counter("wakeups", "How often a process woke up.")
UP = gauge("tunnel_up", "1 with keys and a packet of the peer in the last 120 seconds.")
PATH = gauge("peer_path", "1 for the kind of path that is in use.")
PATH_AGE = gauge("path_age_seconds", "Since the peer is at its present address.")
HEARD = gauge("last_authentic_packet_age_seconds", "Since the peer was last heard.")
HANDSHAKE = gauge("handshake_age_seconds", "Since the last key exchange was completed.")
HANDSHAKES = counter("handshakes", "Key exchanges completed.")
TRYING = gauge("handshake_trying_seconds", "For how long a sending key is being sought.")
KEY_AGE = gauge("key_age_seconds", "Age of the key in use.")
KEY_EXPIRY = gauge("key_expiry_seconds", "Until the key in use is thrown away.")
PACKETS = counter("packets", "Inner packets read from and written to the device.")
BYTES = counter("bytes", "Bytes of inner packets.")
DATAGRAMS = counter("datagrams", "UDP datagrams sent and received.")
DATAGRAM_BYTES = counter("datagram_bytes", "Bytes of UDP payload.")
DROPS = counter("dropped_packets", "Packets dropped, by process and reason.")
BATCHES = counter("batches", "System calls that moved packets.")
BATCH_SIZE = gauge("batch_packets_mean", "Packets for each of those calls, since the start.")
SKEW = gauge("clock_skew_seconds", "The peer's wall clock minus ours.")
CATHEDRAL_HEARD = gauge("cathedral_answer_age_seconds", "Since the cathedral was last heard.")
CATHEDRAL_SILENT = gauge("cathedral_silent", "1 while the cathedral owes an answer.")
CATHEDRALS = gauge("cathedrals", "Cathedrals that are known.")
CATHEDRAL_SKEW = gauge("cathedral_clock_skew_seconds", "The cathedral's wall clock minus ours.")
PEER_TOLD = gauge("peer_announcement_age_seconds", "Since the cathedral told of the peer.")
AMBRY_AGE = gauge("ambry_age_seconds", "Since the secret in use came as an ambry.")
MTU = gauge("mtu_bytes", "MTU of the tunnel device.")


def exposition(answer: dict[str, Any]) -> bytes:
    """The metrics of tunnels as text."""
    return text_of(_samples(answer))


def text_of(samples: Iterable[Sample]) -> bytes:
    """The text format, version 0.0.4."""
    by_family: dict[Family, list[str]] = {}
    for sample in samples:
        if sample.value is not None:
            by_family.setdefault(sample.family, []).append(_line(sample))
    text = []
    for family, lines in by_family.items():
        text += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}"]
        text += lines
    return ("\n".join(text) + "\n").encode()


def _line(sample: Sample) -> str:
    labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in sample.labels.items())
    named = f"{sample.family.name}{{{labels}}}" if labels else sample.family.name
    return f"{named} {sample.value!r}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _samples(answer: dict[str, Any]) -> Iterator[Sample]:
    yield from group_samples(answer["group"])
    for tunnel in answer["tunnels"]:
        labels = {"tunnel": tunnel["instance"]}
        yield from _peer(tunnel, labels)
        yield from _cathedral(tunnel, labels)
        yield from _keys(tunnel, labels)
        yield from _traffic(tunnel["traffic"], labels)
        for offload, how in tunnel["offloads"].items():
            yield Sample(OFFLOAD, labels | {"offload": offload}, int(how == "on"))
        for process, reasons in sorted(tunnel["drops_by_process"].items()):
            for reason, drop in sorted(reasons.items()):
                yield Sample(DROPS, labels | {"process": process, "reason": reason}, drop["count"])


def group_samples(group: dict[str, Any]) -> Iterator[Sample]:
    """What every group has, whatever it carries."""
    yield Sample(BUILD, {"version": __version__}, 1)
    yield Sample(STARTED, {}, group["started_wall"])
    if "accelerator" in group:
        yield Sample(ACCELERATED, {}, int(group["accelerator"] == "on"))
    for process, wakeups in sorted(group["wakeups"].items()):
        yield Sample(WAKEUPS, {"process": process}, wakeups["count"])


def _peer(tunnel: Tunnel, labels: Labels) -> Iterator[Sample]:
    yield Sample(UP, labels, int(state(tunnel) == "up"))
    for path in PATHS:
        yield Sample(PATH, labels | {"path": path}, int(tunnel["path"] == path))
    yield Sample(PATH_AGE, labels, tunnel["path_since_s"])
    yield Sample(HEARD, labels, tunnel["rx"]["last_s"])
    yield Sample(SKEW, labels, tunnel["clock_skew_s"])
    yield Sample(MTU, labels, tunnel["mtu"])


def _cathedral(tunnel: Tunnel, labels: Labels) -> Iterator[Sample]:
    cathedral = tunnel.get("cathedral")
    if cathedral is None:
        return
    yield Sample(CATHEDRALS, labels, cathedral["known"])
    yield Sample(CATHEDRAL_HEARD, labels, cathedral["heard_s"])
    yield Sample(CATHEDRAL_SILENT, labels, int(cathedral["silent_s"] is not None))
    yield Sample(CATHEDRAL_SKEW, labels, cathedral["clock_skew_s"])
    yield Sample(PEER_TOLD, labels, cathedral["peer_announced_s"])
    yield Sample(AMBRY_AGE, labels, cathedral["ambry_s"])


def _keys(tunnel: Tunnel, labels: Labels) -> Iterator[Sample]:
    exchange = tunnel["exchange"]
    yield Sample(HANDSHAKE, labels, exchange["completed_s"])
    yield Sample(HANDSHAKES, labels, exchange["completed"])
    yield Sample(TRYING, labels, exchange["trying_s"] or 0.0)
    for direction in ("tx", "rx"):
        ours = labels | {"direction": direction}
        yield Sample(KEY_AGE, ours, tunnel[direction]["age_s"])
        yield Sample(KEY_EXPIRY, ours, tunnel[direction]["expires_s"])


def _traffic(traffic: Tunnel, labels: Labels) -> Iterator[Sample]:
    for direction in ("tx", "rx"):
        ours, counted = labels | {"direction": direction}, traffic[direction]
        yield Sample(PACKETS, ours, counted["packets"])
        yield Sample(BYTES, ours, counted["bytes"])
        yield Sample(DATAGRAMS, ours, counted["datagrams"])
        yield Sample(DATAGRAM_BYTES, ours, counted["datagram_bytes"])
    for process, direction, what, calls in _SYSTEM_CALLS:
        ours, counted = labels | {"process": process}, traffic[direction]
        yield Sample(BATCHES, ours, counted[calls])
        mean = counted[what] / counted[calls] if counted[calls] else None
        yield Sample(BATCH_SIZE, ours, mean)
