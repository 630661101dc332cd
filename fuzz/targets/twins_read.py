"""Both twins read the same from a device: runs, packets byte for byte, counters, what is left.

Honest packets and trains, and virtio headers of which anything may be wrong.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

from chancel.daemon.hot.reading import Reader, device_reader
from chancel.daemon.run import Run
from fuzz import twinned
from fuzz.script import Script
from fuzz.targets import cut
from tests.daemon.naive import new_slot, packets_of

_SLOT_BYTES = 96 * 1024
_SLOT = new_slot(_SLOT_BYTES)
_KERNEL, _DEVICE = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
for _end in (_KERNEL, _DEVICE):
    _end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    _end.setblocking(False)
_MOST_READS = 6
_MOST_BATCHES = 400
MOST_BYTES = cut.MOST_BYTES

Seen = tuple[list[list[Run]], list[bytes], tuple[int, int, int], dict[str, int]]


def check(data: bytes) -> None:
    script = Script(data)
    ethernet, skipped, vnet = script.pick(
        ((False, 0, True), (False, 14, True), (True, 0, True), (False, 0, False))
    )
    frames = []
    for _ in range(script.number() % _MOST_READS + 1):
        header, packet = cut.frame(script, skipped, ethernet=ethernet)
        frames.append((header if vnet else b"") + bytes(skipped) + packet)

    def read() -> Seen:
        for frame in frames:
            _KERNEL.send(frame)
        reader = device_reader(
            _DEVICE.fileno(), vnet=vnet, frame_header_bytes=skipped, ethernet=ethernet
        )
        return _drain(reader)

    twinned.compare(read)


def _drain(reader: Reader) -> Seen:
    batches: list[list[Run]] = []
    packets: list[bytes] = []
    for _ in range(_MOST_BATCHES):
        runs = reader.fill(_SLOT, 3)
        if not runs and not reader.rest:
            break
        batches.append(runs)
        packets += packets_of(_SLOT, runs)
    else:
        raise AssertionError("the device is never empty")
    drops = {str(reason): count for reason, count in reader.drops.items() if count}
    return batches, packets, (reader.packets, reader.bytes, reader.trains), drops


def seeds() -> Iterator[bytes]:
    yield from cut.seeds()
    for seed in cut.seeds():
        yield b"\3" + seed[1:]
