"""Cutting what is written to the device, as the kernel does, gives back the packets of the run.

Whatever a peer puts inside a tunnel: packets are joined only where that loses and changes nothing.
"""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Iterator

from chancel.daemon.hot.writing import device_writer
from chancel.daemon.offloads import COALESCE, Offload
from chancel.daemon.run import Run
from fuzz.script import Script
from tests.daemon.naive import ACK, PSH, TAIL, VNET, Flow, checksum, cut, fill, new_slot

_FLOWS = (
    Flow(),
    Flow(protocol=17),
    Flow(options=b"\1\1\x08\x0a" + bytes(8)),
    Flow(flags_fragment=0),
    Flow(version=6, source="fd00::1", destination="fd00::2"),
)
_LINKS = (b"", bytes(12) + b"\x08\x00", bytes(12) + b"\x86\xdd", bytes(12) + b"\x81\x00")
_MOST_PACKETS = 10
_SLOT = new_slot(64 * 1024)
_DEVICE, _KERNEL = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
_KERNEL.setblocking(False)
MOST_BYTES = 512


def check(data: bytes) -> None:
    script = Script(data)
    link = script.pick(_LINKS)
    packets = [link + packet for packet in packets_of_run(script)]
    run = fill(_SLOT, [packet + bytes(TAIL) for packet in packets], script.number())
    written = _written(run, udp=script.flag(), ethernet=bool(link))
    came = [part for frame in written for part in _cut(frame, len(link))]
    assert len(came) == len(packets)
    for one, other in zip(came, packets, strict=True):
        assert one[: len(link)] == other[: len(link)]
        assert _without_identity(one[len(link) :]) == _without_identity(other[len(link) :])


def packets_of_run(script: Script) -> list[bytes]:
    """A run: packets of one size but for the last; some of them not as they should be."""
    flow = script.pick(_FLOWS)
    size, sequence, identity = script.number() % 100 + 1, script.number(4), script.number(2)
    packets = []
    for _ in range(script.number() % _MOST_PACKETS + 1):
        made = flow.packet(
            bytes(size),
            sequence=sequence + script.pick((0, 0, 0, 1)),
            identity=identity + script.pick((0, 0, 0, 1)),
            flags=script.pick((ACK, ACK, ACK | PSH, script.number())),
        )
        packet = bytearray(made)
        if script.flag():
            packet[script.number() % len(packet)] ^= script.number()
        packets.append(bytes(packet))
        sequence, identity = sequence + size, identity + 1
    shorter = script.number() % 64
    if shorter < size:
        rest = flow.packet(bytes(size - shorter), sequence=sequence - size, identity=identity - 1)
        packets[-1] = rest
    return packets


def _written(run: Run, *, udp: bool, ethernet: bool) -> list[bytes]:
    coalesce = COALESCE if udp else COALESCE & ~Offload.COALESCE_UDP
    writer = device_writer(
        _DEVICE.fileno(), (), vnet=True, frame_header=b"", ethernet=ethernet, coalesce=coalesce
    )
    writer.write_run(_SLOT, run)
    frames = []
    for _ in range(writer.writes):
        frames.append(os.read(_KERNEL.fileno(), 70_000))
    assert writer.packets == run.packets
    return frames


def _without_identity(packet: bytes) -> bytes:
    """A packet that nobody may fragment has an identification without meaning (RFC 6864)."""
    if packet[0] == 0x45 and packet[6] & 0x40 and checksum(packet[:20]) == 0:
        return packet[:4] + bytes(2) + packet[6:10] + bytes(2) + packet[12:]
    return packet


def _cut(frame: bytes, link: int) -> list[bytes]:
    vnet, packet = frame[: VNET.size], frame[VNET.size :]
    return [packet[:link] + part for part in cut(vnet, packet[link:], link)]


def seeds() -> Iterator[bytes]:
    for link, flow in itertools.product(range(len(_LINKS)), range(len(_FLOWS))):
        yield bytes((link, flow, 60)) + bytes(6) + bytes((5,)) + bytes((0, 0, 0, 0, 0)) * 6
    yield bytes((0, 0, 60)) + bytes(6) + bytes((5,)) + bytes((0, 0, 3, 1, 1, 33, 8)) * 6
