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
from chancel.daemon.hot.cut import MAX_INNER_BYTES, DeviceReader, drain
from chancel.daemon.hot.filling import Filling
from chancel.daemon.hot.open import open_run
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
_MOST_BATCHES = 64
_MOST_BYTES = 3_000
"""Of one read, mostly: the cut made packet by packet takes its time."""
MOST_BYTES = 512


def check(data: bytes) -> None:
    script = Script(data)
    shift = script.pick((0, 0, 14))
    given = [_frame(script, shift) for _ in range(script.number() % _MOST_READS + 1)]
    for vnet, packet in given:
        _KERNEL.send(vnet + bytes(shift) + packet)
    reader = DeviceReader(_DEVICE.fileno(), vnet=True, frame_header_bytes=shift)
    came: list[bytes] = []
    for _ in range(_MOST_BATCHES):
        filling = Filling()
        filling.begin(_PLAIN)
        empty = drain(reader, filling, 0)
        runs = filling.finish()
        came += _judge(runs)
        if empty and reader.rest is None:
            break
    else:
        raise AssertionError("the device is never empty")
    assert reader.packets == len(came)
    assert reader.bytes == sum(map(len, came))
    _compare(given, came, reader, shift)


def _compare(
    given: list[tuple[bytes, bytes]], came: list[bytes], reader: DeviceReader, shift: int
) -> None:
    """Each read either was dropped, or is there as the kernel would have cut it."""
    rest, dropped = came, 0
    for vnet, packet in given:
        expected = _expected(vnet, packet, shift)
        if expected and rest[: len(expected)] == expected:
            rest = rest[len(expected) :]
        else:
            dropped += 1
    assert rest == []
    assert dropped == sum(reader.drops.values())


def _expected(vnet: bytes, packet: bytes, shift: int) -> list[bytes] | None:
    kind = VNET.unpack(vnet)[1] & 0x7F
    flags, _, hdr_len, segment, start, field = VNET.unpack(vnet)
    try:
        return cut(VNET.pack(flags, kind, hdr_len, segment, start, field), packet, shift)
    except (ValueError, IndexError, OverflowError, ArithmeticError, struct.error):
        return None


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


def _frame(script: Script, shift: int) -> tuple[bytes, bytes]:
    """What one read gives: mostly a train that makes sense but for some bytes."""
    flow = script.pick(_FLOWS)
    size = script.number(2) % _MOST_BYTES if script.number() % 64 else 65_000
    segment = script.number(2) % 1500 if script.flag() else 0
    sequence, identity = script.number(4), script.number(2)
    whole = flow.packet(_NOISE[:size], sequence=sequence, identity=identity, partial=True)
    packet = bytearray(whole[:65_536])
    for _ in range(script.number() % 4):
        packet[script.number() % min(len(packet), 64)] = script.number()
    del packet[max(1, len(packet) - script.number(2) % len(packet)) if script.flag() else 65_536 :]
    fields = list(VNET.unpack(flow.vnet(segment, shift=shift)))
    if script.flag():
        at = script.number() % len(fields)
        fields[at] = script.number() if at < 2 else script.number(2)
    if not segment and script.flag():
        fields[:2] = [script.number(), GSO_NONE]
    return VNET.pack(*fields), bytes(packet)


def _frames(*frames: bytes) -> bytes:
    return bytes((0, len(frames) - 1)) + b"".join(frames)


def _one(flow: int, size: int, segment: int, *, tail: bytes = bytes(6)) -> bytes:
    train = b"\1" + segment.to_bytes(2, "big") if segment else b"\0"
    return bytes((flow, 1)) + size.to_bytes(2, "big") + train + bytes(6) + tail


def seeds() -> Iterator[bytes]:
    for flow in range(len(_FLOWS)):
        yield _frames(_one(flow, 2900, 1300), _one(flow, 100, 0))
        yield _frames(_one(flow, 2900, 1), _one(flow, 2900, 13))
    yield _frames(_one(0, 3000, 0), _one(1, 12, 4), _one(2, 1300, 1300))
