"""Whatever the device gives, a batch has runs that fit when sealed, and packets as the kernel cuts.

A local user can write any packet, and the vnet header comes with it. What doesn't make sense is
counted; what is cut equals a cut made packet by packet; sealed and opened it comes out unchanged.
"""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Iterator

from chancel.crypto.system import SystemSuite
from chancel.daemon.hot.cut import MAX_INNER_BYTES
from chancel.daemon.hot.open import open_run
from chancel.daemon.hot.reading import device_reader
from chancel.daemon.hot.seal import Nonces, seal_run
from chancel.daemon.run import Run, decode_runs, encode_runs
from chancel.protocol.messages import InstallReceiveKey, InstallSendKey
from chancel.protocol.opening import Opener
from chancel.protocol.traffic import Sealer
from chancel.wire.types import NO_FLOCKS, Salt, SessionKey, Spi
from fuzz.script import Script
from tests.daemon.naive import GSO_NONE, TAIL, VNET, Flow, cut, new_slot, packets_of

_SUITE = SystemSuite()
_KEY = Spi(7), Salt(b"salt"), SessionKey(bytes(32))
_NONCES = Nonces()
_NOISE = random.Random(0).randbytes(66_000)
_SLOT_BYTES = 96 * 1024
_PLAIN, _SEALED, _OPENED = (new_slot(_SLOT_BYTES) for _ in range(3))
_KERNEL, _DEVICE = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
for _end in (_KERNEL, _DEVICE):
    _end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    _end.setblocking(False)
_FLOWS = (Flow(), Flow(protocol=17), Flow(version=6, source="fd00::1", destination="fd00::2"))
_MOST_READS = 6
_SMALL = 64
_MOST_BATCHES = 64 * _MOST_READS
"""A read may say that each of its bytes is a segment; such packets fill forty slots."""
_MOST_BYTES = 3_000
"""Of one read, mostly: the cut made packet by packet takes its time."""
MOST_BYTES = 512


def check(data: bytes) -> None:
    script = Script(data)
    ethernet, skipped = script.pick(((False, 0), (False, 14), (True, 0)))
    given = [
        frame(script, skipped, ethernet=ethernet) for _ in range(script.number() % _MOST_READS + 1)
    ]
    for vnet, packet in given:
        _KERNEL.send(vnet + bytes(skipped) + packet)
    reader = device_reader(
        _DEVICE.fileno(), vnet=True, frame_header_bytes=skipped, ethernet=ethernet
    )
    came: list[bytes] = []
    for _ in range(_MOST_BATCHES):
        runs = reader.fill(_PLAIN, 0)
        came += _judge(runs)
        if not runs and not reader.rest:
            break
    else:
        raise AssertionError("the device is never empty")
    assert reader.packets == len(came)
    assert reader.bytes == sum(map(len, came))
    expected = [_expected(vnet, packet, skipped, ethernet) for vnet, packet in given]
    _compare(expected, came, sum(reader.drops.values()))


def _compare(expected: list[list[bytes] | None], came: list[bytes], drops: int) -> None:
    """Each read either was dropped, or is there as the kernel would have cut it."""
    rest, dropped = came, 0
    for packets in expected:
        if packets and rest[: len(packets)] == packets:
            rest = rest[len(packets) :]
        else:
            dropped += 1
    assert rest == []
    assert dropped == drops


def _expected(vnet: bytes, packet: bytes, skipped: int, ethernet: bool) -> list[bytes] | None:
    """What the kernel would make of a read; ``None`` for what makes no sense."""
    flags, kind, head, segment, start, field = VNET.unpack(vnet)
    link = 0
    if ethernet and kind & 0x7F != GSO_NONE:
        link = 18 if packet[12:14] == b"\x81\x00" else 14
    try:
        parts = cut(
            VNET.pack(flags, kind & 0x7F, head, segment, start, field),
            packet[link:],
            skipped + link,
        )
    except (ValueError, IndexError, OverflowError, ArithmeticError, struct.error):
        return None
    return [packet[:link] + part for part in parts]


def _judge(runs: list[Run]) -> list[bytes]:
    """The packets of a batch, once they went through sealing and opening."""
    told = decode_runs(encode_runs(runs), _SLOT_BYTES)
    assert [run._replace(source=b"") for run in told] == runs
    packets = packets_of(_PLAIN, runs)
    assert all(13 <= len(each) - TAIL <= MAX_INNER_BYTES for each in packets)
    sealer, opener = Sealer(NO_FLOCKS, _SUITE), Opener(NO_FLOCKS, _SUITE)
    sealer.execute(InstallSendKey(*_KEY), 0.0)
    opener.execute(InstallReceiveKey(*_KEY), 0.0)
    at, opened = 0, []
    for run in runs:
        reservation = sealer.reserve(run.packets, 0.0)
        assert reservation is not None
        sealed = seal_run(reservation, _NONCES, _PLAIN, run, _SEALED, at)
        decode_runs(encode_runs([sealed]), _SLOT_BYTES)
        for each in open_run(opener, _NONCES, _SEALED, sealed, _OPENED, 0, 0.0):
            opened += packets_of(_OPENED, [each])
        at = -(-sealed.end // 16) * 16
    assert opened == packets
    assert not opener.drops
    return [each[:-TAIL] for each in packets]


def frame(script: Script, skipped: int, *, ethernet: bool) -> tuple[bytes, bytes]:
    """What one read gives: mostly a train that makes sense but for some bytes."""
    flow = script.pick(_FLOWS)
    link = b""
    if ethernet:
        tag = script.pick((b"", b"\x81\x00\x00\x07"))
        link = bytes(12) + tag + (b"\x08\x00" if flow.version == 4 else b"\x86\xdd")
    size = script.number(2) % _MOST_BYTES if script.number() % 64 else 65_000
    segment = script.number(2) % 1500 if script.flag() else 0
    if segment < _SMALL:
        size %= _MOST_BYTES  # or there are ten thousands of packets
    sequence, identity = script.number(4), script.number(2)
    whole = flow.packet(_NOISE[:size], sequence=sequence, identity=identity, partial=True)
    packet = bytearray((link + whole)[:65_536])
    for _ in range(script.number() % 4):
        packet[script.number() % min(len(packet), 64)] = script.number()
    if script.flag():
        del packet[max(1, script.number(2) % len(packet)) :]
    fields = list(VNET.unpack(flow.vnet(segment, shift=skipped + len(link))))
    if script.flag():
        at = script.number() % len(fields)
        fields[at] = script.number() if at < 2 else script.number(2)
    if not segment and script.flag():
        fields[:2] = [script.number(), GSO_NONE]
    return VNET.pack(*fields), bytes(packet)


def _read(flow: int, size: int, segment: int, *, link: bytes = b"") -> bytes:
    """The part of a script that makes one honest read."""
    train = b"\1" + segment.to_bytes(2, "big") if segment else b"\0"
    return bytes((flow,)) + link + size.to_bytes(2, "big") + b"\1" + train + bytes(6 + 4)


def seeds() -> Iterator[bytes]:
    for kind, link in ((0, b""), (1, b""), (2, b"\0"), (2, b"\1")):
        for flow in range(len(_FLOWS)):
            for sizes in (((2900, 1300), (100, 0)), ((2900, 1), (2900, 13))):
                reads = [_read(flow, *each, link=link) for each in sizes]
                yield bytes((kind, len(reads) - 1)) + b"".join(reads)
