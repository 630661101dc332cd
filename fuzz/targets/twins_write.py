"""Both twins write the same to a device: each call's bytes, counters, and what they refuse.

Whatever a peer puts inside a tunnel, joined or not, in runs as confess may hand them over.
"""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network

from chancel.daemon.hot.writing import device_writer
from chancel.daemon.offloads import COALESCE, NONE, Offload
from fuzz import twinned
from fuzz.script import Script
from fuzz.targets.coalesce import packets_of_run
from tests.daemon.naive import TAIL, fill, new_slot

_NETWORKS = (IPv4Network("10.77.0.0/30"), IPv6Network("fd00::/64"))
_NOTHING = (IPv4Network("192.0.2.0/24"),)
_COALESCE = (COALESCE, COALESCE & ~Offload.COALESCE_UDP, Offload.COALESCE_TCP6, NONE)
_LINKS = (b"", bytes(12) + b"\x08\x00", bytes(12) + b"\x86\xdd", bytes(12) + b"\x88\xcc")
_MOST_RUNS = 3
_SLOT = new_slot(64 * 1024)
_DEVICE, _KERNEL = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
_KERNEL.setblocking(False)
_DEVICE.setblocking(False)
MOST_BYTES = 512


def check(data: bytes) -> None:
    script = Script(data)
    link, vnet = script.pick(_LINKS), script.flag()
    networks, coalesce = script.pick((_NETWORKS, _NOTHING)), script.pick(_COALESCE)
    header = script.pick((b"", bytes(12) + b"\x08\x00")) if not link else b""
    runs, at = [], 0
    for _ in range(script.number() % _MOST_RUNS + 1):
        packets = [link + packet for packet in packets_of_run(script)]
        if script.flag():  # as short as a run may have them
            size = script.number() % 60 + 1
            packets = [packet[:size] for packet in packets]
        run = fill(_SLOT, [packet + bytes(TAIL) for packet in packets], at)
        runs.append(run)
        at = run.end + script.number()

    def write() -> object:
        writer = device_writer(
            _DEVICE.fileno(),
            networks,
            vnet=vnet,
            frame_header=header,
            ethernet=bool(link),
            coalesce=coalesce,
        )
        writer.write(_SLOT, runs)
        writer.write_run(_SLOT, runs[-1])  # once more, as if it had been judged
        drops = {str(reason): count for reason, count in writer.drops.items() if count}
        counters = writer.packets, writer.bytes, writer.writes
        return _written(), counters, drops, writer.refused, set(writer.joins)

    twinned.compare(write)


def _written() -> list[bytes]:
    frames: list[bytes] = []
    while True:
        try:
            frames.append(_KERNEL.recv(70_000))
        except BlockingIOError:
            return frames


def seeds() -> Iterator[bytes]:
    packet = bytes((0, 0, 0, 0, 0))
    for link, flow in itertools.product(range(len(_LINKS)), range(5)):
        run = bytes((flow, 60)) + bytes(6) + bytes((5,)) + packet * 6 + b"\0\0\0"
        yield bytes((link, 1, 0, 0, 0, 1)) + run * 2
        yield bytes((link, 1, 0, 0, 1, 1)) + run * 2
    yield bytes((0, 1, 1, 0, 0, 0, 0, 60)) + bytes(6) + bytes((5,)) + packet * 6
